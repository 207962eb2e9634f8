"""Which plan holds for whom: the manifest's plans, and who the database says is on which.

Admission asks for each request, without waiting (`plans_of`); a tenant's first request reads its assignments (`load`).
`run` asks for changes every second, so that a changed plan holds in every process within 2 s. While the database is
away known tenants keep their plans and an unknown one is refused: its budget could not be known. So is whoever is on a
plan that the manifest does not have.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, Self

from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest, Misconfigured, NotFound, SlipwayError, Unavailable
from slipway.manifest.fields import nearest
from slipway.manifest.sections.plans import Plan
from slipway.runtime.deadline import within

_log = logging.getLogger(__name__)

TENANT: Final = "tenant"
DEFAULT_PLAN: Final = "default"
_POLL_S: Final = 1.0
_DEADLINE_S: Final = 2.0
_MAX_TENANTS: Final = 50_000  # arbitrary; about a kilobyte each


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """A plan's limits; None is no limit."""

    name: str
    requests_per_second: int | None = None
    burst: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_month: int | None = None
    budget_usd_micros: int | None = None
    max_output_tokens: int | None = None

    @classmethod
    def of(cls, name: str, plan: Plan) -> Self:
        """The limits of a plan of the manifest."""
        return cls(
            name,
            plan.requests_per_second,
            plan.burst,
            None if plan.tokens_per_minute is None else plan.tokens_per_minute.count,
            None if plan.tokens_per_month is None else plan.tokens_per_month.count,
            None if plan.budget_per_month is None else plan.budget_per_month.usd_micros,
            None if plan.max_output_tokens is None else plan.max_output_tokens.count,
        )


UNLIMITED: Final = PlanLimits("unlimited")


@dataclass(frozen=True, slots=True)
class Plans:
    """What holds for a caller: its tenant's plan, and its key's when that has one. Both hold at once."""

    tenant: PlanLimits
    key: PlanLimits | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """`subject` ('tenant' or a key's id) is on `plan`, or on none of its own."""

    tenant_id: str
    subject: str
    plan: str | None
    changed_at: datetime


class PlanStore(Protocol):
    """Keeps assignments. Each method raises Unavailable when the database is away."""

    async def assignment_list(self, caller: Caller) -> list[Assignment]:
        """Those of the caller's tenant."""
        ...

    async def assignment_changes(self, since: datetime | None) -> tuple[datetime, list[Assignment]]:
        """The store's time, and everything that changed since `since` or shortly before it, over all tenants."""
        ...

    async def assign_tenant(self, caller: Caller, tenant_id: str, plan: str | None) -> Assignment | None:
        """Puts a tenant on a plan; None when there is no such tenant."""
        ...

    async def assign_key(self, caller: Caller, key_id: str, plan: str | None) -> Assignment | None:
        """Puts a key of the caller's tenant on a plan; None when it has no such key."""
        ...


class _Tenant:
    """One tenant as it is cached; plans are made anew at each change and shared by all of its requests."""

    __slots__ = ("keys", "rows", "whole")

    def __init__(self) -> None:
        self.rows: dict[str, Assignment] = {}
        self.whole: Plans | Misconfigured = Plans(UNLIMITED)
        self.keys: dict[str | None, Plans | Misconfigured] = {}


