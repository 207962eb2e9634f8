"""Rows that were booked without knowing are put right: row, budget and audit, whatever dies in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from slipway.api.usage import UsageReconciliation
from slipway.base.callers import Caller, Scope
from slipway.base.clock import SystemClock
from slipway.base.errors import Conflict, InvalidRequest, NotFound, Unavailable
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.postgres import EmbeddedAddresses
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.adapter_postgres_corrections import PostgresCorrections
from slipway.services.gateway.lease_models import Account
from slipway.services.gateway.lease_ports import LeaseStore
from slipway.services.gateway.models import Booking, Price, Tokens, UsageRow
from slipway.services.gateway.reconciliation import Reconciliation
from slipway.services.gateway.settlement import Settlement
from slipway.services.gateway.usage_records import row_json
from slipway.services.identity.bootstrap import Bootstrap, admin_key_new
from tests.platforms import run_slipway
from tests.redis_server import redis_server
from tests.services.gateway_fleet import Client, Fleet, OpenAIByName, Outcome, token
from tests.services.gateway_serving import served_app
from tests.services.processes import KEY_VARIABLE, until
from tests.services.provider_bill import Billing, Rates
from tests.services.test_leases import asking, taken
from tests.services.test_settlement import Deadly, KilledHere

PRICE = "3000000/15000000/300000/3750000/6000000"
TRUE = UsageReconciliation(input_tokens=100, output_tokens=10)
TRUE_USD_MICROS = 450


class Stand:
    """A killed process's request, booked on a budget of tokens and one of money: 300 and 1,000 micro-dollars."""

    def __init__(self, leases: LeaseStore, database: Database, account: Account, operator: Caller) -> None:
        self.leases = leases
        self.rows = PostgresUsage(database)
        self.store = PostgresCorrections(database)
        self.tokens = account
        self.money = replace(
            account, key=account.key.replace("tokens", "usd_micros"), unit="usd_micros", limit=1_000_000
        )
        self.operator = operator
        self.caller = Caller(account.tenant_id, "usr_1", frozenset())
        self.request_id = new_id("req")

    def reconciliation(self, **ports: Any) -> Reconciliation:
        store, leases = ports.get("store", self.store), ports.get("leases", self.leases)
        return Reconciliation(
            store, leases, SystemClock(), lambda row: Price.from_text(row.price) if row.price else None
        )

    async def book(self, **changes: Any) -> None:
        charges = ((self.tokens.key, 300), (self.money.key, 1_000))
        values: dict[str, Any] = {
            "request_id": self.request_id,
            "caller": self.caller,
            "at": datetime.now(UTC),
            "operation": "messages",
            "requested_model": "plain",
            "model": "plain",
            "provider": "anthropic",
            "tokens": Tokens(300, estimated=True),
            "cost_usd_micros": 1_000,
            "latency_ms": 0,
            "ttft_ms": None,
            "status": "unknown",
            "error_code": "process_killed",
            "price": PRICE,
            "cost_basis": "bound",
            "reserved_usd_micros": 1_000,
            "charged_tokens": 300,
            "booking": Booking("a", charges),
        }
        await self.rows.usage_append([row_json(UsageRow(**(values | changes)))])

    async def settle_dead(self) -> None:
        """The dead process's journal is settled: it had spent 200 tokens besides."""
        for account, spent in ((self.tokens, 200 + 300), (self.money, 5_000 + 1_000)):
            await self.leases.lease_sync(asking(account, need=700))
            await self.leases.lease_close(account, "a", spent)

    async def row(self, request_id: str | None = None) -> dict[str, Any]:
        kept = await self.store.row_find(request_id or self.request_id)
        assert kept is not None
        return kept.row.model_dump()

    async def spent(self, new_caller: Callable) -> tuple[int, int]:
        found = [await taken(self.leases, account, new_caller) for account in (self.tokens, self.money)]
        assert all(a == b for a, b in found)
        return found[0][0], found[1][0]


@pytest.fixture
async def stand(
    lease_store: LeaseStore, database: Database, lease_account: Account, new_caller: Callable
) -> AsyncIterator[Stand]:
    yield Stand(lease_store, database, lease_account, new_caller(Scope.TENANTS_ADMIN))


