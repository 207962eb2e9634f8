"""Budget leases in Redis: as exact as in PostgreSQL while Redis remembers, and never overspent when it forgets.

An account is two hashes: the budget, and its leases by holder. Lua scripts change them, each at one stroke. Redis may
lose its memory, all of it or the last moments of it: a server that was started again, or another that took its place,
is a new *memory*, and what an older one said is thrown away. An account begins at what usage rows say was spent, and
nothing is granted until no holder can use a lease that it has not said again; what holders say counts in full, so that
after a loss a budget may look fuller than it is, never emptier. A Redis that may drop single keys is refused.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from slipway.base.callers import Caller
from slipway.base.errors import Unavailable, defect
from slipway.runtime.redis import redis_call
from slipway.services.gateway.lease_models import (
    Account,
    Ask,
    LeaseCorrection,
    LostLease,
    Settling,
    Standing,
    State,
)

# Nothing here expires by itself: a Redis that is full drops what does first.
_MEMORY: Final = "slipway:leases:memory"
_EXPIRIES: Final = "slipway:leases:expiries"
_UNBOOKED: Final = "slipway:leases:unbooked"
_KEPT: Final = "slipway:leases:kept"
_KEPT_S: Final = 7 * 86_400  # after a budget's reset: late journals still find their leases
TTL_S: Final = 5.0  # of a lease, and with it the time in which nothing is granted after Redis has lost its memory

# A lease is stored as "seq granted spent recalled lost state"; numbers are whole and below 2^53.
_SHARED: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(n) return string.format('%.0f', n) end
-- When this memory began. A server that was started again may have read an older state from its disk.
local function memory(key)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local known = redis.call('HMGET', key, 'run', 'since')
  if known[1] == run then return known[2] end
  local since = whole(math.max(now, (tonumber(known[2]) or 0) + 1))  -- another than before, whatever the clock says
  redis.call('HSET', key, 'run', run, 'since', since)
  return since
end
local function read(text)
  if not text then return {0, 0, 0, 0, 0, 'open'} end
  local seq, granted, spent, recalled, lost, state = string.match(text, '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
  return {tonumber(seq), tonumber(granted), tonumber(spent), tonumber(recalled), tonumber(lost), state}
end
local function text(lease)
  return table.concat({whole(lease[1]), whole(lease[2]), whole(lease[3]), lease[4], lease[5], lease[6]}, ' ')
end
"""

_BEGAN: Final = _SHARED + "return memory(KEYS[1])"

_SYNC: Final = (
    _SHARED
    + """
local budget, leases, corrected, expiries, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]
local account, holder, seq, spent = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local keep, need, ask, want = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local ttl, limit, grace, seed = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[14]), ARGV[15]

local since = memory(KEYS[4])
local left = tonumber(since) + grace - now
local settling = left > 0
local known = redis.call('HMGET', budget, 'taken', 'since')
local before = tonumber(known[1])
if not before or known[2] ~= since then
  if seed == '' then return {'absent'} end
  redis.call('DEL', budget, leases, corrected)
  before = tonumber(seed)
end
local lease = read(redis.call('HGET', leases, holder))
if lease[6] == 'closed' or seq <= lease[1] then
  return {'closed', whole(lease[2]), whole(limit - before), '0', '0', lease[5]}
end

if lease[6] == 'lost' then lease[3] = spent else lease[3] = math.max(lease[3], spent) end
-- What the holder says it holds counts, also where Redis has forgotten it.
local granted = math.max(lease[3], keep)
local taken = before + granted - lease[2]
local available = limit - taken
local elsewhere, waits = 0, false
if need > granted and (settling or available < need - granted) then
  waits = settling
  if not settling then
    for other, stored in pairs((function()
      local all, found = redis.call('HGETALL', leases), {}
      for i = 1, #all, 2 do found[all[i]] = all[i + 1] end
      return found
    end)()) do
      local theirs = read(stored)
      if other ~= holder and theirs[6] == 'open' and theirs[2] > theirs[3] then
        elsewhere = elsewhere + theirs[2] - theirs[3]
        if theirs[4] == 0 then
          theirs[4] = 1
          redis.call('HSET', leases, other, text(theirs))
        end
      end
    end
  end
elseif not settling and math.max(ask, want) > granted and available > 0 then
  ask = math.max(granted, math.min(ask, granted + available))
  if need > granted and available < 100 * (need - granted) then want = ask end
  want = math.min(want, ask + math.floor((available - (ask - granted)) / 8))
  taken = taken + math.max(ask, want) - granted
  granted = math.max(ask, want)
  available = limit - taken
end

local recalled = lease[4]
redis.call('HSET', leases, holder, text({seq, granted, lease[3], 0, lease[5], 'open'}))
redis.call('HSET', budget, 'taken', whole(taken), 'limit', ARGV[10], 'unit', ARGV[11], 'tenant', ARGV[12],
  'since', since)
-- By this server's clock at least: a holder's may be months behind.
redis.call('ZADD', kept, whole(math.max(tonumber(ARGV[13]), tonumber(clock[1]) + tonumber(ARGV[16]))), account)
redis.call('ZADD', expiries, whole(now + ttl), account .. '\\n' .. holder)
if waits then return {'settling', whole(left)} end
return {'open', whole(granted), whole(available), whole(elsewhere), recalled, lease[5]}
"""
)

