"""Assignments of plans in PostgreSQL (table `plan_assignment`, migration 0009)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from slipway.base.callers import Caller
from slipway.runtime.database import Database, one
from slipway.services.gateway.plan_book import TENANT, Assignment

_COLUMNS: Final = "tenant_id, subject, plan, changed_at"
_KEPT: Final = (
    " ON CONFLICT (tenant_id, subject) DO UPDATE SET plan = excluded.plan, changed_at = clock_timestamp()"
    f" RETURNING {_COLUMNS}"
)
# A change is stamped while its transaction runs and seen when it commits: the same window is asked for again.
_OVERLAP: Final = timedelta(seconds=30)


class PostgresPlans:
    """Implements PlanStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def assignment_list(self, caller: Caller) -> list[Assignment]:
        async with self._database.transaction(caller) as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM plan_assignment WHERE tenant_id = %s", (caller.tenant_id,)
            )
            return [_assignment(row) for row in await cursor.fetchall()]

    async def assignment_changes(self, since: datetime | None) -> tuple[datetime, list[Assignment]]:
        async with self._database.platform_transaction() as connection:
            row = one(await (await connection.execute("SELECT clock_timestamp() AS now")).fetchone())
            now: datetime = row["now"]
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM plan_assignment WHERE changed_at > %s", ((since or now) - _OVERLAP,)
            )
            return now, [_assignment(row) for row in await cursor.fetchall()]

    async def assign_tenant(self, caller: Caller, tenant_id: str, plan: str | None) -> Assignment | None:  # noqa: ARG002
        # Another tenant than the caller's: its right to that is the scope of the route.
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "INSERT INTO plan_assignment (tenant_id, subject, plan) SELECT id, %s, %s FROM tenant WHERE id = %s"
                + _KEPT,
                (TENANT, plan, tenant_id),
            )
            row = await cursor.fetchone()
        return None if row is None else _assignment(row)

    async def assign_key(self, caller: Caller, key_id: str, plan: str | None) -> Assignment | None:
        async with self._database.transaction(caller) as connection:
            cursor = await connection.execute(
                "INSERT INTO plan_assignment (tenant_id, subject, plan)"
                " SELECT tenant_id, id, %s FROM api_key WHERE tenant_id = %s AND id = %s" + _KEPT,
                (plan, caller.tenant_id, key_id),
            )
            row = await cursor.fetchone()
        return None if row is None else _assignment(row)


def _assignment(row: Mapping[str, Any]) -> Assignment:
    return Assignment(row["tenant_id"], row["subject"], row["plan"], row["changed_at"])
