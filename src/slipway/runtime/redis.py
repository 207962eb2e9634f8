"""The connection to Redis, for what processes share and may lose: rate limits and leases on budgets.

One Redis (with replicas, not a cluster) by its URL: `redis://`, `rediss://` for TLS, `unix://`. Nothing is tried again
here: who asks knows whether asking twice is harmless. The driver's errors leave as ours.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from slipway.base.errors import Misconfigured, SlipwayError, StorageFull, Unavailable

_CONNECTIONS: Final = 16  # of one process; leases are synced over them
_CALL_S: Final = 5.0
_SCHEMES: Final = ("redis://", "rediss://", "unix://")


def open_redis(url: str) -> Redis:
    """A pool that connects when it is used first. Raises Misconfigured for what is no address of a Redis."""
    if not url.startswith(_SCHEMES):
        raise Misconfigured("Redis's address must begin with redis://, rediss:// or unix:// (SLIPWAY_REDIS_URL).")
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=2.0,
            socket_connect_timeout=2.0,
            # No socket_timeout: with one the driver writes under asyncio.wait_for, which on Python 3.11 swallows a
            # cancellation that comes as the write ends. `redis_call` bounds a call instead.
            socket_timeout=None,
            socket_keepalive=True,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        # The driver's message may quote the address, and with it a password.
        raise Misconfigured(
            "Redis's address is not one: check SLIPWAY_REDIS_URL.", detail=type(error).__name__
        ) from None
    return Redis.from_pool(pool)


@contextlib.asynccontextmanager
async def redis_call() -> AsyncIterator[None]:
    """One exchange with Redis, of five seconds at most; raises Unavailable, StorageFull or Misconfigured."""
    try:
        async with asyncio.timeout(_CALL_S):
            yield
    except SlipwayError:
        raise
    except AuthenticationError as error:
        raise Misconfigured("Redis refuses this login: check SLIPWAY_REDIS_URL.", detail=str(error)) from error
    except ResponseError as error:
        if "OOM" in str(error):
            raise StorageFull("Redis has no memory left.", detail=str(error)) from error
        raise Unavailable("Redis refuses what it was asked.", detail=str(error), retry_after_s=1.0) from error
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("Redis does not answer: try again shortly.", detail=repr(error), retry_after_s=1.0) from error
