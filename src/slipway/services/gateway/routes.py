"""Our own route of the gateway: usage. OpenAI's routes are hot ones (`hot_*`)."""

from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

from slipway.api.usage import UsageReport
from slipway.base.callers import Scope
from slipway.runtime.http.routes import CallerOf, Routes
from slipway.services.gateway.ports import UsageStore

_Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]+$")]


def routes(store: UsageStore) -> Routes:
    """`GET /v1/usage`."""
    routes = Routes("gateway")

    @routes.add("GET", "/v1/usage", access=Scope.USAGE_READ, response=UsageReport)
    async def usage_list(
        caller: CallerOf,
        after: Annotated[AwareDatetime | None, Query(description="Rows from this time on.")] = None,
        before: Annotated[AwareDatetime | None, Query(description="Rows before this time.")] = None,
        model: _Text = None,
        key_id: _Text = None,
        cursor: _Text = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> UsageReport:
        """One row for each accepted request of the tenant, newest first, with the totals of all that match."""
        return await store.usage_list(
            caller, after=after, before=before, model=model, key_id=key_id, cursor=cursor, limit=limit
        )

    return routes
