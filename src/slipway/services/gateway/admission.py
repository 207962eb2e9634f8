"""Who may send how much: rate limits of the edge, of tenants, keys and models, and which budgets a request draws on.

The hot routes call `enter` before a body is read; the service asks for the rest once the model is known. Rates fail
open (`runtime/limits`), budgets fail closed (`escrow`).
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import LimitExceeded
from slipway.runtime.limits import Limit, Limiter, Verdict
from slipway.services.gateway import metrics
from slipway.services.gateway.lease_models import Account, Unit
from slipway.services.gateway.models import WireName
from slipway.services.gateway.plan_book import PlanBook, PlanLimits, Plans

_MAX_TERMS: Final = 50_000  # arbitrary; a kilobyte each
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What one caller's requests are held to, this month."""

    plans: Plans
    until: datetime
    limits: tuple[Limit, ...]
    edge_limits: int  # how many of `limits`, the first ones, are everybody's
    minute_limits: tuple[Limit, ...]
    budgets: tuple[Account, ...]
    cap_tokens: int | None
    has_money_budget: bool

    @property
    def has_money_budget_alone(self) -> bool:
        """Whether there are budgets, and all of them are of money."""
        return self.has_money_budget and all(budget.unit == "usd_micros" for budget in self.budgets)


class Admission:
    """The limits of this gateway."""

    def __init__(self, limiter: Limiter, plans: PlanBook, edge: Limit | None, clock: Clock) -> None:
        self._limiter = limiter
        self._plans = plans
        self._edge = (edge,) if edge is not None else ()
        self._clock = clock
        self._terms: dict[tuple[str, str | None], Terms] = {}
        self._giving_back: set[asyncio.Task[None]] = set()

    async def enter(self, caller: Caller) -> tuple[Terms, Verdict]:
        """The caller's terms, and whether its rates allow another request (`refused` is the error when they do not).

        Raises Unavailable when its plan cannot be read, and what an unknown plan raises.
        """
        plans = self._plans.plans_of(caller)
        if plans is None:
            await self._plans.load(caller)
            plans = self._plans.plans_of(caller)
            assert plans is not None, "what was loaded is there"
        terms = self._terms.get((caller.tenant_id, caller.key_id))
        if terms is None or terms.plans is not plans or self._clock.now() >= terms.until:
            terms = self._made(caller, plans)
        return terms, await self._limiter.acquire(terms.limits)

    async def model(
        self, terms: Terms, limit: Limit | None, tokens: int, *, is_last: bool = True
    ) -> tuple[Limit, ...] | None:
        """Takes a request of a model, and `tokens` of each limit by the minute; returns what `settle` is told.

        Raises LimitExceeded; but None when it is the model's limit that refuses and it is not the last to be asked.
        """
        minutes = tuple(
            Limit(each.key, each.rate_per_s, each.burst, min(tokens, each.burst), each.name)
            for each in terms.minute_limits
        )
        limits = (limit, *minutes) if limit is not None else minutes
        if limits:
            verdict = await self._limiter.acquire(limits)
            if not verdict.allowed:
                if limit is not None and verdict.limit is not None and verdict.limit.key == limit.key and not is_last:
                    return None
                raise refused(verdict)
        return minutes

    async def has_room(self, limit: Limit) -> bool:
        """Takes one more request of a model, for another attempt; False when its limit refuses."""
        return (await self._limiter.acquire((limit,))).allowed

    def settle(self, taken: tuple[Limit, ...], tokens: int) -> None:
        """Gives back what of an estimate was not used, or takes what was used beyond it."""
        back = [
            Limit(each.key, each.rate_per_s, each.burst, difference, each.name)
            for each in taken
            if (difference := each.cost - min(tokens, each.burst))
        ]
        if back:
            task = asyncio.ensure_future(self._limiter.give_back(back))
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)

    def _made(self, caller: Caller, plans: Plans) -> Terms:
        now = self._clock.now()
        until = month_end(now)
        owned = _owned(caller, plans)
        caps = [plan.max_output_tokens for _, _, plan in owned if plan.max_output_tokens is not None]
        budgets = tuple(budgets_of(caller, plans, now))
        terms = Terms(
            plans=plans,
            until=until,
            limits=(*self._edge, *(_rate(*owner) for owner in owned if owner[2].requests_per_second is not None)),
            edge_limits=len(self._edge),
            minute_limits=tuple(_minute(*owner) for owner in owned if owner[2].tokens_per_minute is not None),
            budgets=budgets,
            cap_tokens=min(caps, default=None),
            has_money_budget=any(budget.unit == "usd_micros" for budget in budgets),
        )
        if len(self._terms) >= _MAX_TERMS:
            self._terms.clear()
        self._terms[(caller.tenant_id, caller.key_id)] = terms
        return terms


