"""Budget leases on real stores: one suite for all of them, and the escrow of several holders on top."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from slipway.base.clock import SystemClock
from slipway.base.errors import BudgetExceeded, Unavailable
from slipway.base.ids import new_id
from slipway.services.gateway.escrow import Escrow, EscrowHooks
from slipway.services.gateway.lease_models import Account, Ask, LeaseCorrection, LostLease, State, lost_row_id
from slipway.services.gateway.lease_ports import LeaseStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(lease_store: LeaseStore) -> LeaseStore:
    return lease_store


@pytest.fixture
def account(lease_account: Account) -> Account:
    return lease_account


def asking(account: Account, holder: str = "a", seq: int = 1, **numbers: float) -> Ask:
    given = {"spent": 0, "keep": 0, "need": 0, "ask": 0, "want": 0, "ttl_s": 60.0} | numbers
    given["ask"] = max(given["ask"], given["need"])
    given["want"] = max(given["want"], given["ask"])
    return Ask(account=account, holder=holder, seq=seq, **given)


async def taken(store: LeaseStore, account: Account, new_caller: Callable) -> tuple[int, int]:
    (standing,) = await store.standing_list(new_caller(tenant_id=account.tenant_id), [account.key])
    assert standing.limit == account.limit
    return standing.taken, standing.spent


async def reaped_of(store: LeaseStore, account: Account) -> list[LostLease]:
    """What the reaper finds of one account."""
    return [lost for lost in await store.lease_reap(0.0) if lost.account_key == account.key]


async def test_a_need_is_granted_whole_or_not_at_all(store: LeaseStore, account: Account):
    assert await store.lease_sync(asking(account, need=900)) == State(granted=900, available=100)
    refused = await store.lease_sync(asking(account, "b", need=101))
    assert refused == State(granted=0, available=100, elsewhere=900)
    assert (await store.lease_sync(asking(account, seq=2, keep=900))).recalled
    assert not (await store.lease_sync(asking(account, seq=3, keep=900))).recalled


async def test_what_is_wanted_ahead_is_an_eighth_of_what_is_left(store: LeaseStore, account: Account):
    assert (await store.lease_sync(asking(account, need=8, want=900))).granted == 8 + 992 // 8
    assert (
        await store.lease_sync(asking(account, "b", need=9, want=900))
    ).granted == 9  # less than 100 of that are left


async def test_what_is_given_back_is_available(store: LeaseStore, account: Account, new_caller: Callable):
    await store.lease_sync(asking(account, need=600))
    state = await store.lease_sync(asking(account, seq=2, spent=200, keep=300))
    assert state == State(granted=300, available=700)
    assert await taken(store, account, new_caller) == (300, 200)
    assert (
        await store.lease_sync(asking(account, seq=3, spent=200, keep=0))
    ).granted == 200  # never below what is spent


async def test_an_older_ask_changes_nothing(store: LeaseStore, account: Account, new_caller: Callable):
    await store.lease_sync(asking(account, seq=5, need=600))
    assert (await store.lease_sync(asking(account, seq=5, spent=500, keep=0, need=900))).closed
    assert await taken(store, account, new_caller) == (600, 0)


async def test_spending_above_the_grant_counts_at_once_beyond_the_limit(
    store: LeaseStore, account: Account, new_caller: Callable
):
    await store.lease_sync(asking(account, need=900))
    assert await store.lease_sync(asking(account, seq=2, spent=1200, keep=900)) == State(granted=1200, available=-200)
    assert await taken(store, account, new_caller) == (1200, 1200)
    assert (await store.lease_sync(asking(account, "b", need=1))).granted == 0


async def test_a_closed_lease_leaves_what_was_spent(store: LeaseStore, account: Account, new_caller: Callable):
    await store.lease_sync(asking(account, need=900))
    for _ in range(2):
        assert not await store.lease_close(account, "a", 50)
        assert await taken(store, account, new_caller) == (50, 50)
    assert (await store.lease_sync(asking(account, seq=2, need=900))).closed
    assert await taken(store, account, new_caller) == (50, 50)
    assert not await store.lease_close(account, "never seen", 7)  # a journal outlives its store's memory
    assert await taken(store, account, new_caller) == (57, 57)


async def test_a_silent_lease_is_lost_once_and_stays_taken(store: LeaseStore, account: Account, new_caller: Callable):
    await store.lease_sync(asking(account, need=900, ttl_s=0.01))
    await store.lease_sync(asking(account, seq=2, spent=100, keep=900, ttl_s=0.01))
    await store.lease_sync(asking(account, "alive", need=50))
    await asyncio.sleep(0.05)
    reaped = await asyncio.gather(*(store.lease_reap(0.0) for _ in range(4)))
    # Whoever reaps is told of it until its row is written, and only its first loss counts.
    (lost,) = {lost for each in reaped for lost in each if lost.account_key == account.key}
    assert (lost.holder, lost.rest, lost.tenant_id, lost.unit) == ("a", 800, account.tenant_id, "tokens")
    assert lost.row_id == lost_row_id(account.key, "a", 1) and lost.earlier_row_ids == []
    assert await store.lease_booked(lost)
    assert await reaped_of(store, account) == []
    assert await taken(store, account, new_caller) == (950, 900)
    for _ in range(2):  # its journal turns up
        assert await store.lease_close(account, "a", 120) == 1
        assert await taken(store, account, new_caller) == (170, 120)


async def test_a_holder_that_comes_back_has_its_lost_lease_again(
    store: LeaseStore, account: Account, new_caller: Callable
):
    await store.lease_sync(asking(account, need=900, ttl_s=0.01))
    await asyncio.sleep(0.05)
    (first,) = await reaped_of(store, account)
    assert (first.rest, first.times) == (900, 1)
    assert await store.lease_sync(asking(account, seq=2, spent=30, keep=500)) == State(500, available=500, lost=1)
    assert await taken(store, account, new_caller) == (500, 30)
    assert not await store.lease_booked(first), "the row that is written by now is wrong"
    assert await reaped_of(store, account) == []
    await store.lease_sync(asking(account, seq=3, spent=30, keep=500, ttl_s=0.01))
    await asyncio.sleep(0.05)
    (second,) = await reaped_of(store, account)
    assert (second.rest, second.times, second.earlier_row_ids) == (470, 2, [first.row_id])
    assert not await store.lease_booked(first), "late, and of the time before"
    assert await reaped_of(store, account) == [second]
    assert await store.lease_booked(second)
    assert await store.lease_close(account, "a", 40) == 2


async def test_another_tenant_sees_no_account(store: LeaseStore, account: Account, new_caller: Callable):
    await store.lease_sync(asking(account, need=900))
    assert list(await store.standing_list(new_caller(), [account.key])) == []


def corrected(account: Account, row: str, spent: int, *, charged: int = 300, times: int = 0) -> LeaseCorrection:
    return LeaseCorrection(account, "a", row, charged=charged, spent=spent, times=times)


async def test_what_a_request_was_charged_too_much_is_available_once_its_lease_is_closed(
    store: LeaseStore, account: Account, new_caller: Callable
):
    await store.lease_sync(asking(account, need=900))
    assert not await store.lease_correct(corrected(account, "req_1", 10)), "its journal has not been settled yet"
    assert await taken(store, account, new_caller) == (900, 0)
    await store.lease_close(account, "a", 700)
    for _ in range(2):
        assert await store.lease_correct(corrected(account, "req_1", 10))
        assert await taken(store, account, new_caller) == (410, 410)
    assert await store.lease_correct(corrected(account, "req_2", 350))  # a provider that billed above the bound
    assert await taken(store, account, new_caller) == (460, 460)
    await store.lease_close(account, "a", 700)  # the journal is settled once more
    assert await taken(store, account, new_caller) == (460, 460)
    assert (await store.lease_sync(asking(account, "b", need=540))).granted == 540
    assert await store.lease_correct(replace(corrected(account, "req_3", 0), holder="never seen"))
    other = replace(account, key=account.key.replace("tokens", "usd_micros"))
    assert await store.lease_correct(corrected(other, "req_1", 0)), "nobody has used that budget"


async def test_at_once_and_from_everywhere_a_correction_counts_once(
    store: LeaseStore, account: Account, new_caller: Callable
):
    await store.lease_sync(asking(account, need=700))
    await store.lease_close(account, "a", 700)
    await asyncio.gather(*(store.lease_correct(corrected(account, "req_1", 10)) for _ in range(8)))
    assert await taken(store, account, new_caller) == (410, 410)


async def test_a_lost_lease_is_corrected_while_it_is_lost_and_its_journal_knows_better(
    store: LeaseStore, account: Account, new_caller: Callable
):
    await store.lease_sync(asking(account, need=900, ttl_s=0.01))
    await asyncio.sleep(0.05)
    (lost,) = await reaped_of(store, account)
    assert not await store.lease_correct(corrected(account, "req_1", 10)), "a request of a lease whose journal is gone"
    for _ in range(2):
        assert await store.lease_correct(corrected(account, lost.row_id, 250, charged=900, times=1))
        assert await taken(store, account, new_caller) == (250, 250)
    assert await store.lease_close(account, "a", 400) == 1
    assert await taken(store, account, new_caller) == (400, 400)
    assert await store.lease_correct(corrected(account, "lost_later", 0, charged=900, times=1)), "nothing is lost now"
    assert await taken(store, account, new_caller) == (400, 400)


async def test_a_holder_that_comes_back_to_a_corrected_lease_holds_what_it_says(
    store: LeaseStore, account: Account, new_caller: Callable
):
    await store.lease_sync(asking(account, need=900, ttl_s=0.01))
    await asyncio.sleep(0.05)
    (lost,) = await reaped_of(store, account)
    await store.lease_correct(corrected(account, lost.row_id, 100, charged=900, times=1))
    assert (await store.lease_sync(asking(account, "b", need=850))).granted == 850
    state = await store.lease_sync(asking(account, seq=2, spent=100, keep=400))
    assert (state.granted, state.available) == (400, -250), "what is in flight is counted, and nothing more is granted"


async def test_a_late_settle_after_the_reaping_counts_once(store: LeaseStore, account: Account, new_caller: Callable):
    await store.lease_sync(asking(account, need=900, ttl_s=0.01))
    await asyncio.sleep(0.05)
    await store.lease_reap(0.0)
    for seq in (2, 3, 3):  # the holder lives after all, and settles what it had in flight
        await store.lease_sync(asking(account, seq=seq, spent=300, keep=300))
        assert await taken(store, account, new_caller) == (300, 300)
    for _ in range(2):
        await store.lease_close(account, "a", 300)
        assert await taken(store, account, new_caller) == (300, 300)
    assert (await store.lease_sync(asking(account, "b", need=700))).granted == 700


async def test_all_of_an_expired_lease_that_was_not_in_flight_is_usable_again(
    store: LeaseStore, account: Account, new_caller: Callable
):
    """The holder is killed with 100 of 900 spent and 200 in flight, and its journal says so, before or after."""
    for number, reaped_first in enumerate((False, True)):
        mine = replace(account, key=account.key.replace("2026-11", f"2026-0{number + 1}"))
        await store.lease_sync(asking(mine, need=900, ttl_s=0.01))
        await store.lease_sync(asking(mine, seq=2, spent=50, keep=900, ttl_s=0.01))  # the last that it reported
        await asyncio.sleep(0.05)
        if reaped_first:
            await store.lease_reap(0.0)
            assert (await store.lease_sync(asking(mine, "b", need=200))).granted == 0
        await store.lease_close(mine, "a", 100 + 200)
        assert (await store.lease_sync(asking(mine, "b", seq=2, need=700))).granted == 700
        assert (await store.lease_sync(asking(mine, "c", need=1))).granted == 0


async def test_a_holder_whose_clock_is_wrong_has_the_budget_of_its_own_month_and_no_more_of_it(
    store: LeaseStore, account: Account, new_caller: Callable
):
    """Expiry goes by the store's clock; only the month is the holder's, and each month is a budget of its own."""
    for name, reset in (("2020-01", datetime(2020, 2, 1, tzinfo=UTC)), ("2090-01", datetime(2090, 2, 1, tzinfo=UTC))):
        wrong = replace(account, key=account.key.replace("2026-11", name), resets_at=reset)
        assert (await store.lease_sync(asking(wrong, need=900))).granted == 900
        assert [lost for lost in await store.lease_reap(0.0) if lost.account_key == wrong.key] == []
        assert (await store.lease_sync(asking(wrong, "b", need=200))).granted == 0, "it is not forgotten at once"
        assert await taken(store, wrong, new_caller) == (900, 0)
    assert (await store.lease_sync(asking(account, "b", need=1000))).granted == 1000


class Holders:
    """Escrows on one store, each with its heartbeat; all are closed at the end."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self._running: list[tuple[Escrow, asyncio.Task]] = []

    def new(self, **options: object) -> Escrow:
        escrow = Escrow(
            options.pop("store", self._store), SystemClock(), new_id("run"), **({"heartbeat_s": 0.05} | options)
        )
        self._running.append((escrow, asyncio.get_running_loop().create_task(escrow.run())))
        return escrow

    async def close(self) -> None:
        for escrow, task in self._running:
            task.cancel()
            await asyncio.wait([task])
            await escrow.close()
        self._running.clear()


