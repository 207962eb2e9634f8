"""One platform for all tests of whole processes that do it no harm: with a slow provider, and with traces collected."""

from collections.abc import Iterator

import httpx
import pytest

from tests.platforms import Platform
from tests.platforms import platform as start_platform
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
