"""The official Python SDKs as clients of the gateway, each in an environment of its own and on its users' terms."""

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.services.gateway_serving import served_app, usage_rows
from tests.services.provider_simulator import KEY
from tests.services.sdk.environments import SCRIPTS, python_of, run
from tests.services.simulator_anthropic import AnthropicSimulator

pytestmark = pytest.mark.timeout(420)


def run_script(sdk: str, url: str, key: str, folder: Path, **more: str) -> int:
    """Runs an SDK's script; returns how many tests passed. None may fail or be skipped."""
    arguments = ["-q", "-p", "gateway_address", "-p", "no:cacheprovider", "--noconftest", "-c", "/dev/null"]
    environment = {"GATEWAY_URL": url, "GATEWAY_KEY": key, "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = run(
        [python_of(sdk), "-B", "-m", "pytest", *arguments, "--timeout", "60", str(SCRIPTS / f"{sdk}_sdk.py")],
        folder,
        {**environment, "PYTHONPATH": str(SCRIPTS), **more},
    )
    counted = re.search(r"^(\d+) passed(?!.*skipped)", done.stdout, re.MULTILINE)
    assert counted, done.stdout
    return int(counted[1])


def until_hung_up(seen, before: Counter[str]) -> None:
    """Waits until the provider saw its client leave a `slow` stream."""
    deadline_s = time.monotonic() + 5
    while seen.hung_up["slow"] == before["slow"]:
        assert time.monotonic() < deadline_s, "the provider's connection stayed open"
        time.sleep(0.01)


def test_openais(served, api_key, caller, simulator, tmp_path):
    seen = simulator.seen
    before, asked = seen.hung_up.copy(), seen.by_model["overloaded"]
    assert run_script("openai", served.url, api_key, tmp_path) >= 45
    until_hung_up(seen, before)
    # two streams and answers of the error test, two attempts of the SDK; each at least once
    assert seen.by_model["overloaded"] - asked >= 4
    [sent] = [request for request in seen.requests if request.get("seed") == 5]
    assert sent["messages"][-1] == {"role": "tool", "tool_call_id": "call_a", "content": "Sunny."}
    assert sent["tool_choice"] == "none" and sent["tools"][0]["function"]["name"] == "weather"
    assert sent["response_format"]["json_schema"]["name"] == "x"
    assert "cancelled" in {row["status"] for row in usage_rows(served, caller, 40)}


def test_anthropics(served, api_key, caller, simulator, anthropic, bedrock, tmp_path):
    befores = [(provider.seen, provider.seen.hung_up.copy()) for provider in (simulator, anthropic, bedrock)]
    assert run_script("anthropic", served.url, api_key, tmp_path) >= 40
    for seen, before in befores:
        until_hung_up(seen, before)
    assert "cancelled" in {row["status"] for row in usage_rows(served, caller, 30)}


def test_anthropics_script_fits_the_simulated_provider(tmp_path):
    simulator = AnthropicSimulator()
    with served_app(simulator) as url:
        assert run_script("anthropic", url, KEY, tmp_path, GATEWAY_IS_PROVIDER="1") >= 18
        until_hung_up(simulator.seen, Counter())


def test_langchains(served, api_key, tmp_path):
    assert run_script("langchain", served.url, api_key, tmp_path) >= 30