class PlanBook:
    """The plans of this process's callers."""

    def __init__(self, store: PlanStore, plans: Mapping[str, Plan]) -> None:
        self._store = store
        self._limits = {name: PlanLimits.of(name, plan) for name, plan in plans.items()}
        self._tenants: dict[str, _Tenant] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._since: datetime | None = None

    @property
    def limits(self) -> Mapping[str, PlanLimits]:
        """The manifest's plans by name."""
        return self._limits

    def plans_of(self, caller: Caller) -> Plans | None:
        """What holds for `caller`, or None until its tenant is loaded.

        The same object until it changes. Raises Misconfigured for a plan that the manifest does not have.
        """
        tenant = self._tenants.get(caller.tenant_id)
        if tenant is None:
            return None
        plans = tenant.keys.get(caller.key_id, tenant.whole) if tenant.keys else tenant.whole
        if type(plans) is Plans:
            return plans
        assert isinstance(plans, Misconfigured), "there is nothing else"
        raise Misconfigured(plans.public)

    async def load(self, caller: Caller) -> None:
        """Reads the caller's tenant, once for all that wait; raises Unavailable when that takes longer than 2 s."""
        task = self._loading.get(caller.tenant_id)
        if task is None:
            task = asyncio.ensure_future(self._load(caller))
            self._loading[caller.tenant_id] = task
            task.add_done_callback(lambda done: self._loaded(caller.tenant_id, done))
        await asyncio.shield(task)

    def _loaded(self, tenant_id: str, task: asyncio.Task[None]) -> None:
        del self._loading[tenant_id]
        if not task.cancelled():
            task.exception()  # whoever waited has it; when all are gone nobody needs it

    async def _load(self, caller: Caller) -> None:
        try:
            rows = await within(_DEADLINE_S, self._store.assignment_list(caller))
        except TimeoutError as error:
            raise Unavailable("The store of plans does not answer: try again.", retry_after_s=1) from error
        if caller.tenant_id not in self._tenants:
            if len(self._tenants) >= _MAX_TENANTS:
                del self._tenants[next(iter(self._tenants))]
            self._tenants[caller.tenant_id] = _Tenant()
            self._remake(self._tenants[caller.tenant_id])
        self._apply(rows)

    async def run(self) -> None:
        """Asks for changes, for ever."""
        told = False
        while True:
            try:
                await self.poll()
                told = False
            except SlipwayError as error:
                if not told:
                    _log.warning("changes of plans cannot be read, known tenants keep theirs: %s", error)
                told = True
            await asyncio.sleep(_POLL_S)

    async def poll(self) -> None:
        """Asks for changes once; raises Unavailable when the database does not answer within 2 s."""
        try:
            now, changed = await within(_DEADLINE_S, self._store.assignment_changes(self._since))
        except TimeoutError as error:
            raise Unavailable("The store of plans does not answer: try again.") from error
        self._apply(changed)
        self._since = now

    async def assignment_list(self, caller: Caller) -> list[Assignment]:
        """Who of the caller's tenant is on which plan, the tenant itself first."""
        rows = await self._store.assignment_list(caller)
        return sorted(
            (row for row in rows if row.plan is not None), key=lambda row: (row.subject != TENANT, row.subject)
        )

    async def assign_tenant(self, caller: Caller, tenant_id: str, plan: str | None) -> Assignment:
        """Puts a tenant on a plan of the manifest. Raises InvalidRequest for an unknown plan, NotFound for a tenant."""
        self._require(plan)
        assignment = await self._store.assign_tenant(caller, tenant_id, plan)
        if assignment is None:
            raise NotFound("There is no such tenant.")
        self._apply([assignment])
        return assignment

    async def assign_key(self, caller: Caller, key_id: str, plan: str | None) -> Assignment:
        """Puts a key of the caller's tenant on a plan, besides the tenant's own. Raises as `assign_tenant`."""
        self._require(plan)
        assignment = await self._store.assign_key(caller, key_id, plan)
        if assignment is None:
            raise NotFound("There is no such key.")
        self._apply([assignment])
        return assignment

    def _require(self, plan: str | None) -> None:
        if plan is None or plan in self._limits:
            return
        near = nearest(plan, tuple(self._limits))
        known = f"the plans are {', '.join(self._limits)}" if self._limits else "the manifest has no plans"
        raise InvalidRequest(f"There is no plan {plan[:128]!r}: {f'did you mean {near!r}?' if near else known + '.'}")

    def _apply(self, rows: Iterable[Assignment]) -> None:
        changed: dict[str, _Tenant] = {}
        for row in rows:
            tenant = self._tenants.get(row.tenant_id)
            if tenant is None:
                continue
            known = tenant.rows.get(row.subject)
            # An answer may have been read before one that came earlier.
            if known is None or row.changed_at > known.changed_at:
                tenant.rows[row.subject] = row
                if known is None or row.plan != known.plan:
                    changed[row.tenant_id] = tenant
        for tenant in changed.values():
            self._remake(tenant)

    def _remake(self, tenant: _Tenant) -> None:
        own = tenant.rows.get(TENANT)
        whole = self._named(None if own is None else own.plan)
        if whole is None:
            whole = self._limits.get(DEFAULT_PLAN, UNLIMITED)
        tenant.whole = whole if isinstance(whole, Misconfigured) else Plans(whole)
        tenant.keys = {}
        for subject, row in tenant.rows.items():
            limits = None if subject == TENANT else self._named(row.plan)
            if limits is None:
                continue
            if isinstance(whole, Misconfigured):
                tenant.keys[subject] = whole
            else:
                tenant.keys[subject] = limits if isinstance(limits, Misconfigured) else Plans(whole, limits)

    def _named(self, plan: str | None) -> PlanLimits | Misconfigured | None:
        if plan is None:
            return None
        return self._limits.get(plan) or Misconfigured(
            f"This is on the plan {plan!r}, which the manifest does not have any more: put it on another with "
            "`slipway plans`, or write the plan under `plans` again."
        )
