"""HTTP of usage plans: which there are, who is on which. Another tenant's key answers exactly as an absent one does."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated

from fastapi import Path

from slipway.api.plans import BudgetStanding, Plan, PlanAssignment, PlanRequest, Plans
from slipway.api.wire import Identifier
from slipway.base.callers import Caller, Scope
from slipway.base.errors import NotFound
from slipway.runtime.http.routes import CallerOf, Routes
from slipway.services.gateway.plan_book import DEFAULT_PLAN, TENANT, Assignment, PlanBook

Standing = Callable[[Caller], Awaitable[list[BudgetStanding]]]
Id = Annotated[Identifier, Path()]


def plan_routes(book: PlanBook, standing: Standing | None = None) -> Routes:
    """`/v1/plans`; `standing` tells how far the budgets of a caller are used."""
    routes = Routes("gateway")

    @routes.add("GET", "/v1/plans", access=Scope.USAGE_READ, response=Plans)
    async def plan_list(caller: CallerOf) -> Plans:
        """Lists the platform's plans, who of the tenant is on which, and how far its budgets are used."""
        assignments = await book.assignment_list(caller)
        own = next((row.plan for row in assignments if row.subject == TENANT), None)
        return Plans(
            plans=[Plan(**asdict(limits)) for limits in book.limits.values()],
            effective=own or (DEFAULT_PLAN if DEFAULT_PLAN in book.limits else None),
            assignments=[_shown(row) for row in assignments],
            standing=[] if standing is None else await standing(caller),
        )

    @routes.add(
        "PUT",
        "/v1/plans/tenants/{tenant_id}",
        access=Scope.TENANTS_ADMIN,
        response=PlanAssignment,
        errors=(NotFound,),
    )
    async def plan_set_tenant(caller: CallerOf, tenant_id: Id, request: PlanRequest) -> PlanAssignment:
        """Puts a tenant on a plan, or on none of its own. Holds in every process within 2 seconds."""
        return _shown(await book.assign_tenant(caller, tenant_id, request.plan))

    @routes.add("PUT", "/v1/plans/keys/{key_id}", access=Scope.KEYS_ADMIN, response=PlanAssignment, errors=(NotFound,))
    async def plan_set_key(caller: CallerOf, key_id: Id, request: PlanRequest) -> PlanAssignment:
        """Puts a key on a plan that holds besides the tenant's, or on none. Holds in every process within 2 seconds."""
        return _shown(await book.assign_key(caller, key_id, request.plan))

    return routes


def _shown(row: Assignment) -> PlanAssignment:
    return PlanAssignment(subject=row.subject, plan=row.plan)
