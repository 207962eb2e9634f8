"""What `/ready` says of checks that fail, hang or are broken."""

import asyncio
import logging

import pytest

from slipway.app import probes
from slipway.app.probes import Readiness
from slipway.base.errors import Unavailable
from slipway.runtime.part import Part

pytestmark = pytest.mark.anyio


async def well() -> None:
    return


async def away() -> None:
    raise Unavailable("It is away.", detail="private")


async def test_nothing_is_ready_before_the_start_is_complete():
    readiness = Readiness([], {"postgres": well})
    assert list(await readiness.missing()) == ["start"]
    readiness.started = True
    assert await readiness.missing() == {}


async def test_each_failing_check_is_named_with_its_public_sentence(caplog: pytest.LogCaptureFixture):
    async def broken() -> None:
        raise KeyError("private")

    readiness = Readiness([Part(name="gateway", checks={"usage-store": away, "other": broken})], {"postgres": well})
    readiness.started = True
    with caplog.at_level(logging.ERROR):
        missing = await readiness.missing()
    assert missing == {
        "gateway.usage-store": "It is away.",
        "gateway.other": "The check itself failed: the log says why.",
    }
    assert "private" in caplog.text


async def test_a_check_that_cannot_be_cancelled_is_left_alone_and_not_started_twice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probes, "_CHECK_TIMEOUT_S", 0.02)
    runs, answers = 0, asyncio.Event()

    async def stubborn() -> None:
        nonlocal runs
        runs += 1
        while not answers.is_set():
            try:
                await asyncio.shield(answers.wait())
            except asyncio.CancelledError:
                continue

    readiness = Readiness([], {"postgres": stubborn})
    readiness.started = True
    for _ in range(3):
        assert await readiness.missing() == {"postgres": "It did not answer within 0.02 s."}
    assert runs == 1
    answers.set()
    await asyncio.sleep(0)
    assert await readiness.missing() == {}
