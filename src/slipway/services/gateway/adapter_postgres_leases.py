"""Budget leases in PostgreSQL (migrations 0007 and 0010): exact, and as durable as the database.

A sync is two round trips: the beginning with the function's call, and the commit.
"""

from collections.abc import Sequence
from typing import Any

from slipway.base.callers import Caller
from slipway.runtime.database import Database, one
from slipway.services.gateway.lease_models import Account, Ask, LeaseCorrection, LostLease, Standing, State

_ACCOUNT = "%(account)s, %(unit)s, %(limit)s, %(resets_at)s, %(holder)s"


class PostgresLeases:
    """Implements LeaseStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease_epoch(self) -> int:
        """Always the same: PostgreSQL does not forget."""
        return 0

    async def lease_sync(self, ask: Ask) -> State:
        """One call of the function of that name."""
        parameters = _account(ask.account, ask.holder) | {
            "seq": ask.seq,
            "spent": ask.spent,
            "keep": ask.keep,
            "need": ask.need,
            "ask": ask.ask,
            "want": ask.want,
            "ttl_s": ask.ttl_s,
        }
        async with self._database.transaction_with(
            _owner(ask.account, ask.holder),
            f"SELECT * FROM lease_sync({_ACCOUNT}, %(seq)s, %(spent)s, %(keep)s, %(need)s, %(ask)s, %(want)s,"
            " %(ttl_s)s::double precision)",
            parameters,
        ) as (_, row):
            found = one(row)
        return State(
            granted=found["o_granted"],
            available=found["o_available"],
            elsewhere=found["o_elsewhere"],
            recalled=found["o_recalled"],
            closed=found["o_closed"],
            lost=found["o_lost"],
        )

    async def lease_close(self, account: Account, holder: str, spent: int) -> int:
        """One call of the function of that name."""
        async with self._database.transaction_with(
            _owner(account, holder),
            f"SELECT * FROM lease_close({_ACCOUNT}, %(spent)s)",
            _account(account, holder) | {"spent": spent},
        ) as (_, row):
            return int(one(row)["o_lost"])

    async def lease_reap(self, lost_after_s: float) -> Sequence[LostLease]:
        """Over all tenants; leases that somebody works on at this moment are passed over."""
        async with self._database.platform_transaction() as connection:
            await connection.execute(
                "WITH silent AS (SELECT tenant_id, account_key, holder, granted - spent AS rest FROM lease"
                " WHERE state = 'open' AND expires_at < now() - make_interval(secs => %(lost_after_s)s)"
                " FOR UPDATE SKIP LOCKED)"
                " UPDATE lease SET spent = granted, state = 'lost', recalled = false,"
                " lost = lost + (silent.rest > 0)::int, unbooked = silent.rest FROM silent"
                " WHERE lease.tenant_id = silent.tenant_id"
                " AND lease.account_key = silent.account_key AND lease.holder = silent.holder",
                {"lost_after_s": lost_after_s},
            )
            cursor = await connection.execute(
                "SELECT tenant_id, account_key, holder, unbooked AS rest, lost AS times, unit"
                " FROM lease JOIN budget USING (tenant_id, account_key) WHERE unbooked > 0"
                " ORDER BY account_key, holder LIMIT 1000"
            )
            rows = await cursor.fetchall()
        return [LostLease(**row) for row in rows]

    async def lease_booked(self, lost: LostLease) -> bool:
        """One statement; a lease that was lost again meanwhile keeps what is to be booked of it."""
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "UPDATE lease SET unbooked = 0 WHERE tenant_id = %s AND account_key = %s AND holder = %s"
                " AND lost = %s RETURNING state = 'lost' AS stands",
                (lost.tenant_id, lost.account_key, lost.holder, lost.times),
            )
            row = await cursor.fetchone()
        return row is not None and bool(row["stands"])

    async def lease_correct(self, correction: LeaseCorrection) -> bool:
        """One transaction, which locks the budget first, as all others do."""
        account = correction.account
        lease = {"account": account.key, "holder": correction.holder, "row": correction.row_id}
        async with self._database.transaction_with(
            _owner(account, correction.holder),
            "SELECT 1 AS found FROM budget WHERE tenant_id = %(tenant)s AND account_key = %(account)s FOR UPDATE",
            lease,
        ) as (connection, _):
            lease["tenant"] = account.tenant_id
            found = await (
                await connection.execute(
                    "SELECT state, lost, spent FROM lease"
                    " WHERE tenant_id = %(tenant)s AND account_key = %(account)s AND holder = %(holder)s FOR UPDATE",
                    lease,
                )
            ).fetchone()
            if found is None:
                return True
            if not correction.times and found["state"] != "closed":
                return False
            if correction.times and (found["state"], found["lost"]) != ("lost", correction.times):
                return True
            first = await connection.execute(
                "INSERT INTO lease_correction (tenant_id, account_key, request_id)"
                " VALUES (%(tenant)s, %(account)s, %(row)s) ON CONFLICT DO NOTHING",
                lease,
            )
            returned = min(correction.charged - correction.spent, found["spent"])
            if first.rowcount and returned:
                await connection.execute(
                    "WITH less AS (UPDATE lease SET spent = spent - %(returned)s, granted = granted - %(returned)s"
                    " WHERE tenant_id = %(tenant)s AND account_key = %(account)s AND holder = %(holder)s)"
                    " UPDATE budget SET taken = taken - %(returned)s"
                    " WHERE tenant_id = %(tenant)s AND account_key = %(account)s",
                    {**lease, "returned": returned},
                )
        return True

    async def standing_list(self, caller: Caller, account_keys: Sequence[str]) -> Sequence[Standing]:
        """One query in the caller's tenant."""
        async with self._database.transaction_with(
            caller,
            "SELECT coalesce(json_agg(found), '[]') AS found FROM ("
            "SELECT account_key, amount_limit AS limit, taken, coalesce((SELECT sum(spent) FROM lease"
            " WHERE lease.tenant_id = budget.tenant_id AND lease.account_key = budget.account_key), 0) AS spent"
            " FROM budget WHERE tenant_id = %(tenant)s AND account_key = ANY(%(keys)s) ORDER BY account_key) found",
            {"keys": list(account_keys)},
        ) as (_, row):
            return [Standing(**found) for found in one(row)["found"]]


def _owner(account: Account, holder: str) -> Caller:
    return Caller(tenant_id=account.tenant_id, subject=holder, scopes=frozenset())


def _account(account: Account, holder: str) -> dict[str, Any]:
    return {
        "account": account.key,
        "unit": account.unit,
        "limit": account.limit,
        "resets_at": account.resets_at,
        "holder": holder,
    }
