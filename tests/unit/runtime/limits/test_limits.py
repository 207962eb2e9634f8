"""One suite for both limiters, and what each alone has: a bound on keys here, Redis that goes away there."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from slipway.base.ids import new_id
from slipway.runtime.limits import Limit, Limiter, LocalLimiter
from slipway.runtime.limits.shared import RedisLimiter
from slipway.runtime.redis import open_redis
from tests.redis_server import free_port, redis_server

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(params=["local", "redis"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    if request.param == "local":
        yield LocalLimiter()
        return
    redis = open_redis(request.getfixturevalue("redis_url"))
    limiter = RedisLimiter(redis, on_open_failure=lambda: pytest.fail("Redis is there"))
    yield limiter
    await limiter.close()
    await redis.aclose()


def limit(rate_per_s: float = 0.1, burst: int = 5, cost: int = 1) -> Limit:
    return Limit(new_id("key"), rate_per_s, burst, cost, "requests of this key")


async def test_a_burst_passes_and_then_the_rate(limiter: Limiter):
    of_key = limit(rate_per_s=20, burst=5)
    answers = [await limiter.acquire([of_key]) for _ in range(5)]
    assert [answer.remaining[0] for answer in answers] == [4, 3, 2, 1, 0]
    assert all(answer.allowed and answer.limit is None and answer.retry_after_s == 0 for answer in answers)
    refused = await limiter.acquire([of_key])
    assert not refused.allowed
    assert refused.limit is of_key
    assert 0 < refused.retry_after_s <= 0.05
    assert refused.reset_s[0] == pytest.approx(0.25, abs=0.05)
    await asyncio.sleep(refused.retry_after_s + 0.002)
    assert (await limiter.acquire([of_key])).allowed


async def test_all_limits_or_none_are_taken(limiter: Limiter):
    wide, narrow = limit(burst=5), limit(burst=1)
    assert (await limiter.acquire([wide, narrow])).remaining == (4, 0)
    for _ in range(3):
        refused = await limiter.acquire([wide, narrow])
        assert (refused.allowed, refused.limit, refused.remaining) == (False, narrow, (4, 0))
    assert (await limiter.acquire([wide])).remaining == (3,)


async def test_the_limit_named_is_the_one_that_opens_last(limiter: Limiter):
    soon, late = limit(rate_per_s=1, burst=1), limit(rate_per_s=0.01, burst=1)
    await limiter.acquire([soon, late])
    refused = await limiter.acquire([late, soon])
    assert refused.limit is late
    assert refused.retry_after_s == pytest.approx(100, abs=1)


async def test_costs_are_taken_and_returned(limiter: Limiter):
    tokens = limit(burst=100, cost=60)
    assert (await limiter.acquire([tokens])).remaining == (40,)
    assert not (await limiter.acquire([tokens])).allowed
    await limiter.give_back([replace(tokens, cost=50)])
    assert (await limiter.acquire([replace(tokens, cost=0)])).remaining == (90,)
    await limiter.give_back([replace(tokens, cost=-70)])  # it was more than the estimate
    assert (await limiter.acquire([replace(tokens, cost=0)])).remaining == (20,)
    await limiter.give_back([replace(tokens, cost=1000)])  # never more than full
    assert (await limiter.acquire([replace(tokens, cost=0)])).remaining == (100,)


async def test_a_cost_above_the_burst_passes_when_full_and_is_worked_off(limiter: Limiter):
    tokens = limit(rate_per_s=10, burst=10)
    assert (await limiter.acquire([replace(tokens, cost=30)])).allowed
    refused = await limiter.acquire([tokens])
    assert refused.retry_after_s == pytest.approx(2.1, abs=0.05)


async def test_of_many_at_once_exactly_the_burst_passes(limiter: Limiter):
    shared, own = limit(burst=40), [limit(burst=3) for _ in range(20)]
    answers = await asyncio.gather(*(limiter.acquire([shared, own[each % 20]]) for each in range(400)))
    assert sum(answer.allowed for answer in answers) == 40


async def test_no_limits_let_everything_through(limiter: Limiter):
    assert (await limiter.acquire([])).allowed


async def test_a_bounded_number_of_keys_is_kept_and_full_ones_go_first():
    limiter = LocalLimiter(max_keys=50)
    active = limit(burst=1, rate_per_s=0.001)
    limiter.acquire_now([active])
    for _ in range(1000):
        limiter.acquire_now([limit(rate_per_s=1e9)])
    assert len(limiter._arrivals) <= 50
    assert not limiter.acquire_now([active]).allowed


async def test_without_redis_limits_fail_open_within_50_ms_and_return_to_it():
    port = free_port()
    failures: list[None] = []
    redis = open_redis(f"redis://127.0.0.1:{port}/0")
    limiter = RedisLimiter(redis, on_open_failure=lambda: failures.append(None))
    of_key = limit(rate_per_s=0.001, burst=3)
    try:
        with redis_server(port):
            assert (await limiter.acquire([of_key])).remaining == (2,)
            assert failures == []
        began_s = time.monotonic()
        answers = await asyncio.gather(*(limiter.acquire([of_key]) for _ in range(5)))
        assert time.monotonic() - began_s < 0.2  # the bound is 50 ms; this machine may be busy
        assert sum(answer.allowed for answer in answers) == 3  # its own count
        assert len(failures) == 5
        with redis_server(port):
            for _ in range(100):
                failures.clear()
                verdict = await limiter.acquire([of_key])
                if not failures:
                    break
                await asyncio.sleep(0.05)
            assert failures == []
            assert verdict.remaining == (2,)
    finally:
        await limiter.close()
        await redis.aclose()


async def test_a_redis_that_is_silent_holds_nobody_up():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    redis = open_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    limiter = RedisLimiter(redis)
    limiter._sha = "0" * 40  # as after a first call
    try:
        began_s = time.monotonic()
        assert (await limiter.acquire([limit()])).allowed
        assert time.monotonic() - began_s < 0.2
    finally:
        await limiter.close()
        await redis.aclose()
        server.close()
