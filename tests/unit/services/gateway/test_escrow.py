"""The escrow of one process against a store that answers as a test says: who waits, who is first, what fails closed."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from slipway.base.errors import BudgetExceeded, Conflict, Unavailable
from slipway.services.gateway.escrow import Escrow, EscrowHooks
from slipway.services.gateway.lease_models import Account, Ask, Settling, State

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 26, tzinfo=UTC)
ACCOUNT = Account("tenant:ten_x:tokens:2026-11", "ten_x", "tokens", 1000, datetime(2026, 12, 1, tzinfo=UTC))


class StillClock:
    """Stands still but for what a test puts it on."""

    def __init__(self) -> None:
        self.wall, self.seconds = NOW, 100.0

    def now(self) -> datetime:
        return self.wall

    def monotonic_s(self) -> float:
        return self.seconds


class Store:
    """A store for one holder, which has the whole budget; `answers` stand in front of that, one a sync."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.asks: list[Ask] = []
        self.answers: list[State | Exception | Callable[[Ask], State]] = []
        self.closed: list[tuple[str, int]] = []
        self.lost = 0

    async def lease_epoch(self) -> int:
        return 0

    async def lease_sync(self, ask: Ask) -> State:
        self.asks.append(ask)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else self.usual
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, State) else answer(ask)

    def usual(self, ask: Ask) -> State:
        granted = max(ask.spent, ask.keep)
        granted = max(granted, min(max(ask.need, ask.want), self.limit)) if ask.need <= self.limit else granted
        return State(granted=granted, available=self.limit - granted)

    async def lease_close(self, account: Account, holder: str, spent: int) -> int:
        self.closed.append((holder, spent))
        return self.lost


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def escrow(store: Store, clock: StillClock) -> Escrow:
    return Escrow(store, clock, "run_1", wait_s=0.05)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_waits_for_much_is_not_overtaken_by_who_asks_for_little(store: Store):
    store.limit = 100
    escrow = Escrow(store, StillClock(), "run_1", wait_s=5.0)
    await escrow.hold(ACCOUNT, 60)
    order: list[str] = []

    async def hold(name: str, amount: int) -> None:
        await escrow.hold(ACCOUNT, amount)
        order.append(name)

    large = asyncio.create_task(hold("large", 90))
    await turns()
    small = asyncio.create_task(hold("small", 10))
    await turns()
    assert order == [] and not escrow.try_hold(ACCOUNT, 1)
    escrow.settle(ACCOUNT, 60, 0)
    async with asyncio.timeout(5):
        await asyncio.gather(large, small)
    assert order == ["large", "small"]


async def test_never_is_more_held_and_spent_than_was_granted(store: Store, escrow: Escrow):
    await escrow.hold(ACCOUNT, 10)
    granted = max(store.asks[-1].need, store.asks[-1].want)
    held = 10
    while escrow.try_hold(ACCOUNT, 7):
        held += 7
    assert granted - 7 < held <= granted
    escrow.settle(ACCOUNT, 7, 0)
    assert escrow.try_hold(ACCOUNT, 7)


async def test_a_defect_of_the_store_is_told_to_who_waits_and_passes(
    store: Store, escrow: Escrow, caplog: pytest.LogCaptureFixture
):
    store.answers = [ZeroDivisionError("a defect")]
    with pytest.raises(Unavailable, match="does not answer"):
        await escrow.hold(ACCOUNT, 1)
    assert "a sync of tenant:ten_x:tokens:2026-11 failed" in caplog.text
    await escrow.hold(ACCOUNT, 1)


async def test_a_lost_race_is_tried_again_and_who_waits_hears_nothing_of_it(store: Store, escrow: Escrow):
    store.answers = [Conflict("another was first"), Conflict("another was first")]
    await escrow.hold(ACCOUNT, 5)
    assert [ask.seq for ask in store.asks] == [1, 2, 3]


async def test_a_store_that_recovers_is_waited_for_as_long_as_it_says(clock: StillClock):
    store = Store()
    escrow = Escrow(store, clock, "run_1", wait_s=0.05)

    def later(left_s: float) -> Callable[[Ask], State]:
        def raises(_: Ask) -> State:
            clock.seconds += 1.0  # far beyond what a request waits for other holders
            raise Settling(left_s)

        return raises

    store.answers = [later(3.0), later(2.0), later(1.0)]
    async with asyncio.timeout(5):
        await escrow.hold(ACCOUNT, 5)
    assert len(store.asks) == 4


async def test_a_lease_that_another_closed_goes_on_under_another_name_and_counts_nothing_twice(
    store: Store, escrow: Escrow
):
    await escrow.hold(ACCOUNT, 5)
    escrow.settle(ACCOUNT, 5, 5)
    store.answers = [State(granted=5, available=900, closed=True)]
    await escrow.hold(ACCOUNT, 500)
    assert store.asks[0].holder == "run_1"
    last = store.asks[-1]
    assert last.holder.startswith("run_1.lse_") and last.seq == 1 and last.spent == 0 and last.need == 500


async def test_a_refusal_leaves_the_others_waiting_and_nothing_held(store: Store):
    refused: list[Account] = []
    store.limit = 100
    escrow = Escrow(store, StillClock(), "run_1", wait_s=5.0, hooks=EscrowHooks(refused=refused.append))
    with pytest.raises(BudgetExceeded):
        await escrow.hold(ACCOUNT, 101)
    assert refused == [ACCOUNT]
    await escrow.hold(ACCOUNT, 100)
    escrow.settle(ACCOUNT, 100, 0)
    await escrow.hold(ACCOUNT, 100)


