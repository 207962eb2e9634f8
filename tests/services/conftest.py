"""What tests of services share: one platform for all that do it no harm, with a slow provider and with traces
collected; and both stores of leases on budgets."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from slipway.runtime.database import Database
from slipway.runtime.redis import open_redis
from slipway.services.gateway.adapter_postgres_leases import PostgresLeases
from slipway.services.gateway.adapter_redis_leases import RedisLeases
from slipway.services.gateway.lease_models import Account
from slipway.services.gateway.lease_ports import LeaseStore
from tests.platforms import Platform
from tests.platforms import platform as start_platform
from tests.redis_server import redis_server
from tests.services.gateway_serving import served_app
from tests.services.processes import EXAMPLES, Collector, add, collector, settings
from tests.services.provider_simulator import Simulator


@pytest.fixture(scope="session")
def provider() -> Iterator[tuple[Simulator, str]]:
    """The simulated provider and its address."""
    simulator = Simulator()
    with served_app(simulator) as url:
        yield simulator, url


@pytest.fixture(scope="session")
def traces() -> Iterator[Collector]:
    """What the platform `traced` exports."""
    with collector() as collected:
        yield collected


@pytest.fixture(scope="session")
def traced(
    tmp_path_factory: pytest.TempPathFactory, provider: tuple[Simulator, str], traces: Collector
) -> Iterator[Platform]:
    """A whole platform with the example documents in it."""
    folder = tmp_path_factory.mktemp("traced")
    exported = {"SLIPWAY_OTLP_ENDPOINT": traces.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}  # ms; 5,000 by default
    variables = settings(folder, provider[1], **exported)
    with start_platform(folder / "home", settings=variables) as running:
        with httpx.Client(base_url=running.url, headers=running.headers(), timeout=60) as client:
            add(client, EXAMPLES / "handbook.pdf", *sorted((EXAMPLES / "notes").iterdir()))
        yield running


@pytest.fixture
def asking(traced: Platform) -> Iterator[httpx.Client]:
    """A client of `traced`."""
    with httpx.Client(base_url=traced.url, headers=traced.headers(), timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis of this run."""
    with redis_server() as url:
        yield url


async def nothing_booked(_: Account) -> int:
    """What usage rows say was spent."""
    return 0


@pytest.fixture(params=["postgres", "redis"])
async def lease_store(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[LeaseStore]:
    """Each store of leases; Redis does not wait for holders of before."""
    if request.param == "postgres":
        yield PostgresLeases(database)
        return
    client = open_redis(request.getfixturevalue("redis_url"))
    yield RedisLeases(client, nothing_booked, grace_s=0.0)
    await client.aclose()


@pytest.fixture
def lease_account(new_caller: Callable) -> Account:
    """A budget of a tenant of its own: 1,000 tokens."""
    caller = new_caller()
    key = f"tenant:{caller.tenant_id}:tokens:2026-11"
    return Account(key, caller.tenant_id, "tokens", 1000, datetime.now(UTC) + timedelta(days=5))
