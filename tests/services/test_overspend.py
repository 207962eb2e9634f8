"""What providers bill never passes a budget: four processes, fifty clients each, with processes killed in the middle.

Leases in PostgreSQL and in Redis. The providers count for themselves, a fifth too many prompt tokens, all of them
written to a cache, and get requests that state no limit.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from slipway.base.callers import Caller, Scope
from slipway.runtime.database import Database
from slipway.runtime.postgres import EmbeddedAddresses
from slipway.services.gateway.adapter_postgres_plans import PostgresPlans
from tests.redis_server import redis_server
from tests.services.gateway_fleet import AnthropicByName, Client, Fleet, OpenAIByName, Outcome, token
from tests.services.gateway_serving import served_app
from tests.services.processes import KEY_VARIABLE, until
from tests.services.provider_bill import Billing, Line, Rates

PROCESSES = 4
CLIENTS = 50  # of each process
BUDGET_USD_MICROS = 1_500_000
WRITTEN_TOKENS = 100  # by a request without a limit
LARGEST_BOUND_USD_MICROS = 10_000  # of the requests here, generously
RATES = {
    "plain": Rates(2_500_000, 10_000_000, 2_500_000, 3_750_000),
    "fixed": Rates(0, 10_000_000, 0, 0),
    "beyond": Rates(0, 10_000_000, 0, 0),
}


def manifest(openai_url: str, anthropic_url: str) -> str:
    """Plans for the three tests, and models of both providers; JSON is YAML."""
    openai = {"provider": "openai", "base_url": f"{openai_url}/v1", "api_key_env": KEY_VARIABLE}
    openai |= {"id": "plain", "max_output_tokens": str(WRITTEN_TOKENS)}
    openai |= {"price_per_million_tokens": {"prompt": "$2.50", "completion": "$10", "cache_write": "$3.75"}}
    output_only = {"price_per_million_tokens": {"prompt": "$0", "completion": "$10"}}
    models = {
        "plain": openai,
        "claude": {**openai, "provider": "anthropic", "base_url": anthropic_url},
        "fixed": {**openai, **output_only, "id": "fixed"},
        "beyond": {**openai, **output_only, "id": "beyond", "max_output_tokens": "10"},
    }
    budgets = {"default": "$1.50", "ten": "$0.01", "one": "$0.001"}
    return json.dumps(
        {
            "slipway": 1,
            "name": "overspend",
            "edge": {"throttle": {"rate": 100_000, "burst": 100_000}},
            "plans": {name: {"budget_per_month": budget} for name, budget in budgets.items()},
            "models": {"available": models},
        }
    )


class Stand:
    """The gateways, the providers behind them, and what the store of leases says."""

    def __init__(self, fleet: Fleet, openai: OpenAIByName, anthropic: AnthropicByName, taken: Callable) -> None:
        self.fleet = fleet
        self.providers = (openai, anthropic)
        self.taken = taken

    def pause(self, pause_s: float) -> None:
        for each in self.providers:
            each.pause_s = pause_s

    def lines(self, name: str) -> list[Line]:
        """What the providers charged for one request."""
        return [line for each in self.providers for line in each.charged.get(name, [])]

    def billed_usd_micros(self, prefix: str) -> int:
        """What the providers charged for the requests whose names begin so."""
        # The providers go on in a thread of their own. `copy` is one step to them, which a list of items is not: each
        # of its tuples may start the collector, and another thread with it.
        charged = [
            lines for each in self.providers for name, lines in each.charged.copy().items() if name.startswith(prefix)
        ]
        return sum(line.usd_micros for lines in charged for line in lines)

    def plan(self, tenant_id: str, plan: str) -> None:
        """Puts a tenant on a plan, before any process has heard of it."""

        async def assign() -> None:
            database = await Database.open(self.fleet.addresses.app_url, max_connections=2)
            operator = Caller(tenant_id, "operator", frozenset({Scope.TENANTS_ADMIN}))
            assert await PostgresPlans(database).assign_tenant(operator, tenant_id, plan)
            await database.close()

        asyncio.run(assign())


@pytest.fixture(scope="module", params=["postgresql", "redis"])
def stand(request, postgres: EmbeddedAddresses, tmp_path_factory) -> Iterator[Stand]:
    billing = Billing(None, "asked", WRITTEN_TOKENS, cache_write=True, over_report=True, rates=RATES)
    openai, anthropic = OpenAIByName(billing), AnthropicByName(billing)
    with (
        served_app(openai) as openai_url,
        served_app(anthropic) as anthropic_url,
        leases(request.param, postgres) as (settings, taken),
    ):
        folder = tmp_path_factory.mktemp("overspend")
        fleet = Fleet(folder, manifest(openai_url, anthropic_url), postgres, settings)
        try:
            fleet.start(*range(PROCESSES))
            yield Stand(fleet, openai, anthropic, lambda tenant_id: taken(fleet, tenant_id))
        finally:
            fleet.stop()


Taken = Callable[[Fleet, str], tuple[int, int]]


@contextmanager
def leases(kind: str, postgres: EmbeddedAddresses) -> Iterator[tuple[dict[str, str], Taken]]:
    """Settings for a store of leases, and who asks it what is taken of a tenant's budget and held by open leases."""
    if kind == "postgresql":

        def of_tables(fleet: Fleet, tenant_id: str) -> tuple[int, int]:
            budgets = fleet.query(tenant_id, "SELECT taken FROM budget")
            rests = fleet.query(tenant_id, "SELECT granted - spent AS rest FROM lease")
            return sum(row["taken"] for row in budgets), sum(row["rest"] for row in rests)

        yield {}, of_tables
        return
    with redis_server() as url, redis.Redis.from_url(url, decode_responses=True) as client:

        def of_hashes(_: Fleet, tenant_id: str) -> tuple[int, int]:
            (budget,) = client.keys(f"slipway:budget:*tenant:{tenant_id}:*")
            held = [each.split() for each in client.hvals(budget.replace(":budget:", ":leases:"))]
            return int(client.hget(budget, "taken") or 0), sum(int(each[1]) - int(each[2]) for each in held)

        yield {"SLIPWAY_REDIS_URL": url}, of_hashes