@pytest.mark.anyio
async def test_row_and_budgets_say_what_was_billed_and_what_was_booked_stays_on_record(
    stand: Stand, new_caller: Callable
):
    await stand.book()
    await stand.settle_dead()
    assert await stand.spent(new_caller) == (500, 6_000)
    before = await stand.row()
    for _ in range(2):
        told = await stand.reconciliation().reconcile(stand.operator, stand.request_id, TRUE)
        assert await stand.spent(new_caller) == (310, 5_450)
    assert (told.by, told.tenant_id) == (stand.operator.subject, stand.caller.tenant_id)
    assert (told.before.status, told.before.cost_usd_micros, told.before.charged_tokens) == ("unknown", 1_000, 300)
    after = await stand.row()
    changed = {name: value for name, value in after.items() if value != before[name]}
    assert changed == {
        "status": "reconciled",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "charged_tokens": 110,
        "tokens_estimated": False,
        "cost_usd_micros": TRUE_USD_MICROS,
        "cost_basis": "counted",
    }
    assert after["error_code"] == "process_killed" and after["reserved_usd_micros"] == 1_000
    assert await stand.store.correction_pending() == []
    kept = await stand.store.correction_find(stand.request_id)
    assert kept is not None and kept.by.tenant_id == stand.operator.tenant_id
    await stand.book()  # its journal is read once more
    assert await stand.row() == after
    # Redis begins at what rows say when it has forgotten.
    assert await stand.rows.spent_of(replace(stand.money, key=f"tenant:{stand.caller.tenant_id}:usd_micros:2026-11"))


@pytest.mark.anyio
async def test_what_cannot_be_reconciled_is_refused_and_changes_nothing(stand: Stand, new_caller: Callable):
    await stand.book()
    await stand.settle_dead()
    reconcile = stand.reconciliation().reconcile
    with pytest.raises(NotFound):
        await reconcile(stand.operator, "req_absent", TRUE)
    for more in ({"input_tokens": 291}, {"cost_usd_micros": 1_001}):
        with pytest.raises(InvalidRequest, match=r"more than was reserved \(300 tokens, 1000 micro-dollars\)"):
            await reconcile(stand.operator, stand.request_id, TRUE.model_copy(update=more))
    assert (await stand.row())["status"] == "unknown"
    await reconcile(stand.operator, stand.request_id, TRUE)
    for other in ({"input_tokens": 99}, {"cost_usd_micros": 1}, {"output_tokens": 9, "cost_usd_micros": 450}):
        with pytest.raises(Conflict, match="already, to other numbers"):
            await reconcile(stand.operator, stand.request_id, TRUE.model_copy(update=other))
    assert await stand.spent(new_caller) == (310, 5_450)
    for status in ("ok", "error", "cancelled"):
        stand.request_id = new_id("req")
        await stand.book(status=status)
        with pytest.raises(Conflict, match=f"This row is {status}"):
            await reconcile(stand.operator, stand.request_id, TRUE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": -1},
        {"output_tokens": 10**12 + 1},
        {"cost_usd_micros": -1},
        {"cache_read_tokens": 60, "cache_write_tokens": 41},
        {"cache_write_1h_tokens": 1},
        {"tokens": 1},
    ],
)
def test_numbers_that_cannot_be_are_no_request(wrong: dict[str, int]):
    with pytest.raises(ValueError, match="validation error"):
        UsageReconciliation.model_validate({"input_tokens": 100, "output_tokens": 0} | wrong)


@pytest.mark.anyio
async def test_more_than_was_reserved_counts_when_it_is_confirmed(stand: Stand, new_caller: Callable):
    await stand.book()
    await stand.settle_dead()
    true = UsageReconciliation(
        input_tokens=390, output_tokens=10, cache_write_tokens=90, cache_write_1h_tokens=90, above_bound=True
    )
    told = await stand.reconciliation().reconcile(stand.operator, stand.request_id, true)
    assert told.after.over_bound and told.after.cost_usd_micros == 300 * 3 + 10 * 15 + 90 * 6
    assert await stand.spent(new_caller) == (600, 6_590)


@pytest.mark.anyio
async def test_a_request_that_had_no_bound_takes_what_is_said(stand: Stand):
    await stand.book(
        tokens=Tokens(0, estimated=True),
        **dict.fromkeys(("cost_usd_micros", "reserved_usd_micros", "charged_tokens"), 0),
        booking=Booking("a", ()),
    )
    told = await stand.reconciliation().reconcile(stand.operator, stand.request_id, TRUE)
    assert (told.after.cost_usd_micros, told.after.over_bound) == (TRUE_USD_MICROS, False)


@pytest.mark.anyio
async def test_two_administrators_at_once_correct_once(stand: Stand, new_caller: Callable):
    await stand.book()
    await stand.settle_dead()
    others = [TRUE.model_copy(update={"output_tokens": number}) for number in (1, 2, 3, 4)]
    asked = [*others, *others]
    told = await asyncio.gather(
        *(stand.reconciliation().reconcile(stand.operator, stand.request_id, each) for each in asked),
        return_exceptions=True,
    )
    assert {type(each) for each in told if isinstance(each, Exception)} == {Conflict}
    (winner, same) = [each for each in told if not isinstance(each, BaseException)]
    assert winner == same
    row = await stand.row()
    assert row["completion_tokens"] == winner.after.completion_tokens
    assert await stand.spent(new_caller) == (200 + row["charged_tokens"], 5_000 + row["cost_usd_micros"])


