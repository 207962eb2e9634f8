"""Leases in a Redis that loses its memory: budgets look fuller afterwards, never emptier, and nothing is granted until
no holder can use what was forgotten."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from slipway.base.clock import SystemClock
from slipway.base.errors import BudgetExceeded, Unavailable
from slipway.runtime.redis import open_redis
from slipway.runtime.settings import Settings
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.adapter_redis_leases import RedisLeases
from slipway.services.gateway.escrow import Escrow
from slipway.services.gateway.lease_models import Account, Settling
from slipway.services.gateway.wiring import shared_stores
from tests.redis_server import free_port, redis_server
from tests.services.test_leases import asking, taken

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """A Redis that these tests harm."""
    with redis_server() as url:
        yield url


@pytest.fixture
async def redis(own_url: str) -> AsyncIterator[Redis]:
    client = open_redis(own_url)
    await client.flushall()
    yield client
    await client.aclose()


class Rows:
    """What usage rows say was spent."""

    def __init__(self, spent: int = 0) -> None:
        self.spent, self.away, self.asked = spent, False, 0

    async def __call__(self, _: Account) -> int:
        self.asked += 1
        if self.away:
            raise Unavailable("The database does not answer.")
        return self.spent


async def empty(redis: Redis) -> None:
    """What a server says that was started again and keeps nothing."""
    await asyncio.sleep(0.002)  # no start is faster
    await redis.flushall()


async def older_state(redis: Redis) -> None:
    """What a server says that was started again and read its last snapshot."""
    await asyncio.sleep(0.002)
    await redis.hset("slipway:leases:memory", "run", "of another server")


@pytest.mark.parametrize("loses", [empty, older_state])
async def test_what_was_spent_comes_from_usage_rows(redis, lease_account, new_caller, loses):
    rows = Rows()
    store = RedisLeases(redis, rows, grace_s=0.0)
    assert (await store.lease_sync(asking(lease_account, need=900))).granted == 900
    rows.spent = 870  # and the holder is gone
    await loses(redis)
    refused = await store.lease_sync(asking(lease_account, "b", need=131))
    assert (refused.granted, refused.available, refused.elsewhere) == (0, 130, 0)
    assert (await store.lease_sync(asking(lease_account, "b", seq=2, need=130))).granted == 130
    assert await taken(store, lease_account, new_caller) == (1000, 870)


async def test_without_usage_rows_nothing_is_granted(redis, lease_account):
    rows = Rows(500)
    rows.away = True
    store = RedisLeases(redis, rows, grace_s=0.0)
    for _ in range(2):
        with pytest.raises(Unavailable, match="does not answer"):
            await store.lease_sync(asking(lease_account, need=1))
    rows.away = False
    assert (await store.lease_sync(asking(lease_account, need=500))).granted == 500
    assert rows.asked == 3


@pytest.mark.parametrize("loses", [empty, older_state])
async def test_what_a_holder_says_counts_in_full_before_anything_is_granted(redis, lease_account, new_caller, loses):
    store = RedisLeases(redis, Rows(), grace_s=0.0)
    await store.lease_sync(asking(lease_account, need=900))
    before = await store.lease_epoch()
    await loses(redis)
    store = RedisLeases(redis, Rows(100), grace_s=60.0)
    assert await store.lease_epoch() > before
    with pytest.raises(Settling) as settling:
        await store.lease_sync(asking(lease_account, "b", need=1))
    assert 58 < settling.value.left_s <= 60
    assert (await store.lease_sync(asking(lease_account, seq=2, spent=100, keep=900))).granted == 900
    # 100 twice: a budget may look fuller than it is.
    assert await taken(store, lease_account, new_caller) == (1000, 200)
    store = RedisLeases(redis, Rows(), grace_s=0.0)
    assert (await store.lease_sync(asking(lease_account, "b", seq=2, need=1))).granted == 0


async def test_a_journal_that_is_settled_after_the_loss_is_not_forgotten(redis, lease_account, new_caller):
    rows = Rows()
    store = RedisLeases(redis, rows, grace_s=0.0)
    await store.lease_sync(asking(lease_account, need=900))
    await older_state(redis)
    assert await store.lease_close(lease_account, "a", 300) == 0
    rows.spent = 300  # they are written first
    assert (await store.lease_sync(asking(lease_account, "b", need=701))).granted == 0
    await store.lease_sync(asking(lease_account, "b", seq=2, need=1))
    await store.lease_close(lease_account, "late", 200)
    assert await taken(store, lease_account, new_caller) == (501, 500)


async def test_no_lease_is_used_for_longer_than_nothing_is_granted(redis, lease_account):
    """A holder that is cut off from Redis, which is started anew: it stops before another is granted its rest."""
    cut_off = RedisLeases(redis, Rows(), grace_s=0.0)
    holder = Escrow(cut_off, SystemClock(), "cut off", ttl_s=0.3, heartbeat_s=60.0)
    await holder.hold(lease_account, 10)
    assert holder.try_hold(lease_account, 10)
    await redis.flushall()
    other = Escrow(RedisLeases(redis, Rows(), grace_s=0.3), SystemClock(), "other", ttl_s=0.3, wait_s=0.1)
    await other.hold(lease_account, 1000)  # it waits for as long as it has to, and is not refused
    assert not holder.try_hold(lease_account, 1)
    await other.close()


async def test_holders_of_a_redis_that_was_started_anew_never_hold_more_than_the_budget(lease_account: Account):
    port = free_port()
    held = 0
    with redis_server(port) as url:
        client = open_redis(url)
        store = RedisLeases(client, Rows(), grace_s=1.0)
        escrows = [Escrow(store, SystemClock(), name, ttl_s=1.0, heartbeat_s=0.05, wait_s=0.3) for name in "abc"]
        running = [asyncio.create_task(escrow.run()) for escrow in escrows]
        for escrow in escrows[:2]:
            await escrow.hold(lease_account, 450)
            held += 450
    with redis_server(port):
        try:
            for escrow in escrows:
                with pytest.raises((BudgetExceeded, Unavailable)):
                    while True:
                        await until_there(escrow, lease_account, 60)
                        held += 60
                assert held <= lease_account.limit
            assert held == 450 + 450 + 60, "what was left of it can be used"
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await asyncio.gather(*(escrow.close() for escrow in escrows))
            await client.aclose()


async def until_there(escrow: Escrow, account: Account, amount: int) -> None:
    """Holds, once Redis is there again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await escrow.hold(account, amount)
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_redis_that_may_drop_budgets_is_refused(redis, lease_account):
    store = RedisLeases(redis, Rows(), grace_s=0.0)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Unavailable, match="maxmemory-policy to noeviction"):
            await store.lease_sync(asking(lease_account, need=1))
        assert await redis.keys("slipway:budget:*") == []
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_nothing_expires_by_itself_and_budgets_of_long_ago_go(redis, lease_account, new_caller: Callable):
    store = RedisLeases(redis, Rows(), grace_s=0.0)
    await store.lease_sync(asking(lease_account, need=900))
    await store.lease_close(lease_account, "a", 700)
    keys = await redis.keys("*")
    assert [await redis.ttl(key) for key in keys] == [-1] * len(keys)
    await store.lease_reap(0.0)
    assert await taken(store, lease_account, new_caller) == (700, 700)
    await redis.zadd("slipway:leases:kept", {lease_account.key: 1})
    await store.lease_reap(0.0)
    assert await redis.keys(f"*{lease_account.key}*") == []


async def test_a_gateway_on_redis_has_leases_as_short_as_the_wait(own_url, database):
    foundation: Any = SimpleNamespace(settings=Settings(redis_url=SecretStr(own_url)), clock=SystemClock())
    stores = shared_stores(foundation, PostgresUsage(database))
    assert isinstance(stores.leases, RedisLeases)
    assert stores.lease_ttl_s * 1000 == stores.leases._grace_ms
    for close in stores.close:
        await close()
