"""Our own routes of the gateway: usage. The wires' routes are hot ones (`hot_*`)."""

from typing import Annotated, Final, Literal, get_args

from fastapi import Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from slipway.api.usage import UsageGrouping, UsageReconciled, UsageReconciliation, UsageReport, UsageStatus
from slipway.api.wire import Identifier
from slipway.base.callers import Scope
from slipway.base.errors import Conflict, InvalidRequest, NotFound
from slipway.runtime.http.routes import CallerOf, Routes
from slipway.services.gateway.reconciliation import Reconciliation
from slipway.services.gateway.usage_csv import PAGE, groups_csv, rows_csv
from slipway.services.gateway.usage_models import UsageFilter
from slipway.services.gateway.usage_ports import UsageReports

_Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]+$")]
_GROUPINGS: Final[tuple[UsageGrouping, ...]] = get_args(UsageGrouping)
_CSV: Final = "text/csv"


def routes(store: UsageReports) -> Routes:
    """`GET /v1/usage`."""
    routes = Routes("gateway")

    @routes.add(
        "GET",
        "/v1/usage",
        access=Scope.USAGE_READ,
        response=UsageReport,
        responses={200: {"content": {_CSV: {"schema": {"type": "string"}}}}},
    )
    async def usage_list(
        caller: CallerOf,
        after: Annotated[AwareDatetime | None, Query(description="Rows from this time on.")] = None,
        before: Annotated[AwareDatetime | None, Query(description="Rows before this time.")] = None,
        model: _Text = None,
        key_id: _Text = None,
        status: Annotated[UsageStatus | None, Query()] = None,
        group_by: Annotated[
            str | None,
            Query(max_length=50, description="Sums instead of rows: any of tenant, key, model and day, with commas."),
        ] = None,
        format: Annotated[  # noqa: A002 - the parameter's name
            Literal["json", "csv"] | None, Query(description="csv: all rows, or groups; `Accept: text/csv` does too.")
        ] = None,
        cursor: _Text = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        accept: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> UsageReport | Response:
        """One row for each accepted request of the tenant, newest first, with the totals of all that match.

        Grouped by tenant, whoever administers tenants sees all of them.
        """
        if after is not None and before is not None and after >= before:
            raise InvalidRequest("after must be earlier than before.")
        wanted = UsageFilter(after, before, model, key_id, status)
        as_csv = format == "csv" or (format is None and accept.split(";")[0].strip().lower() == _CSV)
        if group_by is not None:
            by = _groupings(group_by)
            report = await store.usage_groups(caller, wanted, by)
            return Response(groups_csv(report.groups or [], by), media_type=_CSV) if as_csv else report
        if as_csv:
            first = await store.usage_page(caller, wanted, cursor=cursor, limit=PAGE)
            return StreamingResponse(rows_csv(store, caller, wanted, first), media_type=_CSV)
        return await store.usage_list(
            caller,
            after=after,
            before=before,
            model=model,
            key_id=key_id,
            status=status,
            cursor=cursor,
            limit=limit,
        )

    return routes


def reconciliation_routes(reconciliation: Reconciliation) -> Routes:
    """`POST /v1/usage/{request_id}/reconcile`."""
    routes = Routes("gateway")

    @routes.add(
        "POST",
        "/v1/usage/{request_id}/reconcile",
        access=Scope.TENANTS_ADMIN,
        response=UsageReconciled,
        errors=(NotFound, Conflict),
    )
    async def usage_reconcile(
        caller: CallerOf, request_id: Annotated[Identifier, Path()], request: UsageReconciliation
    ) -> UsageReconciled:
        """Puts a row right, of any tenant, that was booked as `unknown` or `lost`, and its budgets with it.

        Once: the same again changes nothing, other numbers are refused.
        """
        return await reconciliation.reconcile(caller, request_id, request)

    return routes


def _groupings(text: str) -> set[UsageGrouping]:
    asked = {word.strip() for word in text.split(",")}
    known: set[UsageGrouping] = {grouping for grouping in _GROUPINGS if grouping in asked}
    if asked != known:
        raise InvalidRequest(f"group_by takes {', '.join(_GROUPINGS)}, separated by commas.")
    return known
