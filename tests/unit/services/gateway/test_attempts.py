"""Which model is asked next: within each model's deadline, and without blame for what its caller did."""

import pytest

from slipway.base.clock import SystemClock
from slipway.base.errors import DeadlineExceeded, SlipwayError, UpstreamFailed
from slipway.runtime.limits import Limit
from slipway.runtime.outbound import ShareExceeded
from slipway.services.gateway.attempts import Attempts, Policy
from slipway.services.gateway.directory import ServedModel
from slipway.services.gateway.health import Health

pytestmark = pytest.mark.anyio
QUICK = Policy(attempts=3, backoff_s=0.001)


class Booked:
    """An account that always has room, at a time that the test sets."""

    elapsed_s = 0.0
    tenant_id = "ten_x"

    async def another_attempt(self) -> bool:
        return True


async def always(_: Limit) -> bool:
    return True


def served(name: str, deadline_s: float = 10.0, failures: int = 2) -> ServedModel:
    limit = Limit(f"model:{name}:requests", 1, 1)
    return ServedModel(name, "openai", Health(SystemClock(), name, failures), deadline_s=deadline_s, limit=limit)


async def test_further_attempts_have_what_is_left_of_the_models_deadline():
    account = Booked()
    attempts = Attempts([served("a", 10.0), served("b", 3.0)], account, QUICK, always)
    await attempts.begin()
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
            attempts = Attempts(models, Booked(), QUICK, always)
            await attempts.begin()
            await attempts.again(error)
        assert models[0].health.is_open is blamed
        assert not models[0].health.is_limited()


async def test_a_tenant_beyond_its_share_is_refused_at_once_or_served_elsewhere():
    error: SlipwayError = ShareExceeded(500)
    alone = Attempts([served("a")], Booked(), QUICK, always)
    await alone.begin()
    assert not await alone.again(error)
    with_fallback = Attempts([served("a"), served("b")], Booked(), QUICK, always)
    await with_fallback.begin()
    assert await with_fallback.again(error)
    assert with_fallback.model.name == "b"


async def test_each_attempt_takes_the_limit_of_its_own_model_and_one_without_room_is_passed_over():
    taken: list[str] = []

    async def has_room(limit: Limit) -> bool:
        taken.append(limit.key.split(":")[1])
        return limit.key != "model:b:requests"

    models = [served("a", failures=9), served("b"), served("c")]
    attempts = Attempts(models, Booked(), QUICK, has_room)
    await attempts.begin()
    assert taken == [], "that of the first was taken when the request was accepted"
    assert await attempts.again(UpstreamFailed("away"))
    assert (attempts.model.name, taken) == ("a", ["a"])
    assert await attempts.again(UpstreamFailed("away"))
    assert await attempts.again(UpstreamFailed("away"))
    assert (attempts.model.name, taken) == ("c", ["a", "a", "b", "c"])
    assert not models[1].health.is_open, "nobody asked it"


async def test_a_retry_that_the_models_limit_refuses_goes_to_the_fallback():
    async def has_room(limit: Limit) -> bool:
        return limit.key == "model:b:requests"

    attempts = Attempts([served("a"), served("b")], Booked(), QUICK, has_room)
    await attempts.begin()
    assert await attempts.again(UpstreamFailed("away"))
    assert attempts.model.name == "b"


async def test_the_trial_of_an_open_breaker_is_not_given_away_to_who_has_no_room():
    trial = served("b")

    async def has_room(_: Limit) -> bool:
        return False

    for tenant in ("ten_x", "ten_y"):
        trial.health.failed(UpstreamFailed("away"), tenant)
    trial.health._open_until_s = 0.0
    attempts = Attempts([served("a", failures=1), trial], Booked(), QUICK, has_room)
    await attempts.begin()
    assert not await attempts.again(UpstreamFailed("away"))
    assert trial.health.may_try()


async def test_deadlines_of_one_tenant_alone_close_a_model_to_nobody():
    late, own = DeadlineExceeded("late", effect_unknown=True), served("a", failures=3)
    for _ in range(20):
        own.health.failed(late, "ten_x")
    assert not own.health.is_open and own.health.may_try()
    own.health.failed(late, "ten_y")
    assert own.health.is_open
    other = served("b", failures=3)
    for error in (late, late, UpstreamFailed("away")):
        other.health.failed(error, "ten_x")
    assert other.health.is_open, "a failure that no request asks for is the provider's"


async def test_a_deadline_of_an_answer_that_has_begun_is_no_failure_of_the_model():
    model = served("a", failures=1)
    attempts = Attempts([model], Booked(), QUICK, always)
    await attempts.begin()
    attempts.broke_off(DeadlineExceeded("late", effect_unknown=True))
    assert not model.health.is_open
    attempts.broke_off(UpstreamFailed("cut", effect_unknown=True))
    assert model.health.is_open
