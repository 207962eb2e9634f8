"""Usage rows in PostgreSQL (table `usage_row`, migrations 0003 and 0008)."""

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import psycopg

from slipway.api.usage import UsageGroup, UsageGrouping, UsageReport, UsageStatus, UsageTotals
from slipway.api.usage import UsageRow as UsageRowBody
from slipway.base.callers import Caller, Scope
from slipway.base.errors import InvalidRequest
from slipway.runtime.database import Connection, Database, one
from slipway.services.gateway.lease_models import Account
from slipway.services.gateway.usage_models import UsageFilter, UsagePage

# Of the table; `row_json` writes them.
_TYPES: Final = {
    "tenant_id": "text",
    "id": "text",
    "at": "timestamptz",
    "key_id": "text",
    "subject": "text",
    "actor": "text",
    "operation": "text",
    "requested_model": "text",
    "model": "text",
    "provider": "text",
    "prompt_tokens": "bigint",
    "completion_tokens": "bigint",
    "cache_read_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "cache_write_1h_tokens": "bigint",
    "tokens_estimated": "boolean",
    "price_version": "text",
    "price": "text",
    "cost_usd_micros": "bigint",
    "cost_basis": "text",
    "reserved_usd_micros": "bigint",
    "uncertain_usd_micros": "bigint",
    "over_bound": "boolean",
    "provider_request_id": "text",
    "charged_tokens": "bigint",
    "latency_ms": "integer",
    "ttft_ms": "integer",
    "status": "text",
    "error_code": "text",
}
# What no report shows: whose leases hold what a row books without knowing.
_KEPT_TYPES: Final = {**_TYPES, "booking": "jsonb"}
_COLUMNS = ", ".join(_TYPES)
_KEPT_COLUMNS = ", ".join(_KEPT_TYPES)
_INSERT = (
    f"INSERT INTO usage_row ({_KEPT_COLUMNS}) SELECT {_KEPT_COLUMNS} FROM json_to_recordset(%s::json) AS row ("
    + ", ".join(f"{name} {kind}" for name, kind in _KEPT_TYPES.items())
    + ") ON CONFLICT DO NOTHING"
)
_FILTER = (
    " (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)"
    " AND (%(after)s::timestamptz IS NULL OR at >= %(after)s)"
    " AND (%(before)s::timestamptz IS NULL OR at < %(before)s)"
    " AND (%(model)s::text IS NULL OR model = %(model)s)"
    " AND (%(key_id)s::text IS NULL OR key_id = %(key_id)s)"
    " AND (%(status)s::text IS NULL OR status = %(status)s)"
)
_LIST = (
    f"SELECT {_COLUMNS} FROM usage_row WHERE {_FILTER}"
    " AND (%(cursor_at)s::timestamptz IS NULL OR (at, id) < (%(cursor_at)s, %(cursor_id)s))"
    " ORDER BY at DESC, id DESC LIMIT %(limit)s"
)
# Sums of bigint are numeric: no rows, however absurd, are too much for it.
_SUMS: LiteralString = (
    "count(*) AS requests, coalesce(sum(prompt_tokens), 0) AS prompt_tokens,"
    " coalesce(sum(completion_tokens), 0) AS completion_tokens,"
    " coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,"
    " coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens,"
    " coalesce(sum(cost_usd_micros), 0) AS cost_usd_micros"
)
_TOTALS = f"SELECT {_SUMS} FROM usage_row WHERE {_FILTER}"
_GROUPS_AT_MOST: Final = 10_000
# In the order in which groups are sorted.
_GROUPINGS: Final[dict[UsageGrouping, tuple[LiteralString, LiteralString]]] = {
    "day": ("day", "(at AT TIME ZONE 'UTC')::date"),
    "tenant": ("tenant_id", "tenant_id"),
    "key": ("key_id", "key_id"),
    "model": ("model", "model"),
}