def month_end(now: datetime) -> datetime:
    """The first moment of the next calendar month, UTC."""
    return datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)


def budgets_of(caller: Caller, plans: Plans, now: datetime) -> list[Account]:
    """The budgets that a caller's requests draw on."""
    return [
        budget for owner, _, plan in _owned(caller, plans) for budget in _budgets(owner, caller.tenant_id, plan, now)
    ]


def _owned(caller: Caller, plans: Plans) -> list[tuple[str, str, PlanLimits]]:
    """Who has a plan here: a name for keys of limits and budgets, words for people, the plan."""
    owned = [(f"tenant:{caller.tenant_id}", "your tenant", plans.tenant)]
    if plans.key is not None:
        owned.append((f"key:{caller.tenant_id}/{caller.key_id}", "this API key", plans.key))
    return owned


def _budgets(owner: str, tenant_id: str, plan: PlanLimits, now: datetime) -> list[Account]:
    """`settlement.account_of` reads these names."""
    limits: tuple[tuple[Unit, int | None], ...] = (
        ("usd_micros", plan.budget_usd_micros),
        ("tokens", plan.tokens_per_month),
    )
    return [
        Account(f"{owner}:{unit}:{now:%Y-%m}", tenant_id, unit, limit, month_end(now))
        for unit, limit in limits
        if limit is not None
    ]


def _rate(owner: str, whose: str, plan: PlanLimits) -> Limit:
    rate = plan.requests_per_second
    assert rate is not None, "only plans with a rate come here"
    return Limit(f"{owner}:requests", rate, plan.burst or rate, 1, f"{rate} requests per second of {whose}")


def _minute(owner: str, whose: str, plan: PlanLimits) -> Limit:
    tokens = plan.tokens_per_minute
    assert tokens is not None, "only plans with such a limit come here"
    return Limit(f"{owner}:tokens", tokens / 60, tokens, 0, f"{tokens} tokens per minute of {whose}")


def refused(verdict: Verdict) -> LimitExceeded:
    """The error of a verdict that says no."""
    metrics.limited(verdict.limit.key.partition(":")[0] if verdict.limit else "other")
    name = verdict.limit.name if verdict.limit else "requests"
    return LimitExceeded(
        f"The limit of {name} is reached: try again in {verdict.retry_after_s:.3g} s.",
        retry_after_s=verdict.retry_after_s,
    )


def limit_headers(wire: WireName, terms: Terms, verdict: Verdict, now: datetime) -> Headers:
    """What is left of the tightest rate, in the headers of the caller's wire; none without a plan's rate."""
    if len(terms.limits) == terms.edge_limits or len(verdict.remaining) != len(terms.limits):
        return []
    left = min(verdict.remaining[terms.edge_limits :])
    index = verdict.remaining.index(left, terms.edge_limits)
    limit, reset_s = terms.limits[index], verdict.reset_s[index]
    return _written(wire, "requests", limit.burst, left, reset_s, now)


def _written(wire: WireName, what: str, limit: int, left: int, reset_s: float, now: datetime) -> Headers:
    name = what.encode()
    if wire == "anthropic":
        at = datetime.fromtimestamp(now.timestamp() + reset_s, UTC).isoformat(timespec="seconds")
        return [
            (b"anthropic-ratelimit-%b-limit" % name, b"%d" % limit),
            (b"anthropic-ratelimit-%b-remaining" % name, b"%d" % left),
            (b"anthropic-ratelimit-%b-reset" % name, at.replace("+00:00", "Z").encode()),
        ]
    return [
        (b"x-ratelimit-limit-%b" % name, b"%d" % limit),
        (b"x-ratelimit-remaining-%b" % name, b"%d" % left),
        (b"x-ratelimit-reset-%b" % name, b"%dms" % int(reset_s * 1000)),
    ]
