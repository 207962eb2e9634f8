"""The official Node SDKs as clients of the gateway, at the versions that node/package-lock.json pins."""

import re
from pathlib import Path

import pytest

from tests.services.gateway_serving import served_app
from tests.services.provider_simulator import KEY
from tests.services.sdk.environments import NODE, node_project, run
from tests.services.simulator_anthropic import AnthropicSimulator

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="session")
def project() -> Path:
    """A folder with the scripts and the SDKs installed."""
    return node_project()


def run_script(project: Path, sdk: str, url: str, key: str, **more: str) -> int:
    """Runs an SDK's script; returns how many tests passed. None may fail or be skipped."""
    environment = {"GATEWAY_URL": url, "GATEWAY_KEY": key, "PATH": "/usr/bin:/bin", **more}
    done = run([NODE, "--test", "--test-reporter=tap", f"{sdk}.test.mjs"], project, environment)
    counted = {kind: int(re.findall(rf"^# {kind} (\d+)$", done.stdout, re.MULTILINE)[0]) for kind in OUTCOMES}
    assert counted["fail"] == counted["cancelled"] == counted["skipped"] == 0, done.stdout
    return counted["pass"]


OUTCOMES = ("pass", "fail", "cancelled", "skipped")


def test_openais(project, served, api_key):
    assert run_script(project, "openai", f"{served.url}/v1", api_key) >= 15


def test_anthropics(project, served, api_key):
    assert run_script(project, "anthropic", served.url, api_key) >= 15


def test_anthropics_script_fits_the_simulated_provider(project):
    with served_app(AnthropicSimulator()) as url:
        assert run_script(project, "anthropic", url, KEY, GATEWAY_IS_PROVIDER="1") >= 6