_CLOSE: Final = (
    _SHARED
    + """
local budget, leases, expiries = KEYS[1], KEYS[2], KEYS[5]
local account, holder, spent = ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('ZREM', expiries, account .. '\\n' .. holder)
local taken = redis.call('HGET', budget, 'taken')
if not taken then return 0 end  -- forgotten: seeded from usage rows when it is asked for again
local lease = read(redis.call('HGET', leases, holder))
if lease[6] == 'closed' then return lease[5] end
if lease[6] == 'open' then spent = math.max(spent, lease[3]) end
redis.call('HSET', leases, holder, text({lease[1], spent, spent, 0, lease[5], 'closed'}))
redis.call('HSET', budget, 'taken', whole(tonumber(taken) + spent - lease[2]))
return lease[5]
"""
)

# What is not booked yet is a hash of its own: field "account holder" (by lines), value "tenant unit rest times".
_REAP: Final = (
    _SHARED
    + """
local since, expiries, unbooked, kept = memory(KEYS[1]), KEYS[2], KEYS[3], KEYS[4]
local silent = redis.call('ZRANGEBYSCORE', expiries, '-inf', '(' .. whole(now - tonumber(ARGV[1])), 'LIMIT', 0, 1000)
for _, member in ipairs(silent) do
  local account, holder = string.match(member, '^(.*)\\n(.*)$')
  local budget, leases = 'slipway:budget:{' .. account .. '}', 'slipway:leases:{' .. account .. '}'
  local about = redis.call('HMGET', budget, 'tenant', 'unit', 'since')
  local stored = redis.call('HGET', leases, holder)
  if stored and about[3] == since then
    local lease = read(stored)
    local rest = lease[2] - lease[3]
    if lease[6] == 'open' then
      if rest > 0 then
        lease[5] = lease[5] + 1
        redis.call('HSET', unbooked, member, table.concat({about[1], about[2], whole(rest), lease[5]}, ' '))
      else
        redis.call('HDEL', unbooked, member)
      end
      redis.call('HSET', leases, holder, text({lease[1], lease[2], lease[2], 0, lease[5], 'lost'}))
    end
  end
  redis.call('ZREM', expiries, member)
end
local past = redis.call('ZRANGEBYSCORE', kept, '-inf', clock[1], 'LIMIT', 0, 100)
for _, account in ipairs(past) do
  redis.call('DEL', 'slipway:budget:{' .. account .. '}', 'slipway:leases:{' .. account .. '}',
    'slipway:corrected:{' .. account .. '}')
  redis.call('ZREM', kept, account)
end
return redis.call('HGETALL', unbooked)
"""
)

_BOOKED: Final = (
    _SHARED
    + """
local member = ARGV[1] .. '\\n' .. ARGV[2]
local waits = redis.call('HGET', KEYS[7], member)
-- One that was lost again meanwhile waits for its own row.
if waits and string.match(waits, '(%S+)$') == ARGV[3] then redis.call('HDEL', KEYS[7], member) end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return 1 end  -- forgotten, not come back
local lease = read(stored)
return (lease[6] == 'lost' and lease[5] == tonumber(ARGV[3])) and 1 or 0
"""
)

_CORRECT: Final = (
    _SHARED
    + """
local budget, leases, corrected = KEYS[1], KEYS[2], KEYS[3]
local holder, row, times = ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = redis.call('HMGET', budget, 'taken', 'since')
local stored = redis.call('HGET', leases, holder)
if not stored or known[2] ~= memory(KEYS[4]) then return 1 end
local lease = read(stored)
if times == 0 and lease[6] ~= 'closed' then return 0 end
if times > 0 and (lease[6] ~= 'lost' or lease[5] ~= times) then return 1 end
if redis.call('SADD', corrected, row) == 1 then
  local returned = math.min(tonumber(ARGV[4]) - tonumber(ARGV[5]), lease[3])
  redis.call('HSET', leases, holder,
    text({lease[1], lease[2] - returned, lease[3] - returned, lease[4], lease[5], lease[6]}))
  redis.call('HSET', budget, 'taken', whole(tonumber(known[1]) - returned))
end
return 1
"""
)


