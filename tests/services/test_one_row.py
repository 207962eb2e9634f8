"""One usage row for each accepted request, whatever happens to clients, providers, processes and the database.

Ten thousand requests through two processes: clients hang up at random points, providers fail in every way, each process
is killed once, and the database is away for a minute, in which one of the kills falls.
"""

import asyncio
import itertools
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from slipway.base.ids import new_id
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedAddresses, EmbeddedPostgres
from tests.services.gateway_fleet import Client, Fleet, OpenAIByName, Outcome, token
from tests.services.gateway_serving import served_app
from tests.services.processes import KEY_VARIABLE, until

REQUESTS = 10_000
IN_OUTAGE = 4_500  # sent while the database is away
OUTAGE_S = 60.0
CLIENTS = 48
# How the provider behaves, and how often.
BEHAVIOURS = {"plain": 86, "slow": 4, "midway": 3, "cut": 3, "rate-limited": 2, "broken": 1, "strict": 1}
HANG_UPS = 0.2  # the share of clients that do not wait for the end
LONGEST_STAY_S = 0.5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedAddresses]]:
    """A PostgreSQL of this test, which harms it."""
    server = EmbeddedPostgres(tmp_path / "database")
    addresses = server.start()
    try:
        migrate(addresses.owner_url)
        yield server, addresses
    finally:
        server.stop()


def manifest(url: str) -> str:
    """One model under several names; JSON is YAML."""
    model = {"provider": "openai", "id": "plain", "base_url": f"{url}/v1", "api_key_env": KEY_VARIABLE}
    model["price_per_million_tokens"] = {"prompt": "$2.50", "completion": "$10"}
    throttle = {"rate": 100_000, "burst": 100_000}
    models = {"available": {f"model-{number}": model for number in range(10)}}
    return json.dumps({"slipway": 1, "name": "one-row", "edge": {"throttle": throttle}, "models": models})


class Load:
    """Clients of both processes; each goes to the other one when its own is gone."""

    def __init__(self, fleet: Fleet, tenant_id: str) -> None:
        self.outcomes: list[Outcome] = []
        self.pause_s = 0.0
        self._fleet = fleet
        self._tenant_id = tenant_id
        self._numbers = itertools.count()
        self._random = random.Random(20_261_125)

    async def run(self) -> None:
        """Sends every request."""
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def reached(self, count: int) -> None:
        """Waits until so many requests have ended."""
        while len(self.outcomes) < count:
            await asyncio.sleep(0.01)

    async def _client(self, client: int) -> None:
        connections: dict[str, Client] = {}
        for number in self._numbers:
            if number >= REQUESTS:
                break
            outcome = Outcome(f"r-{number}", 0, refused=True)
            while outcome.refused:  # by no process: that is no request
                gateway = sorted(self._fleet.running)[client % len(self._fleet.running)]
                url = self._fleet.running[gateway].url
                outcome = await self._ask(connections.setdefault(url, Client(url)), gateway, outcome.name)
            self.outcomes.append(outcome)
            if self.pause_s:
                await asyncio.sleep(self.pause_s * self._random.uniform(0.5, 1.5))
        for connection in connections.values():
            await connection.end()

    async def _ask(self, connection: Client, gateway: int, name: str) -> Outcome:
        chance = self._random
        (behaviour,) = chance.choices(list(BEHAVIOURS), list(BEHAVIOURS.values()))
        content = f"{name} {behaviour}"
        body = {"model": f"model-{chance.randrange(10)}", "messages": [{"role": "user", "content": content}]}
        if behaviour in ("slow", "midway", "cut") or chance.random() < 0.3:
            body["stream"] = True
        stays_s = chance.uniform(0, LONGEST_STAY_S) ** 2 if chance.random() < HANG_UPS else 60.0
        outcome = Outcome(name, gateway, behaviour)
        return await connection.ask(
            "/v1/chat/completions", token(self._tenant_id, name), body, outcome, stays_s=stays_s
        )


