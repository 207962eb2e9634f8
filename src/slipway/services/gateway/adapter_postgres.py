"""Usage rows in PostgreSQL (table `usage_row`, migrations 0003 and 0008)."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg

from slipway.api.usage import UsageReport, UsageTotals
from slipway.api.usage import UsageRow as UsageRowBody
from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest
from slipway.runtime.database import Database, one

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
    "latency_ms": "integer",
    "ttft_ms": "integer",
    "status": "text",
    "error_code": "text",
}
_COLUMNS = ", ".join(_TYPES)
_INSERT = (
    f"INSERT INTO usage_row ({_COLUMNS}) SELECT {_COLUMNS} FROM json_to_recordset(%s::json) AS row ("
    + ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())
    + ") ON CONFLICT DO NOTHING"
)
_FILTER = (
    "tenant_id = %(tenant)s"
    " AND (%(after)s::timestamptz IS NULL OR at >= %(after)s)"
    " AND (%(before)s::timestamptz IS NULL OR at < %(before)s)"
    " AND (%(model)s::text IS NULL OR model = %(model)s)"
    " AND (%(key_id)s::text IS NULL OR key_id = %(key_id)s)"
)
_LIST = (
    f"SELECT {_COLUMNS} FROM usage_row WHERE {_FILTER}"
    " AND (%(cursor_at)s::timestamptz IS NULL OR (at, id) < (%(cursor_at)s, %(cursor_id)s))"
    " ORDER BY at DESC, id DESC LIMIT %(limit)s"
)
_TOTALS = (
    "SELECT count(*) AS requests, coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,"
    " coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,"
    " coalesce(sum(cost_usd_micros), 0)::bigint AS cost_usd_micros"
    f" FROM usage_row WHERE {_FILTER}"
)


class PostgresUsage:
    """Implements UsageStore."""

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
    ) -> UsageReport:
        """Rows newest first, one page, and the totals of all pages."""
        cursor_at, cursor_id = _place(cursor)
        asked = {
            "tenant": caller.tenant_id,
            "after": after,
            "before": before,
            "model": model,
            "key_id": key_id,
            "cursor_at": cursor_at,
            "cursor_id": cursor_id,
            "limit": limit + 1,
        }
        async with self._database.transaction(caller) as connection:
            rows = await (await connection.execute(_LIST, asked)).fetchall()
            totals = one(await (await connection.execute(_TOTALS, asked)).fetchone())
        page = rows[:limit]
        return UsageReport(
            items=[_body(row) for row in page],
            totals=UsageTotals(**totals),
            next=_cursor(page[-1]["at"], page[-1]["id"]) if len(rows) > limit else None,
        )


def _body(row: Mapping[str, Any]) -> UsageRowBody:
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
