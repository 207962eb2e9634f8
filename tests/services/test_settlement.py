"""Lost leases and their usage rows, whoever dies at whatever point: each is booked once, and only while it is lost."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slipway.api.usage import UsageRow
from slipway.base.clock import SystemClock
from slipway.base.errors import Unavailable
from slipway.runtime.database import Database
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.escrow import Escrow, EscrowHooks
from slipway.services.gateway.lease_models import Account, lost_row_id
from slipway.services.gateway.lease_ports import LeaseStore
from slipway.services.gateway.settlement import Settlement
from tests.services.test_leases import asking, reaped_of, taken

pytestmark = pytest.mark.anyio


class KilledHere(BaseException):
    """The process ends at this point."""


class Deadly:
    """A port behind which the process ends: before it does what `method` asks, or after."""

    def __init__(self, behind: object, method: str, *, after: bool) -> None:
        self._behind, self._method, self._after = behind, method, after

    def __getattr__(self, name: str):
        called = getattr(self._behind, name)
        if name != self._method:
            return called

        async def dies(*arguments: object) -> object:
            if self._after:
                await called(*arguments)
            raise KilledHere

        return dies


@pytest.fixture
def rows(database: Database) -> PostgresUsage:
    return PostgresUsage(database)


@pytest.fixture
def settlement(lease_store: LeaseStore, rows: PostgresUsage) -> Settlement:
    return Settlement(lease_store, rows, SystemClock(), lost_after_s=0.0)


async def listed(rows: PostgresUsage, new_caller: Callable, account: Account) -> list[UsageRow]:
    report = await rows.usage_list(
        new_caller(tenant_id=account.tenant_id),
        **dict.fromkeys(("after", "before", "model", "key_id", "cursor")),
        limit=100,
    )
    return report.items


async def silent(store: LeaseStore, account: Account, *, granted: int = 900, spent: int = 100, seq: int = 1) -> None:
    """A lease whose holder is not heard of any more."""
    await store.lease_sync(asking(account, seq=seq, need=granted, ttl_s=0.01))
    await store.lease_sync(asking(account, seq=seq + 1, spent=spent, keep=granted, ttl_s=0.01))
    await asyncio.sleep(0.03)


DEATHS = [
    ("leases", "lease_reap", False),
    ("leases", "lease_reap", True),
    ("rows", "usage_append", False),
    ("rows", "usage_append", True),
    ("leases", "lease_booked", False),
    ("leases", "lease_booked", True),
]


@pytest.mark.parametrize(("port", "method", "after"), DEATHS)
async def test_a_lost_lease_has_one_row_wherever_who_gives_it_up_dies(
    lease_store, lease_account, settlement, rows, new_caller, port, method, after
):
    await silent(lease_store, lease_account)
    dying = {"leases": lease_store, "rows": rows}
    dying[port] = Deadly(dying[port], method, after=after)
    with pytest.raises((KilledHere, BaseExceptionGroup)):
        await Settlement(dying["leases"], dying["rows"], SystemClock(), lost_after_s=0.0).reap()
    for _ in range(2):
        await settlement.reap()
        (row,) = await listed(rows, new_caller, lease_account)
        assert (row.request_id, row.status) == (lost_row_id(lease_account.key, "a", 1), "lost")
        assert (row.charged_tokens, row.cost_usd_micros, row.cost_basis) == (800, 0, "bound")
        assert row.at < lease_account.resets_at, "in its budget's month"
        assert await taken(lease_store, lease_account, new_caller) == (900, 900)
    assert await reaped_of(lease_store, lease_account) == []


async def test_a_lease_that_is_found_late_is_booked_in_the_month_of_its_budget(
    lease_store, lease_account, settlement, rows, new_caller
):
    past = replace(lease_account, key=lease_account.key.replace("2026-11", "2026-09"))
    await silent(lease_store, past)
    await settlement.reap()
    (row,) = await listed(rows, new_caller, past)
    assert f"{row.at:%Y-%m-%d}" == "2026-09-30"


async def test_the_row_of_an_earlier_loss_goes_when_the_next_is_booked(
    lease_store, lease_account, settlement, rows, new_caller
):
    """Who booked it died before it noted that, and its holder, which came back meanwhile, is gone for good."""
    await silent(lease_store, lease_account)
    dying = Settlement(Deadly(lease_store, "lease_booked", after=False), rows, SystemClock(), lost_after_s=0.0)
    with pytest.raises(KilledHere):
        await dying.reap()
    await silent(lease_store, lease_account, granted=700, spent=300, seq=10)
    await settlement.reap()
    assert [(row.request_id, row.charged_tokens) for row in await listed(rows, new_caller, lease_account)] == [
        (lost_row_id(lease_account.key, "a", 2), 400)
    ]


async def test_processes_that_reap_at_once_book_one_row(
    lease_store, lease_account, settlement, rows, database, new_caller
):
    await silent(lease_store, lease_account)
    others = [Settlement(lease_store, rows, SystemClock(), lost_after_s=0.0) for _ in range(4)]
    await asyncio.gather(*(each.reap() for each in (settlement, *others)))
    assert len(await listed(rows, new_caller, lease_account)) == 1


async def test_a_journal_that_turns_up_removes_the_row_also_one_that_is_written_late(
    lease_store, lease_account, settlement, rows, new_caller
):
    await silent(lease_store, lease_account)
    dying = Settlement(lease_store, Deadly(rows, "usage_append", after=False), SystemClock(), lost_after_s=0.0)
    with pytest.raises(KilledHere):
        await dying.reap()
    await settlement.settle_dead("a", {lease_account.key: 250}, complete=True)
    await settlement.reap()
    assert await listed(rows, new_caller, lease_account) == []
    assert await taken(lease_store, lease_account, new_caller) == (250, 250)


async def test_a_journal_that_is_not_complete_leaves_the_rest_taken_until_it_is_lost(
    lease_store, lease_account, settlement, rows, new_caller
):
    await silent(lease_store, lease_account)
    await settlement.settle_dead("a", {lease_account.key: 100}, complete=False)
    assert await taken(lease_store, lease_account, new_caller) == (900, 100)
    await settlement.reap()
    assert [row.charged_tokens for row in await listed(rows, new_caller, lease_account)] == [800]


async def test_the_row_of_a_holder_that_comes_back_is_removed_and_its_next_loss_has_another(
    lease_store, lease_account, settlement, rows, new_caller
):
    await silent(lease_store, lease_account)
    await settlement.reap()
    (first,) = await listed(rows, new_caller, lease_account)
    escrow = Escrow(
        lease_store, SystemClock(), "a", ttl_s=0.01, heartbeat_s=60.0, hooks=EscrowHooks(found=settlement.found)
    )
    escrow._lease(lease_account).seq = 5  # as it was before the silence
    escrow.settle(lease_account, 0, 300)  # what was in flight
    async with asyncio.timeout(5):
        while not settlement._found:
            await asyncio.sleep(0.01)
    await settlement.reap()
    assert [row for row in await listed(rows, new_caller, lease_account) if row == first] == []
    assert (await taken(lease_store, lease_account, new_caller))[1] >= 300
    await silent(lease_store, lease_account, granted=700, spent=300, seq=10)
    await settlement.reap()
    (second,) = await listed(rows, new_caller, lease_account)
    assert (second.request_id, second.charged_tokens) == (lost_row_id(lease_account.key, "a", 2), 400)


async def test_an_account_that_cannot_be_settled_holds_up_no_other(
    lease_store, lease_account, rows, new_caller, caplog
):
    other = replace(lease_account, key=lease_account.key.replace("2026-11", "2026-10"))
    for account in (lease_account, other):
        await lease_store.lease_sync(asking(account, need=900))

    class Torn(Deadly):
        def __getattr__(self, name: str):
            called = getattr(self._behind, name)

            async def close(account: Account, holder: str, spent: int) -> int:
                if account.key == lease_account.key:
                    raise ValueError("a row that nobody foresaw")
                times: int = await called(account, holder, spent)
                return times

            return close if name == "lease_close" else called

    torn: Any = Torn(lease_store, "lease_close", after=False)
    settlement = Settlement(torn, rows, SystemClock())
    spent = {lease_account.key: 10, other.key: 20}
    with pytest.raises(Unavailable, match="1 of 2 budgets of a are not settled"):
        await settlement.settle_dead("a", spent, complete=True)
    assert await taken(lease_store, other, new_caller) == (20, 20)
    await Settlement(lease_store, rows, SystemClock()).settle_dead("a", spent, complete=True)
    assert await taken(lease_store, lease_account, new_caller) == (10, 10)
