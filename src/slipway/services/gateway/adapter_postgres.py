"""Usage rows in PostgreSQL (table `usage_row`, migration 0003)."""

import base64
import binascii
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from slipway.api.usage import UsageReport, UsageTotals
from slipway.api.usage import UsageRow as UsageRowBody
from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest
from slipway.runtime.database import Database, one
from slipway.services.gateway.models import UsageRow

_COLUMNS = (
    "id, at, key_id, subject, actor, operation, requested_model, model, provider, prompt_tokens, completion_tokens,"
    " tokens_estimated, cost_usd_micros, latency_ms, ttft_ms, status, error_code"
)
_INSERT = (
    f"INSERT INTO usage_row (tenant_id, {_COLUMNS}) VALUES"
    " (%(tenant)s, %(id)s, %(at)s, %(key_id)s, %(subject)s, %(actor)s, %(operation)s, %(requested_model)s, %(model)s,"
    " %(provider)s, %(prompt_tokens)s, %(completion_tokens)s, %(tokens_estimated)s, %(cost_usd_micros)s,"
    " %(latency_ms)s, %(ttft_ms)s, %(status)s, %(error_code)s)"
    " ON CONFLICT (tenant_id, id) DO NOTHING"
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

    async def usage_append(self, rows: Sequence[UsageRow]) -> None:
        """Stores rows tenant by tenant, each in its tenant's transaction; a row that is there already stays."""
        by_tenant: dict[str, list[UsageRow]] = defaultdict(list)
        for row in rows:
            by_tenant[row.caller.tenant_id].append(row)
        for of_tenant in by_tenant.values():
            async with self._database.transaction(of_tenant[0].caller) as connection, connection.cursor() as cursor:
                await cursor.executemany(_INSERT, [_parameters(row) for row in of_tenant])

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
            items=[UsageRowBody(request_id=row["id"], **{k: v for k, v in row.items() if k != "id"}) for row in page],
            totals=UsageTotals(**totals),
            next=_cursor(page[-1]["at"], page[-1]["id"]) if len(rows) > limit else None,
        )


def _parameters(row: UsageRow) -> dict[str, Any]:
    return {
        "tenant": row.caller.tenant_id,
        "id": row.request_id,
        "at": row.at,
        "key_id": row.caller.key_id,
        "subject": row.caller.subject,
        "actor": row.caller.actor,
        "operation": row.operation,
        "requested_model": row.requested_model,
        "model": row.model,
        "provider": row.provider,
        "prompt_tokens": row.tokens.prompt,
        "completion_tokens": row.tokens.completion,
        "tokens_estimated": row.tokens.estimated,
        "cost_usd_micros": row.cost_usd_micros,
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
        "status": row.status,
        "error_code": row.error_code,
    }


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
