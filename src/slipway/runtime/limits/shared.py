"""Rate limits that processes share through Redis, over one connection.

One script call is in flight at a time; what is asked meanwhile goes together in the next one, so that a request costs
a share of a call (measured in ADR 13). Redis's own clock counts. When Redis does not answer in time, limits fail open:
this process counts by itself, tells `on_open_failure` of each check, and looks for Redis behind them.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from slipway.base.clock import Clock
from slipway.runtime.limits.limit import Limit, Verdict
from slipway.runtime.limits.local import LocalLimiter

_CALL_TIMEOUT_S: Final = 0.025  # a check waits for the call before its own at most, so twice this
_LOOKING_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)  # between attempts to reach Redis again
_LOOK_TIMEOUT_S: Final = 1.0
_BATCH: Final = 256  # checks in one call, so that Redis is never held for long
_TAG: Final = "slipway:{limits}:"

# ARGV holds all checks as numbers: how many limits, then for each the index of its key, µs a unit, µs a burst, µs of
# its cost; a negative count returns costs. Arrival times are µs since 1970, exact to a quarter in a double.
_SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local stored, arrivals, changed = redis.call('MGET', unpack(KEYS)), {}, {}
for i = 1, #KEYS do arrivals[i] = tonumber(stored[i]) or now end
local next_number = string.gmatch(ARGV[1], '%S+')
local answers, n = {}, 0
while true do
  local word = next_number()
  if not word then break end
  local count = tonumber(word)
  local back = count < 0
  if back then count = -count end
  local keys, units, bursts, costs = {}, {}, {}, {}
  local refused, wait = 0, 0
  for i = 1, count do
    local key, unit = tonumber(next_number()), tonumber(next_number())
    local burst, cost = tonumber(next_number()), tonumber(next_number())
    keys[i], units[i], bursts[i], costs[i] = key, unit, burst, cost
    if arrivals[key] < now then arrivals[key] = now end
    local late = arrivals[key] - now + math.min(cost, burst) - burst
    if late > 0.5 and late > wait then refused, wait = i, late end
  end
  if back then
    for i = 1, count do
      arrivals[keys[i]] = math.max(arrivals[keys[i]] - costs[i], now)
      changed[keys[i]] = true
    end
  else
    answers[n + 1], answers[n + 2] = refused, math.ceil(wait)
    n = n + 2
    for i = 1, count do
      local key = keys[i]
      if refused == 0 then
        arrivals[key] = arrivals[key] + costs[i]
        changed[key] = true
      end
      local ahead = arrivals[key] - now
      answers[n + 1] = math.max(math.floor((bursts[i] - ahead + 0.5) / units[i]), 0)
      answers[n + 2] = math.ceil(ahead)
      n = n + 2
    end
  end
end
for key in pairs(changed) do
  local ahead = arrivals[key] - now
  if ahead > 0 then
    redis.call('SET', KEYS[key], string.format('%.2f', arrivals[key]), 'PX', math.ceil(ahead / 1000) + 1)
  else
    redis.call('DEL', KEYS[key])
  end
end
return answers
"""

_Check = tuple[Sequence[Limit], "asyncio.Future[Verdict] | None"]  # without a future: costs to return


class RedisLimiter:
    """Implements Limiter. The pool stays its giver's; one of its connections is kept for this."""

    def __init__(
        self, redis: Redis, clock: Clock | None = None, *, on_open_failure: Callable[[], object] | None = None
    ) -> None:
        self._redis = redis.client()
        self._run: Callable[..., Awaitable[list[int]]] = self._redis.execute_command
        self._local = LocalLimiter(clock)
        self._on_open_failure = on_open_failure
        self._waiting: list[_Check] = []
        self._calling: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._sha = ""

    async def acquire(self, limits: Sequence[Limit]) -> Verdict:
        """Takes the cost of every limit, or of none; by this process's own count when Redis is away."""
        if not limits or self._looking is not None:
            return self._alone(limits)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Verdict] = loop.create_future()
        self._waiting.append((limits, answer))
        if self._calling is None:
            self._calling = loop.create_task(self._call())
        return await answer

    async def give_back(self, limits: Sequence[Limit]) -> None:
        """Returns each cost, with the next call; nobody waits for it."""
        if self._looking is not None:
            await self._local.give_back(limits)
        elif limits:
            self._waiting.append((limits, None))
            if self._calling is None:
                self._calling = asyncio.get_running_loop().create_task(self._call())

    async def close(self) -> None:
        """Gives the connection back to its pool."""
        tasks = [task for task in (self._calling, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    def _alone(self, limits: Sequence[Limit]) -> Verdict:
        if limits and self._on_open_failure is not None:
            self._on_open_failure()
        return self._local.acquire_now(limits)

    async def _call(self) -> None:
        """Calls Redis until nothing waits."""
        batch: list[_Check] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                numbers = await self._evaluate(*_written(batch))
                _answer(batch, numbers)
                batch = []
        except (RedisError, OSError, TimeoutError):
            self._looking = asyncio.get_running_loop().create_task(self._look())
        finally:
            self._calling = None
            left, self._waiting = batch + self._waiting, []
            for limits, answer in left:
                if answer is None:
                    await self._local.give_back(limits)
                elif not answer.done():
                    answer.set_result(self._alone(limits))

    async def _evaluate(self, keys: list[str], text: str) -> list[int]:
        async with asyncio.timeout(_CALL_TIMEOUT_S if self._sha else _LOOK_TIMEOUT_S):
            if not self._sha:
                self._sha = await self._redis.script_load(_SCRIPT)
            try:
                numbers: list[int] = await self._run("EVALSHA", self._sha, len(keys), *keys, text)
            except NoScriptError:  # Redis was started anew
                numbers = await self._run("EVAL", _SCRIPT, len(keys), *keys, text)
        return numbers

    async def _look(self) -> None:
        """Tries to reach Redis until it answers."""
        tries = 0
        while True:
            await asyncio.sleep(_LOOKING_S[min(tries, len(_LOOKING_S) - 1)])
            tries += 1
            try:
                async with asyncio.timeout(_LOOK_TIMEOUT_S):
                    self._sha = await self._redis.script_load(_SCRIPT)
            except (RedisError, OSError, TimeoutError):
                continue
            self._looking = None
            return


def _written(batch: list[_Check]) -> tuple[list[str], str]:
    """The keys of a batch, each once, and its checks as numbers."""
    indexes: dict[str, int] = {}
    words: list[str] = []
    for limits, answer in batch:
        words.append(str(len(limits) if answer is not None else -len(limits)))
        for limit in limits:
            index = indexes.setdefault(limit.key, len(indexes) + 1)
            unit_us = 1e6 / limit.rate_per_s
            words.append(f"{index} {unit_us!r} {unit_us * limit.burst!r} {unit_us * limit.cost!r}")
    return [_TAG + key for key in indexes], " ".join(words)


def _answer(batch: list[_Check], numbers: list[int]) -> None:
    at = 0
    for limits, answer in batch:
        if answer is None:
            continue
        end = at + 2 + 2 * len(limits)
        if not answer.done():  # it is, when its request has gone away
            refused = numbers[at]
            answer.set_result(
                Verdict(
                    refused == 0,
                    limits[refused - 1] if refused else None,
                    numbers[at + 1] / 1e6,
                    tuple(numbers[at + 2 : end : 2]),
                    tuple([number / 1e6 for number in numbers[at + 3 : end : 2]]),
                )
            )
        at = end