def database_killed(server: EmbeddedPostgres) -> None:
    """`kill -9` of the server; nobody starts it again."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.pid is None)


@pytest.mark.timeout(300)
def test_each_accepted_request_has_one_row_with_its_true_status(server, tmp_path: Path) -> None:
    database, addresses = server
    tenant_id, provider = new_id("ten"), OpenAIByName()
    with served_app(provider) as url:
        fleet = Fleet(tmp_path, manifest(url), addresses, {})
        try:
            fleet.start(0, 1)
            load = Load(fleet, tenant_id)
            during = asyncio.run(troubled(load, fleet, database))
            until(lambda: fleet.live_journals() == len(fleet.running), 30)
        finally:
            fleet.stop()
        rows = fleet.rows(tenant_id)
    assert len(load.outcomes) == REQUESTS
    served = Counter(outcome.status for outcome in during)
    assert set(served) <= {0, 200, 400, 429, 502, 503}
    assert served[200] > len(during) * 0.7, "requests are served while the database is away"
    check(load.outcomes, rows, provider)


async def troubled(load: Load, fleet: Fleet, database: EmbeddedPostgres) -> list[Outcome]:
    """All requests, with what goes wrong on the way; returns those that ended while the database was away."""
    sending = asyncio.ensure_future(load.run())
    await load.reached(REQUESTS // 5)
    fleet.kill(0)
    await asyncio.to_thread(fleet.start, 0)
    before = len(load.outcomes)
    await load.reached(before + 500)  # the new process knows the tenant's plan

    load.pause_s = CLIENTS * OUTAGE_S / IN_OUTAGE
    await asyncio.to_thread(database_killed, database)
    away_s, first = time.monotonic(), len(load.outcomes)
    await asyncio.sleep(OUTAGE_S / 2)
    fleet.kill(1)
    await asyncio.sleep(OUTAGE_S - (time.monotonic() - away_s))
    last = len(load.outcomes)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(fleet.addresses.app_url)
    await asyncio.to_thread(database.start)
    await asyncio.to_thread(fleet.start, 1)
    load.pause_s = 0.0
    await sending
    return load.outcomes[first:last]


def check(outcomes: list[Outcome], rows: list[dict], provider: OpenAIByName) -> None:
    """Compares what clients saw, what is in the rows and what the provider counted."""
    by_name = {row["subject"]: row for row in rows}
    assert len(by_name) == len(rows), "none twice"
    known = {outcome.name for outcome in outcomes}
    assert set(by_name) <= known
    assert set(provider.asked) <= set(by_name), "whatever reached the provider has a row"
    answered = {outcome.name for outcome in outcomes if outcome.status and not outcome.broken}
    assert answered <= set(by_name), "nothing was refused here, so each answer has a row"

    for outcome in outcomes:
        row = by_name.get(outcome.name)
        if row is None:
            assert outcome.hung_up or outcome.broken, outcome
            continue
        lines = provider.charged.get(outcome.name, [])
        if outcome.whole:
            assert (row["status"], outcome.headers["x-request-id"]) == ("ok", row["id"])
        elif not (outcome.hung_up or outcome.broken):
            assert (row["status"], outcome.headers["x-request-id"]) == ("error", row["id"]), outcome
        if row["status"] == "cancelled":
            assert outcome.hung_up, outcome
        if row["status"] == "error":
            # A model that has failed often lately is left alone for a while: that is the row's code then.
            assert outcome.behaviour not in ("plain", "slow") or row["error_code"] == "unavailable", row
        if row["status"] == "ok":
            (line,) = lines
            assert line.complete
            counted = (line.counted.prompt, line.counted.completion, line.usd_micros)
            assert (row["prompt_tokens"], row["completion_tokens"], row["cost_usd_micros"]) == counted

    # Whom a kill met: unknown is nobody else's status, and the clients of the two processes saw their connections end.
    unknown = {name for name, row in by_name.items() if row["status"] == "unknown"}
    ended_early = {outcome.name for outcome in outcomes if outcome.broken or outcome.hung_up}
    assert unknown
    assert unknown <= ended_early
    assert len(unknown) <= 4 * CLIENTS
    statuses = Counter(row["status"] for row in rows)
    assert all(statuses[each] > 50 for each in ("ok", "error", "cancelled")), statuses