def asked(model: str, name: str, *, stream: bool = False) -> tuple[str, dict[str, Any]]:
    """A request's path and body, without `max_tokens` where the wire lets it be left out."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": name}]}
    if stream:
        body["stream"] = True
    if not model.startswith("messages/"):
        return "/v1/chat/completions", body
    return "/v1/messages", {**body, "model": model.removeprefix("messages/"), "max_tokens": WRITTEN_TOKENS // 2}


async def until_refused(stand: Stand, tenant_id: str, prefix: str, clients: int) -> list[Outcome]:
    """Clients of every process ask in all ways until their budget refuses them, or their process is gone."""
    outcomes: list[Outcome] = []
    ways = [("plain", False), ("plain", True), ("claude", False), ("messages/claude", True), ("messages/claude", False)]

    async def client(gateway: int, number: int) -> None:
        connection = Client(stand.fleet.running[gateway].url)
        for index in range(1_000_000):
            name = f"{prefix}-{gateway}-{number}-{index}"
            model, stream = ways[(number + index) % len(ways)]
            path, body = asked(model, name, stream=stream)
            outcome = await connection.ask(path, token(tenant_id, name), body, Outcome(name, gateway))
            if outcome.refused:
                break
            outcomes.append(outcome)
            if outcome.status != 200:
                break
        await connection.end()

    await asyncio.gather(*(client(gateway, each) for gateway in stand.fleet.running for each in range(clients)))
    return outcomes


def check_row(row: dict[str, Any], line: Line) -> None:
    """A row of a whole answer says what the provider's line does, to the token and the micro-dollar."""
    counted = line.counted
    assert (row["prompt_tokens"], row["completion_tokens"]) == (counted.prompt, counted.completion)
    assert (row["cache_read_tokens"], row["cache_write_tokens"]) == (counted.cache_read, counted.cache_write)
    assert (row["cost_usd_micros"], row["cost_basis"], row["tokens_estimated"]) == (line.usd_micros, "counted", False)


def test_of_a_budget_for_ten_requests_exactly_ten_succeed(stand: Stand, new_caller) -> None:
    tenant_id = new_caller().tenant_id
    stand.plan(tenant_id, "ten")
    stand.pause(0.05)

    async def one(number: int) -> Outcome:
        gateway = number % PROCESSES
        name = f"ten-{number}"
        path, body = asked("fixed", name)
        connection = Client(stand.fleet.running[gateway].url)
        outcome = await connection.ask(path, token(tenant_id, name), body, Outcome(name, gateway))
        await connection.end()
        return outcome

    async def all_at_once() -> list[Outcome]:
        return await asyncio.gather(*map(one, range(PROCESSES * CLIENTS)))

    statuses = sorted(outcome.status for outcome in asyncio.run(all_at_once()))
    assert statuses == [200] * 10 + [402] * (PROCESSES * CLIENTS - 10)
    assert stand.billed_usd_micros("ten-") == 10_000
    assert len(until(lambda: (rows := stand.fleet.rows(tenant_id)) and len(rows) >= 10 and rows)) == 10
    until(lambda: stand.taken(tenant_id) == (10_000, 0))