class RedisLeases:
    """Implements LeaseStore. `seed` tells what usage rows say was spent of an account.

    `grace_s`: how long nothing is granted after Redis has lost its memory. No holder may use a lease for longer than
    that without having said what it holds: so it is the holders' `ttl_s`.
    """

    def __init__(self, redis: Redis, seed: Callable[[Account], Awaitable[int]], *, grace_s: float = TTL_S) -> None:
        self._redis = redis
        self._seed = seed
        self._grace_ms = int(grace_s * 1000)
        self._began = redis.register_script(_BEGAN)
        self._sync = redis.register_script(_SYNC)
        self._close = redis.register_script(_CLOSE)
        self._reap = redis.register_script(_REAP)
        self._booked = redis.register_script(_BOOKED)
        self._correct = redis.register_script(_CORRECT)

    async def lease_epoch(self) -> int:
        """When Redis's memory began, in ms."""
        async with redis_call():
            return int(await self._began(keys=[_MEMORY]))

    async def lease_sync(self, ask: Ask) -> State:
        """One script; two when Redis does not know the account."""
        answer = await self._exchange(ask, "")
        if answer[0] == b"absent":
            await self._require_memory()
            answer = await self._exchange(ask, await self._seed(ask.account))
        if answer[0] == b"settling":
            raise Settling(int(answer[1]) / 1000)
        kind, granted, available, elsewhere, recalled, lost = answer
        return State(
            granted=int(granted),
            available=int(available),
            elsewhere=int(elsewhere),
            recalled=bool(int(recalled)),
            closed=kind == b"closed",
            lost=int(lost),
        )

    async def lease_close(self, account: Account, holder: str, spent: int) -> int:
        """One script. For an account that Redis has forgotten there is nothing to do."""
        async with redis_call():
            return int(await self._close(keys=_keys(account.key), args=[account.key, holder, spent]))

    async def lease_reap(self, lost_after_s: float) -> Sequence[LostLease]:
        """One script, for a thousand leases at most."""
        async with redis_call():
            flat = await self._reap(keys=[_MEMORY, _EXPIRIES, _UNBOOKED, _KEPT], args=[int(lost_after_s * 1000)])
        return [_lost(name.decode(), about.decode()) for name, about in zip(flat[::2], flat[1::2], strict=True)]

    async def lease_booked(self, lost: LostLease) -> bool:
        """One script."""
        async with redis_call():
            return bool(
                await self._booked(keys=_keys(lost.account_key), args=[lost.account_key, lost.holder, lost.times])
            )

    async def lease_correct(self, correction: LeaseCorrection) -> bool:
        """One script."""
        numbers = [correction.times, correction.charged, correction.spent]
        async with redis_call():
            return bool(
                await self._correct(
                    keys=_keys(correction.account.key), args=[correction.holder, correction.row_id, *numbers]
                )
            )

    async def _require_memory(self) -> None:
        """An account that is not there may be new, or dropped to make room: then others still hold leases on it."""
        async with redis_call():
            policy = (await self._redis.info("memory")).get("maxmemory_policy", "noeviction")
        if str(policy).startswith("allkeys"):
            raise Unavailable(
                "The store of budgets may forget them: an administrator sets Redis's maxmemory-policy to noeviction.",
                detail=f"maxmemory-policy is {policy}",
            )

    async def standing_list(self, caller: Caller, account_keys: Sequence[str]) -> Sequence[Standing]:
        """Two reads a key in one round trip; another tenant's accounts are left out."""
        async with redis_call(), self._redis.pipeline(transaction=True) as pipe:
            for key in account_keys:
                budget, leases = _keys(key)[:2]
                # A pipeline keeps commands for `execute`: there is nothing to await yet.
                _ = pipe.hmget(budget, ["tenant", "limit", "taken"])
                _ = pipe.hvals(leases)
            answers: list[Any] = await pipe.execute()
        found = []
        for key, (tenant, limit, taken), leases_of in zip(account_keys, answers[::2], answers[1::2], strict=True):
            if tenant is not None and tenant.decode() == caller.tenant_id:
                # What was spent before Redis forgot is taken and in no lease.
                unspent = sum(int(parts[1]) - int(parts[2]) for parts in (lease.split() for lease in leases_of))
                found.append(Standing(key, int(limit), int(taken), int(taken) - unspent))
        return found

    async def close(self) -> None:
        """Closes the pool it was given, after everything else that uses it."""
        await self._redis.aclose()

    async def _exchange(self, ask: Ask, seed: int | str) -> list[Any]:
        account = ask.account
        numbers = [ask.seq, ask.spent, ask.keep, ask.need, ask.ask, ask.want, int(ask.ttl_s * 1000), account.limit]
        kept_until = int(account.resets_at.timestamp()) + _KEPT_S
        async with redis_call():
            answer: list[Any] = await self._sync(
                keys=_keys(account.key),
                args=[
                    account.key,
                    ask.holder,
                    *numbers,
                    account.unit,
                    account.tenant_id,
                    kept_until,
                    self._grace_ms,
                    seed,
                    _KEPT_S,
                ],
            )
        return answer


def _keys(account_key: str) -> list[str]:
    """As all scripts of one account take them."""
    own = [f"slipway:{kind}:{{{account_key}}}" for kind in ("budget", "leases", "corrected")]
    return [*own, _MEMORY, _EXPIRIES, _KEPT, _UNBOOKED]


def _lost(name: str, about: str) -> LostLease:
    account_key, holder = name.split("\n")
    tenant_id, unit, rest, times = about.split(" ")
    if unit not in ("usd_micros", "tokens"):
        raise defect(f"a lease of {account_key!r} has the unit {unit!r}")
    return LostLease(
        account_key=account_key,
        tenant_id=tenant_id,
        unit="tokens" if unit == "tokens" else "usd_micros",
        holder=holder,
        rest=int(rest),
        times=int(times),
    )