async def test_who_leaves_in_the_moment_it_is_granted_gives_back(store: Store, escrow: Escrow):
    waiting = asyncio.create_task(escrow.hold(ACCOUNT, 900))
    while not (lease := escrow._leases.get(ACCOUNT.key)) or not lease.held:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() and lease.held == 0
    await escrow.hold(ACCOUNT, 1000)


async def test_a_request_that_outlives_the_escrow_is_still_counted(store: Store, escrow: Escrow):
    await escrow.hold(ACCOUNT, 100)
    await escrow.close()
    assert store.closed == [], "in flight: its part stays taken until the journal tells the cost"
    assert store.asks[-1].keep == 100, "and only its part"
    escrow.settle(ACCOUNT, 100, 40)
    assert escrow.totals()[ACCOUNT.key][1] == 40


async def test_a_lease_that_was_booked_as_lost_is_told_once_with_how_often(store: Store, clock: StillClock):
    found: list[tuple[str, str, int]] = []
    hooks = EscrowHooks(found=lambda account, holder, times: found.append((account.key, holder, times)))
    escrow = Escrow(store, clock, "run_1", hooks=hooks)
    store.answers = [State(granted=100, available=900), State(granted=200, available=800, lost=2)] * 2
    store.answers[2] = State(granted=300, available=700, lost=2)
    for amount in (100, 100, 100):
        await escrow.hold(ACCOUNT, amount)
    assert found == [(ACCOUNT.key, "run_1", 2)]
    escrow.settle(ACCOUNT, 300, 300)
    store.lost = 2
    await escrow.close()
    assert found[1:] == [(ACCOUNT.key, "run_1", 2)] and store.closed == [("run_1", 300)]


@pytest.mark.parametrize("skew", [timedelta(days=-40), timedelta(days=40)])
async def test_the_wall_clock_decides_no_expiry(store: Store, clock: StillClock, skew: timedelta):
    """A clock that is set neither makes a lease last nor ends one: its time is monotonic and begins with the asking."""
    escrow = Escrow(store, clock, "run_1", ttl_s=10.0)
    await escrow.hold(ACCOUNT, 1)
    clock.wall += skew
    clock.seconds += 8.9
    assert escrow.try_hold(ACCOUNT, 1)
    clock.seconds += 0.2
    assert not escrow.try_hold(ACCOUNT, 1)


async def test_the_time_of_a_lease_begins_when_it_is_asked_for(store: Store, clock: StillClock):
    escrow = Escrow(store, clock, "run_1", ttl_s=10.0)

    def slow(ask: Ask) -> State:
        clock.seconds += 8.0
        return store.usual(ask)

    store.answers = [slow]
    await escrow.hold(ACCOUNT, 1)
    assert escrow.try_hold(ACCOUNT, 1)
    clock.seconds += 1.1
    assert not escrow.try_hold(ACCOUNT, 1)


async def test_what_is_held_of_budgets_is_told_by_unit(escrow: Escrow):
    assert escrow.held() == {}
    await escrow.hold(ACCOUNT, 100)
    escrow.settle(ACCOUNT, 40, 30)
    held = escrow.held()
    assert (held["tokens", "spent"], held["tokens", "held"], held["tokens", "leases"]) == (30, 60, 1)
    assert held["tokens", "granted"] >= 90
    await escrow.close()


async def test_hooks_hear_of_syncs_of_a_store_that_is_away_and_of_costs_above_what_was_held(store: Store):
    heard: list[str] = []
    hooks = EscrowHooks(
        synced=lambda _, answered: heard.append(f"synced {answered}"),
        store_away=lambda _: heard.append("away"),
        over_billed=lambda _, more: heard.append(f"over {more}"),
    )
    escrow = Escrow(store, StillClock(), "run_1", wait_s=0.05, hooks=hooks)
    store.answers = [Unavailable("Away.")]
    with pytest.raises(Unavailable):
        await escrow.hold(ACCOUNT, 10)
    assert heard == ["synced False", "away"]
    await escrow.hold(ACCOUNT, 10)
    escrow.settle(ACCOUNT, 10, 15)
    assert heard[2:] == ["synced True", "over 5"]
    await escrow.close()


async def test_accounts_that_ended_are_remembered_only_so_many(escrow: Escrow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("slipway.services.gateway.escrow._MOST_ENDED", 3)
    for number in range(10):
        escrow._note_ended(f"tenant:ten_{number}:tokens:2026-11")
    assert list(escrow._ended) == [f"tenant:ten_{number}:tokens:2026-11" for number in (7, 8, 9)]
    assert escrow._name("tenant:ten_9:tokens:2026-11") != "run_1" == escrow._name("tenant:ten_0:tokens:2026-11")


async def test_a_month_that_is_over_and_closed_is_told_so_that_nobody_keeps_it(store: Store, clock: StillClock):
    ended: list[str] = []
    escrow = Escrow(store, clock, "run_1", hooks=EscrowHooks(ended=lambda account: ended.append(account.key)))
    await escrow.hold(ACCOUNT, 10)
    clock.wall = ACCOUNT.resets_at
    escrow._beat()
    await turns()
    assert not ended, "it is still held"
    escrow.settle(ACCOUNT, 10, 4)
    escrow._beat()
    await turns()
    assert ended == [ACCOUNT.key] and store.closed == [("run_1", 4)] and not escrow.totals()
    await escrow.close()
