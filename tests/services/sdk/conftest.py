"""One gateway and a provider on each wire for the official SDKs, and one tenant."""

from collections.abc import Iterator

import pytest

from slipway.base.callers import Scope
from tests.services.gateway_serving import Served, credential, served_app, served_gateway
from tests.services.provider_simulator import Simulator
from tests.services.simulator_anthropic import AnthropicSimulator
from tests.services.simulator_bedrock import BedrockSimulator


@pytest.fixture(scope="session")
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture(scope="session")
def anthropic() -> AnthropicSimulator:
    return AnthropicSimulator()


@pytest.fixture(scope="session")
def bedrock() -> BedrockSimulator:
    return BedrockSimulator()


@pytest.fixture(scope="session")
def served(simulator, anthropic, bedrock, postgres, tmp_path_factory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("gateway")
    with (
        served_app(simulator) as upstream,
        served_app(anthropic) as anthropic_url,
        served_app(bedrock) as bedrock_url,
        served_gateway(home, postgres, upstream, anthropic=anthropic_url, bedrock=bedrock_url) as served,
    ):
        yield served


@pytest.fixture
def caller(new_caller):
    return new_caller(Scope.MODELS_USE, Scope.USAGE_READ)


@pytest.fixture
def api_key(caller) -> str:
    return credential(caller)
