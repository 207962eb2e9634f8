"""A deadline over work that does not let itself be cancelled."""

import asyncio

import pytest

from slipway.runtime.deadline import within

pytestmark = pytest.mark.anyio


class Stubborn:
    """Work that goes on after it was cancelled, until it is let go."""

    def __init__(self) -> None:
        self.let_go, self.ended = asyncio.Event(), False

    async def __call__(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await self.let_go.wait()
            self.ended = True
            raise


async def test_what_work_returns_or_raises_comes_through():
    async def answers() -> int:
        return 7

    async def fails() -> None:
        raise KeyError("x")

    assert await within(1, answers()) == 7
    with pytest.raises(KeyError):
        await within(1, fails())


async def test_nobody_waits_for_work_that_cannot_be_cancelled():
    work = Stubborn()
    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert not work.ended
    work.let_go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert work.ended


async def test_nor_does_a_cancellation():
    work = Stubborn()
    waiting = asyncio.create_task(within(60, work()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting], timeout=1)
    assert waiting.cancelled() and not work.ended
    work.let_go.set()
    await asyncio.sleep(0.01)