class PostgresUsage:
    """Implements UsageStore and UsageReports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def usage_append(self, rows: Sequence[bytes]) -> None:
        """Stores rows of any tenants in one transaction; a row that is there already stays as it is."""
        batch = b"[%b]" % b",".join(rows)
        try:
            async with self._database.platform_transaction() as connection:
                await connection.execute(_INSERT, [batch.decode()])
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise InvalidRequest("A usage row is not one that the table takes.", detail=str(error)) from error

    async def lost_remove(self, row_ids: Sequence[str]) -> None:
        """Removes the rows of leases that were not lost after all; the database lets no other row go."""
        async with self._database.platform_transaction() as connection:
            await connection.execute("DELETE FROM usage_row WHERE id = ANY(%s)", [list(row_ids)])

    async def spent_of(self, account: Account) -> int:
        """What the rows of an account's month say was spent of it: where a store of leases lost its memory."""
        _, owner, unit, month = account.key.split(":")
        began = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        key_id = owner.partition("/")[2] or None
        column = "cost_usd_micros" if unit == "usd_micros" else "charged_tokens"
        owner_caller = Caller(account.tenant_id, "budgets", frozenset())
        async with self._database.transaction(owner_caller) as connection:
            cursor = await connection.execute(
                f"SELECT coalesce(sum({column}), 0) AS spent FROM usage_row WHERE tenant_id = %(tenant)s"
                " AND at >= %(began)s AND at < %(ended)s AND (%(key_id)s::text IS NULL OR key_id = %(key_id)s)",
                {"tenant": account.tenant_id, "began": began, "ended": account.resets_at, "key_id": key_id},
            )
            return int(one(await cursor.fetchone())["spent"])

    async def usage_list(
        self,
        caller: Caller,
        *,
        after: datetime | None,
        before: datetime | None,
        model: str | None,
        key_id: str | None,
        cursor: str | None,
        limit: int,
        status: UsageStatus | None = None,
    ) -> UsageReport:
        """Rows newest first, one page, and the totals of all pages."""
        wanted = UsageFilter(after, before, model, key_id, status)
        async with self._database.transaction(caller) as connection:
            page = await _page(connection, caller, wanted, cursor, limit)
            totals = one(await (await connection.execute(_TOTALS, _asked(caller.tenant_id, wanted))).fetchone())
        return UsageReport(items=page.items, totals=UsageTotals(**totals), next=page.next)

    async def usage_page(self, caller: Caller, wanted: UsageFilter, *, cursor: str | None, limit: int) -> UsagePage:
        """Rows newest first, one page."""
        async with self._database.transaction(caller) as connection:
            return await _page(connection, caller, wanted, cursor, limit)

    async def usage_groups(self, caller: Caller, wanted: UsageFilter, by: Collection[UsageGrouping]) -> UsageReport:
        """Sums by day, tenant, key and model, as `by` has them, and over all."""
        everywhere = "tenant" in by and Scope.TENANTS_ADMIN in caller.scopes
        chosen = [_GROUPINGS[grouping] for grouping in _GROUPINGS if grouping in by]
        places = ", ".join(str(place) for place in range(1, len(chosen) + 1))
        names = ", ".join(f"{expression} AS {name}" for name, expression in chosen)
        statement = (
            f"SELECT {names}, {_SUMS} FROM usage_row WHERE {_FILTER}"
            f" GROUP BY {places} ORDER BY {places} LIMIT {_GROUPS_AT_MOST + 1}"
        )
        asked = _asked(None if everywhere else caller.tenant_id, wanted)
        begun = self._database.platform_transaction() if everywhere else self._database.transaction(caller)
        async with begun as connection:
            groups = await (await connection.execute(statement, asked)).fetchall()
            totals = one(await (await connection.execute(_TOTALS, asked)).fetchone())
        if len(groups) > _GROUPS_AT_MOST:
            raise InvalidRequest(
                f"There are more than {_GROUPS_AT_MOST} groups: ask for a shorter time with after and before, "
                "or group by less."
            )
        return UsageReport(items=[], totals=UsageTotals(**totals), groups=[UsageGroup(**group) for group in groups])


async def _page(
    connection: Connection, caller: Caller, wanted: UsageFilter, cursor: str | None, limit: int
) -> UsagePage:
    cursor_at, cursor_id = _place(cursor)
    asked = _asked(caller.tenant_id, wanted) | {"cursor_at": cursor_at, "cursor_id": cursor_id, "limit": limit + 1}
    rows = await (await connection.execute(_LIST, asked)).fetchall()
    page = rows[:limit]
    following = _cursor(page[-1]["at"], page[-1]["id"]) if len(rows) > limit else None
    return UsagePage([row_body(row) for row in page], following)


def _asked(tenant_id: str | None, wanted: UsageFilter) -> dict[str, Any]:
    return {"tenant": tenant_id, **asdict(wanted)}


def row_body(row: Mapping[str, Any]) -> UsageRowBody:
    """A row of the table as the API tells it."""
    return UsageRowBody(request_id=row["id"], **{k: v for k, v in row.items() if k not in ("id", "tenant_id")})


def _cursor(at: datetime, row_id: str) -> str:
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def _place(cursor: str | None) -> tuple[datetime | None, str | None]:
    if cursor is None:
        return None, None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        at, _, row_id = text.partition(" ")
        place = datetime.fromisoformat(at)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest("cursor is not one that this route gave: leave it out for the first page.") from error
    if place.tzinfo is None or not row_id or "\0" in row_id:
        raise InvalidRequest("cursor is not one that this route gave: leave it out for the first page.")
    return place, row_id
