"""The gateway's address and key for the scripts, which run in an environment of their SDK's own.

`DIRECT` says that the address is a simulated provider itself, so that script and simulator are known to fit.
"""

import os

import pytest

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
DIRECT = os.environ.get("GATEWAY_IS_PROVIDER") == "1"
PROVIDERS = ("",) if DIRECT else ("", "anthropic-", "bedrock-")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that takes `provider` runs once for each: models are named after their behaviour, behind it."""
    if "provider" in metafunc.fixturenames:
        metafunc.parametrize("provider", PROVIDERS, ids=[name.strip("-") or "first" for name in PROVIDERS])


@pytest.fixture(scope="session")
def url() -> str:
    """The address, without a path."""
    return URL


@pytest.fixture(scope="session")
def key() -> str:
    """The credential."""
    return KEY


@pytest.fixture(scope="session")
def direct() -> bool:
    """Whether there is no gateway in between."""
    return DIRECT
