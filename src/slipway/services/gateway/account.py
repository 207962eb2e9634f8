"""The account of one accepted request: what it holds of budgets, what its attempts cost, and its one usage row.

The service opens it before the first provider is called and closes it exactly once, however the request ends. What
nobody counted, although it may have been charged, is booked at its bound.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import BudgetExceeded, SlipwayError, StorageFull, Unavailable
from slipway.services.gateway.bounds import Bound
from slipway.services.gateway.directory import ServedModel
from slipway.services.gateway.escrow import Escrow
from slipway.services.gateway.lease_models import Account as BudgetAccount
from slipway.services.gateway.models import CostBasis, Opening, Operation, Status, Tokens, UsageRow
from slipway.services.gateway.ports import UsageLog

_USD: Final = "usd_micros"


@dataclass(frozen=True, slots=True)
class Books:
    """Where requests are accounted: budgets and the usage log."""

    escrow: Escrow
    log: UsageLog
    clock: Clock


@dataclass(slots=True)
class Demand:
    """One request as it is accounted: who asks for what, which budgets it draws on, and the most it can take."""

    caller: Caller
    request_id: str
    operation: Operation
    asked: str
    budgets: Sequence[BudgetAccount]
    bound_tokens: int
    bound_usd_micros: int


class Account:
    """One request between its hold and its row."""

    __slots__ = (
        "_at",
        "_attempts",
        "_books",
        "_demand",
        "_holds",
        "_model",
        "_open",
        "_started_s",
        "_ttft_ms",
        "_uncertain_tokens",
        "_uncertain_usd_micros",
    )

    def __init__(self, books: Books, demand: Demand) -> None:
        self._books = books
        self._demand = demand
        self._holds: list[tuple[BudgetAccount, int]] = []
        self._attempts = 1
        self._model: ServedModel | None = None
        self._open = False
        self._at: datetime = books.clock.now()
        self._started_s = books.clock.monotonic_s()
        self._ttft_ms: int | None = None
        self._uncertain_tokens = 0
        self._uncertain_usd_micros = 0

    @property
    def bound_usd_micros(self) -> int:
        """The most that one attempt can cost."""
        return self._demand.bound_usd_micros

    @property
    def tenant_id(self) -> str:
        """Whose request it is."""
        return self._demand.caller.tenant_id

    @property
    def elapsed_s(self) -> float:
        """Since the request was accepted."""
        return self._books.clock.monotonic_s() - self._started_s

    async def open(self, model: ServedModel) -> None:
        """Holds the bound of one attempt and writes it down; from here on there will be exactly one row.

        Raises BudgetExceeded, Unavailable or StorageFull, and then nothing is held.
        """
        if self._demand.budgets:
            await self._hold()
        self._model = model
        try:
            self._books.log.open(self._opening(model))
            if self._books.log.must_sync:
                await self._synced()
        except BaseException:
            self._release()
            raise
        self._open = True

    async def another_attempt(self) -> bool:
        """Books the last attempt, whose effect nobody knows, at its bound, and holds that of the next one.

        False when the budget has no room for it: then there must be no other attempt.
        """
        demand, model = self._demand, self._model
        assert model is not None, "a request is opened before it is tried"
        try:
            if demand.budgets:
                await self._hold()
            self._attempts += 1
            self._books.log.open(self._opening(model))
            if self._books.log.must_sync:
                await self._books.log.synced()
        except (BudgetExceeded, Unavailable, StorageFull):
            return False
        self._uncertain_tokens += demand.bound_tokens
        self._uncertain_usd_micros += demand.bound_usd_micros
        return True

    async def _synced(self) -> None:
        try:
            await self._books.log.synced()
        except BaseException:
            self._books.log.withdraw(self._demand.request_id)
            raise

    def _opening(self, model: ServedModel) -> Opening:
        demand, price = self._demand, model.price
        return Opening(
            request_id=demand.request_id,
            caller=demand.caller,
            at=self._at,
            operation=demand.operation,
            requested_model=demand.asked,
            model=model.name,
            provider=model.provider,
            price_version=price.version,
            bound_tokens=demand.bound_tokens * self._attempts,
            bound_usd_micros=demand.bound_usd_micros * self._attempts,
            holds=tuple((budget.key, amount) for budget, amount in self._holds),
            price=model.price_text,
        )

    def first_byte(self) -> None:
        """Notes that the answer begins."""
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed_ms()

    def answered(self, model: ServedModel, tokens: Tokens, *, provider_request_id: str | None = None) -> int:
        """Closes with a complete answer; `tokens` that are estimates are booked at the bound. Returns the cost."""
        return self._close(model, tokens, "ok", None, not tokens.estimated, provider_request_id)

    def failed(
        self, model: ServedModel, error: BaseException, tokens: Tokens, *, provider_request_id: str | None = None
    ) -> None:
        """Closes without a complete answer: cancelled when nobody waits any more, else with the error's code.

        `tokens` that are not estimates are what it cost. Estimates say that the provider may have charged: so do a
        cancellation and an error whose effect is unknown.
        """
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._close(model, tokens, "cancelled", None, not tokens.estimated, provider_request_id)
            return
        code = error.code if isinstance(error, SlipwayError) else "internal"
        self._close(model, tokens, "error", code, not tokens.estimated, provider_request_id)

    def _close(
        self,
        model: ServedModel,
        tokens: Tokens,
        status: Status,
        error_code: str | None,
        counted: bool,
        provider_request_id: str | None,
    ) -> int:
        demand, price = self._demand, model.price
        if counted or demand.bound_usd_micros == 0:
            cost = price.cost_usd_micros(tokens)
            basis: CostBasis = "counted"
        else:
            cost, basis = demand.bound_usd_micros, "bound"
        over_bound = cost > demand.bound_usd_micros or (counted and tokens.total > demand.bound_tokens > 0)
        cost += self._uncertain_usd_micros
        if not self._open:
            return cost
        self._open = False
        used_tokens = (tokens.total if counted else demand.bound_tokens) + self._uncertain_tokens
        charges = []
        for budget, held in self._settled_holds():
            spent = cost if budget.unit == _USD else used_tokens
            self._books.escrow.settle(budget, held, spent)
            charges.append((budget.key, spent))
        self._books.log.close(
            UsageRow(
                request_id=demand.request_id,
                caller=demand.caller,
                at=self._at,
                operation=demand.operation,
                requested_model=demand.asked,
                model=model.name,
                provider=model.provider,
                tokens=tokens,
                cost_usd_micros=cost,
                latency_ms=self._elapsed_ms(),
                ttft_ms=self._ttft_ms,
                status=status,
                error_code=error_code,
                price_version=price.version,
                price=model.price_text if price.long is None else price.text(tokens),
                reserved_usd_micros=demand.bound_usd_micros,
                cost_basis=basis,
                uncertain_usd_micros=self._uncertain_usd_micros,
                over_bound=over_bound,
                provider_request_id=provider_request_id,
                charged_tokens=used_tokens,
                charges=tuple(charges),
            )
        )
        return cost

    async def _hold(self) -> None:
        demand, escrow = self._demand, self._books.escrow
        taken: list[tuple[BudgetAccount, int]] = []
        try:
            for budget in demand.budgets:
                amount = demand.bound_usd_micros if budget.unit == _USD else demand.bound_tokens
                if not escrow.try_hold(budget, amount):
                    self._books.log.leasing(budget.key)
                    await escrow.hold(budget, amount)
                taken.append((budget, amount))
        except BaseException:
            for budget, amount in taken:
                escrow.settle(budget, amount, 0)
            raise
        self._holds += taken

    def _settled_holds(self) -> list[tuple[BudgetAccount, int]]:
        """What is held of each budget, over all attempts."""
        if self._attempts == 1:
            holds, self._holds = self._holds, []
            return holds
        held: dict[str, tuple[BudgetAccount, int]] = {}
        for budget, amount in self._holds:
            held[budget.key] = (budget, held.get(budget.key, (budget, 0))[1] + amount)
        self._holds = []
        return list(held.values())

    def _release(self) -> None:
        for budget, held in self._settled_holds():
            self._books.escrow.settle(budget, held, 0)

    def _elapsed_ms(self) -> int:
        return round(self.elapsed_s * 1000)


def bounded(bounds: Sequence[tuple[ServedModel, Bound]]) -> tuple[int, int]:
    """The most tokens and micro-dollars that one attempt can take, whichever of the models answers."""
    if len(bounds) == 1:
        model, bound = bounds[0]
        return bound.tokens, bound.usd_micros(model.price)
    tokens = max(bound.tokens for _, bound in bounds)
    return tokens, max(bound.usd_micros(model.price) for model, bound in bounds)