def test_what_a_provider_bills_above_the_bound_is_flagged_and_counted_at_once(stand: Stand, new_caller) -> None:
    tenant_id = new_caller().tenant_id
    stand.plan(tenant_id, "one")
    stand.pause(0)

    async def ask(gateway: int, name: str) -> Outcome:
        path, body = asked("beyond", name)
        connection = Client(stand.fleet.running[gateway].url)
        outcome = await connection.ask(path, token(tenant_id, name), body, Outcome(name, gateway))
        await connection.end()
        return outcome

    async def in_turn() -> list[int]:
        answered = await ask(0, "beyond-0")
        after = [await ask(0, "beyond-1")]  # the same process knows it already
        await asyncio.sleep(0.2)  # and has told the others: it does not wait for a heartbeat
        after += [await ask(gateway, f"beyond-{gateway + 1}") for gateway in range(1, PROCESSES)]
        return [answered.status, *(each.status for each in after)]

    assert asyncio.run(in_turn()) == [200] + [402] * PROCESSES
    (row,) = until(lambda: stand.fleet.rows(tenant_id))
    assert (row["over_bound"], row["reserved_usd_micros"], row["cost_usd_micros"]) == (True, 100, 1_000)
    assert stand.taken(tenant_id)[0] == 1_000 == stand.billed_usd_micros("beyond-")


def test_nothing_is_overspent_while_processes_are_killed(stand: Stand, new_caller) -> None:
    tenant_id, fleet = new_caller().tenant_id, stand.fleet
    stand.pause(0.05)

    async def under_load() -> list[Outcome]:
        load = asyncio.ensure_future(until_refused(stand, tenant_id, "load", CLIENTS))
        for share, number in ((0.25, 0), (0.5, 1)):
            while stand.billed_usd_micros("load") < BUDGET_USD_MICROS * share:
                assert not load.done(), [outcome for outcome in load.result() if outcome.status not in (200, 402)][:3]
                await asyncio.sleep(0.01)
            fleet.kill(number)
        await asyncio.to_thread(fleet.start, 0)
        return await load

    outcomes = asyncio.run(under_load())
    until(lambda: fleet.live_journals() == len(fleet.running), 20)  # each killed process's journal has been adopted
    outcomes += asyncio.run(until_refused(stand, tenant_id, "rest", 5))
    assert {outcome.status for outcome in outcomes} <= {0, 200, 402}
    killed = [outcome for outcome in outcomes if outcome.broken]
    assert {outcome.gateway for outcome in killed} == {0, 1}
    fleet.stop()

    assert stand.billed_usd_micros("load-") + stand.billed_usd_micros("rest-") <= BUDGET_USD_MICROS
    written = fleet.rows(tenant_id)
    rows = {row["subject"]: row for row in written}
    assert len(rows) == len(written)
    whole = [outcome for outcome in outcomes if outcome.whole]
    assert len(whole) > 100
    for outcome in whole:
        (line,) = stand.lines(outcome.name)
        assert rows[outcome.name]["status"] == "ok"
        check_row(rows[outcome.name], line)
    unknown = [row for row in rows.values() if row["status"] == "unknown"]
    assert {row["subject"] for row in unknown} <= {outcome.name for outcome in killed}
    assert unknown
    for row in unknown:
        assert row["cost_usd_micros"] == row["reserved_usd_micros"]
        assert sum(line.usd_micros for line in stand.lines(row["subject"])) <= row["cost_usd_micros"]
    charged = {outcome.name for outcome in outcomes if stand.lines(outcome.name)}
    assert charged <= set(rows) <= charged | {row["subject"] for row in unknown}

    taken, held = stand.taken(tenant_id)
    assert held == 0, "no lease is open"
    assert taken == sum(row["cost_usd_micros"] for row in rows.values()) <= BUDGET_USD_MICROS
    assert BUDGET_USD_MICROS - taken < LARGEST_BOUND_USD_MICROS, "what the killed held and did not use was used"
