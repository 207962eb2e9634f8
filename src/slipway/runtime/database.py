"""Transactions on PostgreSQL: the only way any part reaches a table.

A transaction belongs to a tenant (`transaction(caller)`: row-level security shows that tenant's rows and no other) or,
for the few operations that come before a tenant is known, to the platform (`platform_transaction()`). Both set their
identity with `SET LOCAL`, so a pooled connection carries nothing to its next user. Plans are never cached across
transactions (`plan_cache_mode = force_custom_plan`): a generic plan made for one tenant was reused for another and
returned too few rows (measured, see architecture.md). Driver errors leave as ours.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from slipway.base.callers import Caller
from slipway.base.errors import Conflict, Misconfigured, SlipwayError, StorageFull, Unavailable, defect

Connection = AsyncConnection[DictRow]

APP_ROLE = "slipway_app"
PLATFORM_ROLE = "slipway_platform"
# libpq gives no SQLSTATE for a connection that was refused.
_REFUSALS = ("password authentication failed", "does not exist", "no pg_hba.conf entry", "invalid connection option")


# A server whose machine or network is gone says nothing: without these a query waits for it for some 15 minutes
# (Linux's tcp_retries2). libpq ignores them on a unix socket.
_DEAD_PEER = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms; as long as the keepalives take
}


class Database:
    """A pool of connections as the role `slipway_app`, which owns nothing and bypasses nothing."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str, *, max_connections: int = 10, name: str = "slipway") -> Self:
        """Connects; raises Unavailable when the server does not answer within 10 s, Misconfigured when it refuses."""
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=AsyncConnection[DictRow],
            kwargs={
                "row_factory": dict_row,
                "autocommit": False,
                "application_name": name,
                "connect_timeout": 5,
                **_DEAD_PEER,
                "options": f"-c role={APP_ROLE} -c plan_cache_mode=force_custom_plan -c timezone=UTC",
            },
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
            min_size=1,
            max_size=max_connections,
            max_waiting=1000,
            timeout=10.0,
            reconnect_timeout=float("inf"),
            open=False,
        )
        with _translated():
            try:
                await _refuse_wrong_login(url)
                await pool.open(wait=True, timeout=10.0)
            except BaseException:
                await pool.close()
                raise
        return cls(pool)

    async def close(self) -> None:
        """Returns every connection and closes them."""
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def transaction(self, caller: Caller) -> AsyncIterator[Connection]:
        """One transaction that sees the caller's tenant only; rolled back on any error.

        Raises Unavailable when PostgreSQL is away, StorageFull when its disk is full, Conflict on a lost race.
        """
        with _translated():
            async with self._pool.connection() as connection:
                await connection.execute("SELECT set_config('slipway.tenant', %s, true)", (caller.tenant_id,))
                yield connection

    @contextlib.asynccontextmanager
    async def platform_transaction(self) -> AsyncIterator[Connection]:
        """One transaction across tenants: for credentials, tenants and queues. A fitness test lists every use."""
        with _translated():
            async with self._pool.connection() as connection:
                await connection.execute(f"SET LOCAL ROLE {PLATFORM_ROLE}")
                yield connection

    async def check(self) -> None:
        """Raises Unavailable unless a query answers within 2 s."""
        with _translated():
            async with self._pool.connection(timeout=2.0) as connection:
                await connection.execute("SELECT 1")


async def _refuse_wrong_login(url: str) -> None:
    """The pool keeps the server's reasons to itself and would try again for 10 s."""
    try:
        async with await AsyncConnection.connect(url, connect_timeout=5) as connection:
            await connection.execute(f"SET ROLE {APP_ROLE}")
    except psycopg.Error as error:
        if isinstance(error, errors.InsufficientPrivilege | errors.InvalidParameterValue):
            raise Misconfigured(
                f"The database's login may not become {APP_ROLE}: "
                f"an administrator grants it with `GRANT {APP_ROLE} TO` that login.",
                detail=str(error),
            ) from error
        if any(reason in str(error) for reason in _REFUSALS):
            raise Misconfigured(
                "The database refuses this login: check user, password and database in SLIPWAY_DATABASE_URL.",
                detail=str(error),
            ) from error


async def _configure(connection: Connection) -> None:
    await register_vector_async(connection)
    await connection.commit()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SlipwayError:
        raise
    except (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable) as error:
        raise Conflict(
            "Something else changed this at the same moment: try again.", detail=str(error), retryable=True
        ) from error
    except errors.DiskFull as error:
        raise StorageFull("The database has no room left on its disk.", detail=str(error)) from error
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        PoolTimeout,
        PoolClosed,
        TooManyRequests,
    ) as error:
        raise Unavailable(
            "The database does not answer: try again shortly.", detail=str(error), retry_after_s=1.0
        ) from error


def one(row: DictRow | None) -> dict[str, Any]:
    """The row of a statement that always returns one."""
    if row is None:
        raise defect("a statement returned no row")
    return row
