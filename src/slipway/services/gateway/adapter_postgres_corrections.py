"""Corrections of usage rows in PostgreSQL (tables `usage_correction` and `usage_row`, migration 0010)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from slipway.api.usage import UsageAmounts
from slipway.base.callers import Caller
from slipway.runtime.database import Database
from slipway.services.gateway.adapter_postgres import row_body
from slipway.services.gateway.models import Booking
from slipway.services.gateway.reconciliation import Correction, Kept

_CHANGED: Final = ", ".join(f"{name} = %({name})s" for name in UsageAmounts.model_fields)
_COLUMNS: Final = "tenant_id, request_id, at, by_tenant_id, by_subject, by_key_id, before, after, booking"


class PostgresCorrections:
    """Implements CorrectionStore. Its caller administers the platform: rows may be any tenant's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def row_find(self, request_id: str) -> Kept | None:
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute("SELECT * FROM usage_row WHERE id = %s", (request_id,))
            row = await cursor.fetchone()
        if row is None:
            return None
        booking = row.pop("booking")
        return Kept(row["tenant_id"], row_body(row), _booking(booking))

    async def correction_find(self, request_id: str) -> Correction | None:
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM usage_correction WHERE request_id = %s", (request_id,)
            )
            row = await cursor.fetchone()
        return None if row is None else _correction(row)

    async def correction_add(self, correction: Correction) -> bool:
        by, booking = correction.by, correction.booking
        async with self._database.platform_transaction() as connection:
            changed = await connection.execute(
                f"UPDATE usage_row SET {_CHANGED} WHERE id = %(id)s",
                {**correction.after.model_dump(), "id": correction.request_id},
            )
            if not changed.rowcount:
                return False
            await connection.execute(
                f"INSERT INTO usage_correction ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    *(correction.tenant_id, correction.request_id, correction.at),
                    *(by.tenant_id, by.subject, by.key_id),
                    *(Jsonb(correction.before.model_dump()), Jsonb(correction.after.model_dump())),
                    None
                    if booking is None
                    else Jsonb({"holder": booking.holder, "charges": booking.charges, "times": booking.times}),
                ),
            )
        return True

    async def correction_pending(self) -> Sequence[Correction]:
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM usage_correction WHERE NOT settled ORDER BY at LIMIT 1000"
            )
            return [_correction(row) for row in await cursor.fetchall()]

    async def correction_settled(self, request_id: str) -> None:
        async with self._database.platform_transaction() as connection:
            await connection.execute("UPDATE usage_correction SET settled = true WHERE request_id = %s", (request_id,))


def _correction(row: Mapping[str, Any]) -> Correction:
    return Correction(
        tenant_id=row["tenant_id"],
        request_id=row["request_id"],
        at=row["at"],
        by=Caller(row["by_tenant_id"], row["by_subject"], frozenset(), key_id=row["by_key_id"]),
        before=UsageAmounts.model_validate(row["before"]),
        after=UsageAmounts.model_validate(row["after"]),
        booking=_booking(row["booking"]),
    )


def _booking(kept: Mapping[str, Any] | None) -> Booking | None:
    if kept is None:
        return None
    charges = tuple((str(account), int(amount)) for account, amount in kept["charges"])
    return Booking(kept["holder"], charges, kept["times"])
