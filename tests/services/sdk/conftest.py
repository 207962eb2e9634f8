"""One gateway and one provider for the official SDKs, and one tenant."""

from collections.abc import Iterator

import pytest

from slipway.base.callers import Scope
from tests.services.gateway_serving import Served, credential, served_app, served_gateway
from tests.services.provider_simulator import Simulator


@pytest.fixture(scope="session")
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture(scope="session")
def served(simulator, postgres, tmp_path_factory) -> Iterator[Served]:
    with (
        served_app(simulator) as upstream,
        served_gateway(tmp_path_factory.mktemp("gateway"), postgres, upstream) as served,
    ):
        yield served


@pytest.fixture
def caller(new_caller):
    return new_caller(Scope.MODELS_USE, Scope.USAGE_READ)


@pytest.fixture
def api_key(caller) -> str:
    return credential(caller)