@pytest.fixture
async def holders(store: LeaseStore) -> AsyncIterator[Holders]:
    holders = Holders(store)
    yield holders
    await holders.close()


async def test_of_a_budget_of_ten_requests_over_four_holders_exactly_ten_succeed(
    holders: Holders, store: LeaseStore, account: Account, new_caller: Callable
):
    account = replace(account, limit=10 * 7)
    escrows = [holders.new() for _ in range(4)]

    async def request(escrow: Escrow) -> bool:
        try:
            await escrow.hold(account, 7)
        except BudgetExceeded:
            return False
        await asyncio.sleep(0.05)
        escrow.settle(account, 7, 7)
        return True

    answers = await asyncio.gather(*(request(escrow) for escrow in escrows for _ in range(50)))
    assert sum(answers) == 10
    await holders.close()
    assert await taken(store, account, new_caller) == (70, 70)


async def test_what_requests_return_admits_those_that_wait(
    holders: Holders, store: LeaseStore, account: Account, new_caller: Callable
):
    escrows = [holders.new() for _ in range(3)]
    spent = 0

    async def request(escrow: Escrow) -> None:
        nonlocal spent
        await escrow.hold(account, 300)  # three at a time in all, so most have to wait
        spent += 20
        escrow.settle(account, 300, 20)

    await asyncio.gather(*(request(escrow) for escrow in escrows for _ in range(8)))
    await holders.close()
    assert await taken(store, account, new_caller) == (480, 480)


