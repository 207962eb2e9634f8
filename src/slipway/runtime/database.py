"""Transactions on PostgreSQL: the only way any part reaches a table.

A transaction belongs to a tenant (`transaction(caller)`: row-level security shows that tenant's rows and no other) or,
for the few operations that come before a tenant is known, to the platform (`platform_transaction()`). Both set their
identity with `SET LOCAL`, so a pooled connection carries nothing to its next user. Plans are never cached across
transactions (`plan_cache_mode = force_custom_plan`): a generic plan made for one tenant was reused for another and
returned too few rows (measured, see architecture.md). Driver errors leave as ours.
"""

import contextlib
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, LiteralString, Self

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncClientCursor, AsyncConnection, errors
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from slipway.base.callers import Caller
from slipway.base.errors import Conflict, InvalidRequest, Misconfigured, SlipwayError, StorageFull, Unavailable, defect

Connection = AsyncConnection[DictRow]
Parameters = Mapping[str, Any]

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


_TRUSTED_S: Final = 5.0  # a connection that rested longer is asked: a network may have forgotten it without a word


class _Pooled(AsyncConnection[DictRow]):
    """A connection that knows when it was last given back."""

    rested_since_s: float = float("-inf")


class Database:
    """A pool of connections as the role `slipway_app`, which owns nothing and bypasses nothing."""

    def __init__(self, pool: AsyncConnectionPool[_Pooled]) -> None:
        self._pool = pool

    @classmethod
    async def open(
        cls, url: "str | Callable[[], Awaitable[str]]", *, max_connections: int = 10, name: str = "slipway"
    ) -> Self:
        """Connects; raises Unavailable when the server does not answer within 10 s, Misconfigured when it refuses.

        `url` may be a function that is asked for each connection, when credentials do not last.
        """
        pool: AsyncConnectionPool[_Pooled] = AsyncConnectionPool(
            url,
            connection_class=_Pooled,
            kwargs={
                "row_factory": dict_row,
                "autocommit": True,  # `_begin` begins: the driver would spend a round trip of its own on it
                "application_name": name,
                "connect_timeout": 5,
                **_DEAD_PEER,
                "options": f"-c role={APP_ROLE} -c plan_cache_mode=force_custom_plan -c timezone=UTC",
            },
            configure=_configure,
            check=_check,
            reset=_reset,
            min_size=1,
            max_size=max_connections,
            max_waiting=1000,
            timeout=10.0,
            reconnect_timeout=float("inf"),
            open=False,
        )
        with _translated():
            try:
                await _refuse_wrong_login(url if isinstance(url, str) else await url())
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
                await _begin(connection, _TENANT, {"tenant": caller.tenant_id})
                yield connection

    @contextlib.asynccontextmanager
    async def transaction_with(
        self, caller: Caller, first: LiteralString, parameters: Parameters
    ) -> AsyncIterator[tuple[Connection, DictRow | None]]:
        """The same with the row of its first statement, which is sent together with its beginning.

        `first` has %(name)s for its parameters, %(tenant)s among them.
        """
        with _translated():
            async with self._pool.connection() as connection:
                cursor = await _begin(connection, f"{_TENANT}; {first}", {**parameters, "tenant": caller.tenant_id})
                yield connection, await cursor.fetchone()

    @contextlib.asynccontextmanager
    async def platform_transaction(self) -> AsyncIterator[Connection]:
        """One transaction across tenants: for credentials, tenants and queues. A fitness test lists every use."""
        with _translated():
            async with self._pool.connection() as connection:
                await _begin(connection, f"SET LOCAL ROLE {PLATFORM_ROLE}")
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


_TENANT: Final = "SELECT set_config('slipway.tenant', %(tenant)s, true)"


async def _begin(
    connection: Connection, statements: LiteralString, parameters: Parameters | None = None
) -> AsyncClientCursor[DictRow]:
    """Begins a transaction with these statements in one round trip; the cursor is at the result of the last one."""
    cursor = AsyncClientCursor(connection, row_factory=dict_row)
    # Several statements go as text (PostgreSQL's simple protocol), with parameters that the driver has quoted; each
    # text is another, so that preparing would only fill the server's memory.
    await cursor.execute(f"BEGIN; {statements}", parameters, prepare=False)
    while cursor.nextset():
        pass
    return cursor


async def _check(connection: _Pooled) -> None:
    """Raises unless the connection lives. One that was used a moment ago is only looked at: an idle server is silent,
    so what there is to read is its farewell or the end of the stream."""
    if time.monotonic() - connection.rested_since_s < _TRUSTED_S:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if not poll.poll(0):
            return
    await AsyncConnectionPool.check_connection(connection)


async def _reset(connection: _Pooled) -> None:
    connection.rested_since_s = time.monotonic()


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
    except psycopg.DataError as error:
        # Text that is checked nowhere else: a form's field, a header. The driver has no class of its own for it.
        if not isinstance(error, errors.UntranslatableCharacter) and "NUL (0x00)" not in str(error):
            raise
        raise InvalidRequest("Text cannot hold the character U+0000: leave it out.", detail=str(error)) from error
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