DEATHS = [
    ("store", "correction_add", True),
    ("leases", "lease_correct", False),
    ("leases", "lease_correct", True),
    ("store", "correction_settled", False),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("port", "method", "after"), DEATHS)
async def test_a_process_that_ends_in_between_leaves_the_rest_to_another(stand, new_caller, port, method, after):
    await stand.book()
    await stand.settle_dead()
    dying = stand.reconciliation(**{port: Deadly(getattr(stand, port), method, after=after)})
    with pytest.raises(KilledHere):
        await dying.reconcile(stand.operator, stand.request_id, TRUE)
    assert (await stand.row())["status"] == "reconciled"
    for _ in range(2):
        await stand.reconciliation().settle()
        assert await stand.spent(new_caller) == (310, 5_450)
    assert await stand.store.correction_pending() == []


@pytest.mark.anyio
async def test_with_the_store_of_leases_away_the_row_is_right_and_budgets_follow(stand: Stand, new_caller: Callable):
    class Away:
        async def lease_correct(self, _: object) -> bool:
            raise Unavailable("away")

    await stand.book()
    await stand.settle_dead()
    told = await stand.reconciliation(leases=Away()).reconcile(stand.operator, stand.request_id, TRUE)
    assert told.after.status == "reconciled"
    assert await stand.spent(new_caller) == (500, 6_000), "too much rather than too little"
    await stand.reconciliation().settle()
    assert await stand.spent(new_caller) == (310, 5_450)


@pytest.mark.anyio
async def test_a_row_that_is_corrected_before_its_leases_are_settled_gives_back_after_that(
    stand: Stand, new_caller: Callable
):
    await stand.book()
    for account in (stand.tokens, stand.money):
        await stand.leases.lease_sync(asking(account, need=900))
    await stand.reconciliation().reconcile(stand.operator, stand.request_id, TRUE)
    (waits,) = await stand.store.correction_pending()
    assert waits.request_id == stand.request_id
    await stand.settle_dead()
    assert await stand.spent(new_caller) == (500, 6_000)
    await stand.reconciliation().settle()
    assert await stand.spent(new_caller) == (310, 5_450)
    assert await stand.store.correction_pending() == []


@pytest.mark.anyio
async def test_a_row_of_before_there_were_bookings_is_put_right_alone(stand: Stand, new_caller: Callable):
    await stand.book(booking=None)
    await stand.settle_dead()
    await stand.reconciliation().reconcile(stand.operator, stand.request_id, TRUE)
    assert (await stand.row())["cost_usd_micros"] == TRUE_USD_MICROS
    assert await stand.spent(new_caller) == (500, 6_000)
    assert await stand.store.correction_pending() == []


@pytest.mark.anyio
async def test_a_lost_lease_is_reconciled_by_its_cost_and_its_journal_knows_better(stand: Stand, new_caller: Callable):
    settlement = Settlement(stand.leases, stand.rows, SystemClock(), lost_after_s=0.0)
    for account in (stand.tokens, stand.money):
        await stand.leases.lease_sync(asking(account, need=900, ttl_s=0.01))
    await asyncio.sleep(0.03)
    ours = (stand.tokens.key, stand.money.key)  # other tests' tenants lose leases too
    lost = {lease.unit: lease.row_id for lease in await stand.leases.lease_reap(0.0) if lease.account_key in ours}
    await settlement.reap()
    reconcile = stand.reconciliation().reconcile
    with pytest.raises(InvalidRequest, match="no price: say cost_usd_micros"):
        await reconcile(stand.operator, lost["usd_micros"], UsageReconciliation(input_tokens=0, output_tokens=0))
    money = UsageReconciliation(input_tokens=0, output_tokens=0, cost_usd_micros=70)
    assert (await reconcile(stand.operator, lost["usd_micros"], money)).before.status == "lost"
    await reconcile(stand.operator, lost["tokens"], UsageReconciliation(input_tokens=40, output_tokens=10))
    assert await stand.spent(new_caller) == (50, 70)
    await settlement.settle_dead("a", {stand.tokens.key: 60, stand.money.key: 80}, complete=True)
    assert await stand.spent(new_caller) == (60, 80)
    for row_id in lost.values():
        assert await stand.store.row_find(row_id) is None, "nothing was lost"
        assert await stand.store.correction_find(row_id) is not None, "the audit stays"


