"""Budget leases in PostgreSQL (tables `budget` and `lease`, migration 0007): exact, and as durable as the database.

A sync is two round trips: the beginning with the function's call, and the commit.
"""

from collections.abc import Sequence
from typing import Any

from slipway.base.callers import Caller
from slipway.runtime.database import Database, one
from slipway.services.gateway.lease_models import Account, Ask, LostLease, Standing, State

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

    async def lease_close(self, account: Account, holder: str, spent: int) -> bool:
        """One call of the function of that name."""
        async with self._database.transaction_with(
            _owner(account, holder),
            f"SELECT * FROM lease_close({_ACCOUNT}, %(spent)s)",
            _account(account, holder) | {"spent": spent},
        ) as (_, row):
            return bool(one(row)["o_lost"])

    async def lease_reap(self, lost_after_s: float) -> Sequence[LostLease]:
        """Over all tenants; leases that somebody works on at this moment are passed over."""
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "WITH silent AS (SELECT tenant_id, account_key, holder, granted - spent AS rest FROM lease"
                " WHERE state = 'open' AND expires_at < now() - make_interval(secs => %(lost_after_s)s)"
                " FOR UPDATE SKIP LOCKED),"
                " given_up AS (UPDATE lease SET spent = granted, state = 'lost', recalled = false,"
                " lost = lost + (silent.rest > 0)::int FROM silent WHERE lease.tenant_id = silent.tenant_id"
                " AND lease.account_key = silent.account_key AND lease.holder = silent.holder)"
                " SELECT silent.*, unit FROM silent JOIN budget USING (tenant_id, account_key) WHERE rest > 0"
                " ORDER BY account_key, holder",
                {"lost_after_s": lost_after_s},
            )
            rows = await cursor.fetchall()
        return [LostLease(**row) for row in rows]

    async def standing_list(self, caller: Caller, account_keys: Sequence[str]) -> Sequence[Standing]:
        """One query in the caller's tenant."""
        async with self._database.transaction_with(
            caller,
            "SELECT coalesce(json_agg(found), '[]') AS found FROM ("
            "SELECT account_key, amount_limit AS limit, taken, coalesce((SELECT sum(spent) FROM lease"
            " WHERE lease.tenant_id = budget.tenant_id AND lease.account_key = budget.account_key), 0)::bigint AS spent"
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