async def test_an_idle_rest_elsewhere_is_recalled_for_who_waits(holders: Holders, account: Account):
    first, second = holders.new(), holders.new()
    await first.hold(account, 900)
    first.settle(account, 900, 100)
    await second.hold(account, 850)
    assert not first.try_hold(account, 51)


async def test_a_refusal_names_the_budget_and_its_return(holders: Holders, account: Account):
    escrow = holders.new()
    await escrow.hold(account, 990)
    escrow.settle(account, 990, 990)
    with pytest.raises(BudgetExceeded) as refused:
        await escrow.hold(account, 11)
    returns = f"{account.resets_at:%Y-%m-%d %H:%M} UTC"
    assert refused.value.public == (
        f"The token budget of this tenant, 1,000 tokens, has too little left for this request: it returns {returns}."
    )
    assert refused.value.retry_after_s == pytest.approx(5 * 86400, abs=60)
    money = replace(account, key="key:key_1:usd_micros:2026-11", unit="usd_micros", limit=2_500_000)
    with pytest.raises(BudgetExceeded, match=r"more than the whole money budget of this key, \$2.50: ask for less"):
        await escrow.hold(money, 2_500_001)


async def test_a_cost_above_the_bound_is_flagged_and_counted_at_once(
    holders: Holders, store: LeaseStore, account: Account, new_caller: Callable
):
    flagged: list[int] = []
    escrow = holders.new(heartbeat_s=60.0, hooks=EscrowHooks(over_billed=lambda _, above: flagged.append(above)))
    await escrow.hold(account, 990)
    escrow.settle(account, 990, 1100)
    await asyncio.sleep(0.2)  # well before a heartbeat
    assert flagged == [110]
    assert await taken(store, account, new_caller) == (1100, 1100)
    with pytest.raises(BudgetExceeded):
        await escrow.hold(account, 1)