@contextmanager
def settings_of(kind: str) -> Iterator[dict[str, str]]:
    """A store of leases, as settings name it."""
    if kind == "postgresql":
        yield {}
        return
    with redis_server() as url:
        yield {"SLIPWAY_REDIS_URL": url}


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_a_request_that_was_killed_is_reconciled_from_the_command_line(
    kind: str, postgres: EmbeddedAddresses, tmp_path: Path, new_caller: Callable
):
    provider = OpenAIByName(Billing(None, "asked", 5, rates={"plain": Rates(2_500_000, 10_000_000, 0, 0)}))
    provider.pause_s = 60.0
    with served_app(provider) as url, settings_of(kind) as settings:
        model = {"provider": "openai", "id": "plain", "base_url": f"{url}/v1", "api_key_env": KEY_VARIABLE}
        model |= {"price_per_million_tokens": {"prompt": "$2.50", "completion": "$10"}, "max_output_tokens": "100"}
        manifest = {"slipway": 1, "name": "reconciled", "models": {"available": {"plain": model}}}
        manifest["plans"] = {"default": {"budget_per_month": "$1"}}
        fleet = Fleet(tmp_path, json.dumps(manifest), postgres, settings)
        tenant = new_caller().tenant_id
        try:
            fleet.start(0)
            asyncio.run(ask_and_kill(fleet, provider, tenant))
            fleet.start(0)
            (row,) = until(lambda: fleet.rows(tenant), 20)
            assert row["status"] == "unknown" and row["subject"] == "=killed"
            home = {"SLIPWAY_URL": fleet.running[0].url}
            operator = asyncio.run(administrator(postgres))
            key = operator.key_secret
            reader = token(tenant, "reader", Scope.USAGE_READ)
            bound = row["cost_usd_micros"]

            def standing() -> int:
                found = httpx.get(f"{home['SLIPWAY_URL']}/v1/plans", headers={"authorization": f"Bearer {reader}"})
                return found.json()["standing"][0]["taken"]

            until(lambda: standing() == bound, 20)

            def reconcile(credential: str, *more: str, request_id: str = row["id"]):
                words = ("usage", "reconcile", request_id, "--input-tokens", "8", "--output-tokens", "5", *more)
                return run_slipway(*words, cwd=tmp_path, SLIPWAY_API_KEY=credential, **home)

            refused = reconcile(reader)
            assert refused.returncode == 1 and "admin:tenants" in refused.stderr
            assert reconcile(key, request_id="req_absent").stderr == "slipway: There is no such usage row.\n"
            assert reconcile(key, "--cost", "$5").stderr.startswith("slipway: This is more than was reserved")
            assert reconcile(key, "--cost", "5").stderr.startswith("slipway: '5' is not an amount of money")
            assert fleet.rows(tenant) == [row]
            done = reconcile(key)
            told = f"-> reconciled, 13 tokens, ${70 / 1e6:.6f}".rstrip("0")
            assert (done.returncode, done.stderr) == (0, "") and done.stdout.strip().endswith(told), done.stdout
            assert reconcile(key).stdout == done.stdout
            assert "already" in reconcile(key, "--cost", "$0").stderr
            assert standing() == 70
            text = run_slipway("usage", "--csv", cwd=tmp_path, SLIPWAY_API_KEY=reader, **home).stdout
            assert ",reconciled," in text and ",'=killed," in text
            by = fleet.query(tenant, "SELECT by_subject, by_tenant_id, before, settled FROM usage_correction")
            assert [(each["by_tenant_id"], each["settled"]) for each in by] == [(operator.tenant_id, True)]
            assert by[0]["by_subject"].startswith("key_")
            assert by[0]["before"]["cost_usd_micros"] == bound
        finally:
            fleet.stop()
    with psycopg.connect(postgres.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET LOCAL ROLE slipway_platform")
        connection.execute("DELETE FROM usage_correction")


async def administrator(postgres: EmbeddedAddresses) -> Bootstrap:
    """A key of the platform's administrator."""
    database = await Database.open(postgres.app_url, max_connections=2)
    try:
        return await admin_key_new(database)
    finally:
        await database.close()


async def ask_and_kill(fleet: Fleet, provider: OpenAIByName, tenant_id: str) -> None:
    """A request that its provider has, and a process that is killed while it waits for the answer."""
    connection, body = Client(fleet.running[0].url), {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
    asked = asyncio.create_task(
        connection.ask("/v1/chat/completions", token(tenant_id, "=killed"), body, Outcome("hi", 0))
    )
    async with asyncio.timeout(20):
        while not provider.asked["hi"]:
            await asyncio.sleep(0.01)
    fleet.kill(0)
    assert (await asked).broken
    await connection.end()
