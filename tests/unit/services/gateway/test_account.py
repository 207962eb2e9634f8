"""What one request is charged: what was counted, or its bound where nobody did, for each attempt that may have cost."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from slipway.base.callers import Caller
from slipway.base.clock import SystemClock
from slipway.base.errors import BudgetExceeded, DeadlineExceeded, UpstreamFailed
from slipway.services.gateway.account import Account, Books, Demand
from slipway.services.gateway.directory import ServedModel
from slipway.services.gateway.health import Health
from slipway.services.gateway.lease_models import Account as Budget
from slipway.services.gateway.models import Opening, Price, Tokens, UsageRow

pytestmark = pytest.mark.anyio
MONEY = Budget("tenant:ten_x:usd_micros:2026-11", "ten_x", "usd_micros", 10_000, datetime(2026, 12, 1, tzinfo=UTC))
TOKENS = Budget("tenant:ten_x:tokens:2026-11", "ten_x", "tokens", 10_000, datetime(2026, 12, 1, tzinfo=UTC))
MODEL = ServedModel("m", "openai", Health(SystemClock(), "m", failures=5), price=Price(1_000_000, 1_000_000))
UNKNOWN = Tokens(3, 2, estimated=True)


class Escrow:
    """Budgets with room for `most` of each unit."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: dict[str, int] = {}
        self.spent: dict[str, int] = {}

    def try_hold(self, budget: Budget, amount: int) -> bool:
        if self.held.get(budget.key, 0) + self.spent.get(budget.key, 0) + amount > self.most:
            return False
        self.held[budget.key] = self.held.get(budget.key, 0) + amount
        return True

    async def hold(self, budget: Budget, amount: int) -> None:
        raise BudgetExceeded("used up")

    def settle(self, budget: Budget, held: int, spent: int) -> None:
        self.held[budget.key] -= held
        self.spent[budget.key] = self.spent.get(budget.key, 0) + spent


class Log:
    """Keeps what it is told."""

    must_sync = False

    def __init__(self) -> None:
        self.opened: list[Opening] = []
        self.rows: list[UsageRow] = []

    def open(self, opening: Opening) -> None:
        self.opened.append(opening)

    def close(self, row: UsageRow) -> None:
        self.rows.append(row)

    def leasing(self, account: str) -> None:
        pass


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def opened(log: Log) -> Callable:
    def make(most: int) -> tuple[Account, Escrow]:
        escrow = Escrow(most)
        demand = Demand(
            caller=Caller("ten_x", "usr_x", frozenset()),
            request_id="req_1",
            operation="chat.completions",
            asked="m",
            budgets=[MONEY, TOKENS],
            bound_tokens=100,
            bound_usd_micros=100,
        )
        return Account(Books(escrow, log, SystemClock()), demand), escrow  # type: ignore[arg-type]

    return make


async def test_a_count_is_charged_and_the_rest_returns(opened, log):
    account, escrow = opened(100)
    await account.open(MODEL)
    assert escrow.held == {MONEY.key: 100, TOKENS.key: 100}
    assert account.answered(MODEL, Tokens(30, 10)) == 40
    assert escrow.held == {MONEY.key: 0, TOKENS.key: 0} and escrow.spent == {MONEY.key: 40, TOKENS.key: 40}


@pytest.mark.parametrize("error", [GeneratorExit(), UpstreamFailed("cut"), DeadlineExceeded("late")])
async def test_what_nobody_counted_is_charged_at_its_bound(opened, log, error):
    account, escrow = opened(100)
    await account.open(MODEL)
    account.failed(MODEL, error, UNKNOWN)
    assert escrow.spent == {MONEY.key: 100, TOKENS.key: 100}
    (row,) = log.rows
    assert (row.cost_usd_micros, row.charged_tokens, row.cost_basis) == (100, 100, "bound")
    assert dict(row.charges) == escrow.spent


async def test_an_attempt_that_may_have_cost_holds_a_second_bound_before_the_next(opened, log):
    account, escrow = opened(200)
    await account.open(MODEL)
    assert await account.another_attempt()
    assert escrow.held == {MONEY.key: 200, TOKENS.key: 200}
    assert [(each.bound_usd_micros, each.bound_tokens) for each in log.opened] == [(100, 100), (200, 200)]
    assert dict(log.opened[-1].holds) == {MONEY.key: 100, TOKENS.key: 100} and len(log.opened[-1].holds) == 4
    assert account.answered(MODEL, Tokens(30, 10)) == 140
    assert escrow.spent == {MONEY.key: 140, TOKENS.key: 140} and escrow.held == {MONEY.key: 0, TOKENS.key: 0}
    assert (log.rows[0].uncertain_usd_micros, log.rows[0].charged_tokens) == (100, 140)


async def test_without_room_for_a_second_bound_there_is_no_second_attempt(opened, log):
    account, escrow = opened(199)
    await account.open(MODEL)
    assert not await account.another_attempt()
    assert escrow.held == {MONEY.key: 100, TOKENS.key: 100}, "nothing of the second"
    account.failed(MODEL, UpstreamFailed("cut"), UNKNOWN)
    assert escrow.spent == {MONEY.key: 100, TOKENS.key: 100}
    assert len(log.rows) == len(log.opened) == 1
