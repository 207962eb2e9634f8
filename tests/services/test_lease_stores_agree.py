"""Both stores of leases answer alike, whatever is asked of them in whatever order, and no budget is granted twice."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.redis import open_redis
from slipway.services.gateway.adapter_postgres_leases import PostgresLeases
from slipway.services.gateway.adapter_redis_leases import RedisLeases
from slipway.services.gateway.lease_models import Account, LeaseCorrection, State
from slipway.services.gateway.lease_ports import LeaseStore
from tests.services.conftest import nothing_booked
from tests.services.test_leases import asking, taken

pytestmark = pytest.mark.anyio
LIMIT = 1000
STEPS = 40


class Holder:
    """One holder as it sees itself: totals that only grow, and what it was granted last."""

    def __init__(self, name: str) -> None:
        self.name, self.seq, self.spent, self.granted = name, 0, 0, 0


class Pair:
    """The same questions to both stores."""

    def __init__(self, stores: tuple[LeaseStore, LeaseStore], account: Account, chance: random.Random) -> None:
        self.stores, self.account, self.chance = stores, account, chance
        self.holders = [Holder(name) for name in "abc"]

    async def ask(self, method: str, *arguments: object) -> object:
        first, second = [await getattr(store, method)(*arguments) for store in self.stores]
        assert first == second, (method, arguments)
        return first

    async def sync(self, holder: Holder) -> None:
        chance = self.chance
        if not holder.seq or chance.random() > 0.1:  # else an old question once more
            holder.seq += 1
        rest = max(holder.granted - holder.spent, 0)
        spent = holder.spent + chance.randint(0, rest)
        if chance.random() < 0.03:
            spent += rest + 20
        keep = chance.randint(min(spent, holder.granted), holder.granted)
        need = chance.choice([0, keep + chance.randint(1, 200), chance.randint(0, LIMIT + 50)])
        numbers = {"spent": spent, "keep": keep, "need": need, "ask": need + chance.randint(0, 50)}
        numbers |= {"want": numbers["ask"] + chance.randint(0, 300), "ttl_s": chance.choice([-0.01, 3600.0])}
        state = await self.ask("lease_sync", asking(self.account, holder.name, holder.seq, **numbers))
        assert isinstance(state, State)
        if state.closed:
            return
        holder.spent, holder.granted = spent, state.granted
        assert state.granted >= spent
        assert not need or state.granted >= need or state.available < need - state.granted

    async def step(self) -> None:
        chance, holder = self.chance, self.chance.choice(self.holders)
        kind = chance.random()
        if kind < 0.75:
            await self.sync(holder)
        elif kind < 0.82:
            await self.ask("lease_close", self.account, holder.name, holder.spent + chance.randint(0, 30))
            self.holders[self.holders.index(holder)] = Holder(new_id("run"))
        elif kind < 0.92:
            correction = LeaseCorrection(
                self.account, holder.name, f"req_{chance.randint(0, 9)}", 20, chance.randint(0, 30)
            )
            await self.ask("lease_correct", replace(correction, times=chance.randint(0, 2)))
        else:
            await self.reap()

    async def reap(self) -> None:
        found = []
        for store in self.stores:
            lost = [each for each in await store.lease_reap(0.0) if each.account_key == self.account.key]
            found.append(sorted(lost, key=lambda each: each.holder))
        assert found[0] == found[1]
        for lost in found[0]:
            if self.chance.random() < 0.5:
                await self.ask("lease_booked", lost)


@pytest.mark.parametrize("seed", range(40))
async def test_both_stores_answer_alike(seed: int, database: Database, redis_url: str, new_caller: Callable):
    caller, chance = new_caller(), random.Random(seed)
    reset = datetime.now(UTC) + timedelta(days=5)
    account = Account(f"tenant:{caller.tenant_id}:tokens:2026-11", caller.tenant_id, "tokens", LIMIT, reset)
    client = open_redis(redis_url)
    try:
        pair = Pair((PostgresLeases(database), RedisLeases(client, nothing_booked, grace_s=0.0)), account, chance)
        await pair.sync(pair.holders[0])
        for _ in range(STEPS):
            await pair.step()
            postgres, redis = [await taken(store, account, new_caller) for store in pair.stores]
            assert postgres == redis
        await client.delete("slipway:leases:unbooked")
    finally:
        await client.aclose()
