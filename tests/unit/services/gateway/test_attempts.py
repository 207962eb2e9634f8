"""Which model is asked next: within each model's deadline, and without blame for what its caller did."""

import pytest

from slipway.base.clock import SystemClock
from slipway.base.errors import SlipwayError, UpstreamFailed
from slipway.runtime.outbound import ShareExceeded
from slipway.services.gateway.attempts import Attempts, Policy
from slipway.services.gateway.directory import ServedModel
from slipway.services.gateway.health import Health

pytestmark = pytest.mark.anyio
QUICK = Policy(attempts=3, backoff_s=0.001)


class Booked:
    """An account that always has room, at a time that the test sets."""

    elapsed_s = 0.0

    async def another_attempt(self) -> bool:
        return True


def served(name: str, deadline_s: float = 10.0) -> ServedModel:
    return ServedModel(name, "openai", Health(SystemClock(), name, failures=2), deadline_s=deadline_s)


async def test_further_attempts_have_what_is_left_of_the_models_deadline():
    account = Booked()
    attempts = Attempts([served("a", 10.0), served("b", 3.0)], account, QUICK)
    attempts.begin()
    assert attempts.left_s is None
    account.elapsed_s = 4.0
    assert await attempts.again(UpstreamFailed("away"))
    assert (attempts.model.name, attempts.left_s) == ("a", pytest.approx(6.0, abs=0.01))
    account.elapsed_s = 10.5
    assert await attempts.again(UpstreamFailed("away"))
    assert (attempts.model.name, attempts.left_s) == ("b", None), "each model has its own"
    account.elapsed_s = 12.5
    assert await attempts.again(UpstreamFailed("away"))
    assert (attempts.model.name, attempts.left_s) == ("b", pytest.approx(1.0, abs=0.01))
    account.elapsed_s = 13.6
    assert not await attempts.again(UpstreamFailed("away"))


async def test_a_tenant_beyond_its_share_is_no_failure_of_the_model():
    for error, blamed in ((ShareExceeded(500), False), (UpstreamFailed("away"), True)):
        models = [served("a")]
        for _ in range(2):
            attempts = Attempts(models, Booked(), QUICK)
            attempts.begin()
            await attempts.again(error)
        assert models[0].health.is_open is blamed
        assert not models[0].health.is_limited()


async def test_a_tenant_beyond_its_share_is_refused_at_once_or_served_elsewhere():
    error: SlipwayError = ShareExceeded(500)
    alone = Attempts([served("a")], Booked(), QUICK)
    alone.begin()
    assert not await alone.again(error)
    with_fallback = Attempts([served("a"), served("b")], Booked(), QUICK)
    with_fallback.begin()
    assert await with_fallback.again(error)
    assert with_fallback.model.name == "b"
