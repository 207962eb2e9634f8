"""Budget leases in Redis: as exact as in PostgreSQL while Redis remembers, and never overspent when it forgets.

An account is two hashes: the budget, and its leases by holder. Lua scripts change them, each at one stroke. Redis may
lose its memory: an account it does not know begins at what usage rows say was spent, and a missing *epoch* tells that
everything may be gone. Nothing is granted then until every holder has had the time to say again what it holds; what
holders say counts in full, so that after a loss a budget may look fuller than it is, never emptier.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from slipway.base.callers import Caller
from slipway.base.errors import defect
from slipway.runtime.redis import redis_errors
from slipway.services.gateway.lease_models import Account, Ask, LostLease, Settling, Standing, State

_EPOCH: Final = "slipway:leases:epoch"
_EXPIRIES: Final = "slipway:leases:expiries"
_KEPT_S: Final = 7 * 86_400  # after a budget's reset: late journals still find their leases

# A lease is stored as "seq granted spent recalled lost state"; numbers are whole and below 2^53.
_SHARED: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(n) return string.format('%.0f', n) end
local function read(text)
  if not text then return {0, 0, 0, 0, 0, 'open'} end
  local seq, granted, spent, recalled, lost, state = string.match(text, '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
  return {tonumber(seq), tonumber(granted), tonumber(spent), tonumber(recalled), tonumber(lost), state}
end
local function text(lease)
  return table.concat({whole(lease[1]), whole(lease[2]), whole(lease[3]), lease[4], lease[5], lease[6]}, ' ')
end
"""

_SYNC: Final = (
    _SHARED
    + """
local budget, leases, epoch_key, expiries = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local account, holder, seq, spent = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local keep, need, ask, want = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local ttl, limit, grace, seed = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[14]), ARGV[15]

redis.call('SET', epoch_key, whole(now), 'NX')
local settling = now < tonumber(redis.call('GET', epoch_key)) + grace
local before = tonumber(redis.call('HGET', budget, 'taken'))
if not before then
  if seed == '' then return {'absent'} end
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
redis.call('HSET', budget, 'taken', whole(taken), 'limit', ARGV[10], 'unit', ARGV[11], 'tenant', ARGV[12])
redis.call('EXPIREAT', budget, ARGV[13])
redis.call('EXPIREAT', leases, ARGV[13])
redis.call('ZADD', expiries, whole(now + ttl), account .. '\\n' .. holder)
return {waits and 'settling' or 'open', whole(granted), whole(available), whole(elsewhere), recalled, lease[5]}
"""
)

_CLOSE: Final = (
    _SHARED
    + """
local budget, leases, expiries = KEYS[1], KEYS[2], KEYS[3]
local account, holder, spent = ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('ZREM', expiries, account .. '\\n' .. holder)
local taken = tonumber(redis.call('HGET', budget, 'taken'))
if not taken then return 0 end  -- forgotten: seeded from usage rows when it is asked for again
local lease = read(redis.call('HGET', leases, holder))
if lease[6] == 'closed' then return lease[5] end
if lease[6] == 'open' then spent = math.max(spent, lease[3]) end
redis.call('HSET', leases, holder, text({lease[1], spent, spent, 0, lease[5], 'closed'}))
redis.call('HSET', budget, 'taken', whole(taken + spent - lease[2]))
return lease[5]
"""
)

_REAP: Final = (
    _SHARED
    + """
local expiries, lost = KEYS[1], {}
local silent = redis.call('ZRANGEBYSCORE', expiries, '-inf', '(' .. whole(now - tonumber(ARGV[1])), 'LIMIT', 0, 1000)
for _, member in ipairs(silent) do
  local account, holder = string.match(member, '^(.*)\\n(.*)$')
  local budget, leases = 'slipway:budget:{' .. account .. '}', 'slipway:leases:{' .. account .. '}'
  local stored = redis.call('HGET', leases, holder)
  if stored then
    local lease = read(stored)
    local rest = lease[2] - lease[3]
    if lease[6] == 'open' then
      if rest > 0 then
        local about = redis.call('HMGET', budget, 'tenant', 'unit')
        lost[#lost + 1] = {account, about[1], about[2], holder, whole(rest)}
        lease[5] = lease[5] + 1
      end
      redis.call('HSET', leases, holder, text({lease[1], lease[2], lease[2], 0, lease[5], 'lost'}))
    end
  end
  redis.call('ZREM', expiries, member)
end
return lost
"""
)


class RedisLeases:
    """Implements LeaseStore. `seed` tells what usage rows say was spent of an account.

    `grace_s`: how long nothing is granted after Redis has lost its memory; two heartbeats of the holders and more.
    """

    def __init__(self, redis: Redis, seed: Callable[[Account], Awaitable[int]], *, grace_s: float = 1.2) -> None:
        self._redis = redis
        self._seed = seed
        self._grace_ms = int(grace_s * 1000)
        self._sync = redis.register_script(_SYNC)
        self._close = redis.register_script(_CLOSE)
        self._reap = redis.register_script(_REAP)

    async def lease_epoch(self) -> int:
        """When Redis's memory began, in ms."""
        with redis_errors():
            seconds, micros = await self._redis.time()
            await self._redis.set(_EPOCH, seconds * 1000 + micros // 1000, nx=True)
            return int(await self._redis.get(_EPOCH) or 0)

    async def lease_sync(self, ask: Ask) -> State:
        """One script; two when Redis does not know the account."""
        answer = await self._exchange(ask, "")
        if answer[0] == b"absent":
            answer = await self._exchange(ask, await self._seed(ask.account))
        kind, granted, available, elsewhere, recalled, lost = answer
        if kind == b"settling":
            raise Settling()
        return State(
            granted=int(granted),
            available=int(available),
            elsewhere=int(elsewhere),
            recalled=bool(int(recalled)),
            closed=kind == b"closed",
            lost=int(lost),
        )

    async def lease_close(self, account: Account, holder: str, spent: int) -> bool:
        """One script. For an account that Redis has forgotten there is nothing to do."""
        with redis_errors():
            return bool(await self._close(keys=[*_keys(account.key), _EXPIRIES], args=[account.key, holder, spent]))

    async def lease_reap(self, lost_after_s: float) -> Sequence[LostLease]:
        """One script, for a thousand leases at most."""
        with redis_errors():
            rows = await self._reap(keys=[_EXPIRIES], args=[int(lost_after_s * 1000)])
        found = []
        for account_key, tenant_id, unit, holder, rest in rows:
            if unit not in (b"usd_micros", b"tokens"):
                raise defect(f"a lease of {account_key!r} has the unit {unit!r}")
            found.append(
                LostLease(
                    account_key=account_key.decode(),
                    tenant_id=tenant_id.decode(),
                    unit="tokens" if unit == b"tokens" else "usd_micros",
                    holder=holder.decode(),
                    rest=int(rest),
                )
            )
        return found

    async def standing_list(self, caller: Caller, account_keys: Sequence[str]) -> Sequence[Standing]:
        """Two reads a key in one round trip; another tenant's accounts are left out."""
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                for key in account_keys:
                    budget, leases = _keys(key)
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
        with redis_errors():
            answer: list[Any] = await self._sync(
                keys=[*_keys(account.key), _EPOCH, _EXPIRIES],
                args=[
                    account.key,
                    ask.holder,
                    *numbers,
                    account.unit,
                    account.tenant_id,
                    kept_until,
                    self._grace_ms,
                    seed,
                ],
            )
        return answer


def _keys(account_key: str) -> tuple[str, str]:
    return f"slipway:budget:{{{account_key}}}", f"slipway:leases:{{{account_key}}}"