class Away:
    """A store that can be cut off, also after it did what it was asked."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self.away = self.deaf = False

    async def lease_sync(self, ask: Ask) -> State:
        if self.away:
            raise Unavailable("away")
        state = await self._store.lease_sync(ask)
        if self.deaf:
            raise Unavailable("the answer is lost")
        return state

    async def lease_epoch(self) -> int:
        return await self._store.lease_epoch()

    async def lease_close(self, account: Account, holder: str, spent: int) -> int:
        return await self._store.lease_close(account, holder, spent)


async def test_with_the_store_away_a_lease_serves_until_it_is_used_up(
    holders: Holders, store: LeaseStore, account: Account
):
    line = Away(store)
    escrow = holders.new(store=line)
    await escrow.hold(account, 1)  # and with it 16 ahead
    line.away = True
    served = 0
    with pytest.raises(Unavailable, match="does not answer"):
        while True:
            await escrow.hold(account, 1)
            served += 1
    assert served >= 8
    line.away = False
    await escrow.hold(account, 1)


async def test_a_lease_is_not_used_when_it_may_have_expired(holders: Holders, store: LeaseStore, account: Account):
    line = Away(store)
    escrow = holders.new(store=line, ttl_s=0.5, heartbeat_s=60.0)
    await escrow.hold(account, 1)
    assert escrow.try_hold(account, 1)
    await asyncio.sleep(0.46)
    assert not escrow.try_hold(account, 1)


async def test_lost_answers_lose_nothing(holders: Holders, store: LeaseStore, account: Account, new_caller: Callable):
    line = Away(store)
    escrow = holders.new(store=line)
    line.deaf = True
    with pytest.raises(Unavailable):
        await escrow.hold(account, 600)
    line.deaf = False
    await escrow.hold(account, 1000)
    escrow.settle(account, 1000, 400)
    await holders.close()
    assert await taken(store, account, new_caller) == (400, 400)


async def test_a_caller_that_leaves_holds_nothing(holders: Holders, account: Account):
    escrow = holders.new()
    await escrow.hold(account, 900)
    waiting = asyncio.create_task(escrow.hold(account, 200))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    escrow.settle(account, 900, 0)
    await escrow.hold(account, 1000)


async def test_an_idle_lease_returns_its_rest(
    holders: Holders, store: LeaseStore, account: Account, new_caller: Callable
):
    escrow = holders.new(idle_s=0.1)
    await escrow.hold(account, 4)
    escrow.settle(account, 4, 3)
    assert (await taken(store, account, new_caller))[0] > 4
    await asyncio.sleep(0.4)
    assert await taken(store, account, new_caller) == (3, 3)


async def test_the_lease_of_a_past_period_is_closed(
    holders: Holders, store: LeaseStore, account: Account, new_caller: Callable
):
    account = replace(account, resets_at=datetime.now(UTC) + timedelta(seconds=0.3))
    escrow = holders.new()
    await escrow.hold(account, 4)
    escrow.settle(account, 4, 3)
    assert escrow.totals() == {account.key: (account, 3)}
    await asyncio.sleep(0.6)
    assert escrow.totals() == {}
    assert await taken(store, account, new_caller) == (3, 3)
    await escrow.hold(account, 5)  # a late one, or a clock that went back: under another name
    escrow.settle(account, 5, 5)
    await holders.close()
    assert await taken(store, account, new_caller) == (8, 8)
