"""The order in which parts start and stop, and what a part that fails does to the process."""

import asyncio
import logging

import pytest

from slipway.app.lifecycle import PartFailed, _run_tasks, _started, _until_stopped
from slipway.base.errors import Unavailable
from slipway.manifest.catalog import CATALOG, start_order
from slipway.runtime.part import Part

pytestmark = pytest.mark.anyio


def recording(name: str, done: list[str], *, fails: str = "") -> Part:
    """A part that notes what happens to it."""

    async def start() -> None:
        if fails == "start":
            raise Unavailable(f"{name} is broken")
        done.append(f"start {name}")

    async def stop() -> None:
        done.append(f"stop {name}")
        if fails == "stop":
            raise ValueError(f"{name} does not stop")

    return Part(name=name, start=[start], stop=[stop])


async def test_parts_start_after_what_they_need_and_stop_in_reverse():
    done: list[str] = []
    names = start_order(CATALOG)
    for name, component in CATALOG.items():
        for need in component.needs:
            if need.value in CATALOG:
                assert names.index(need.value) < names.index(name)
    async with _started([recording(name, done) for name in names]):
        assert done == [f"start {name}" for name in names]
        done.clear()
    assert done == [f"stop {name}" for name in reversed(names)]


async def test_a_part_that_does_not_start_stops_those_that_did():
    done: list[str] = []
    parts = [recording("a", done), recording("b", done), recording("c", done, fails="start"), recording("d", done)]
    with pytest.raises(Unavailable, match="c is broken"):
        async with _started(parts):
            raise AssertionError("nothing runs")
    assert done == ["start a", "start b", "stop c", "stop b", "stop a"]


async def test_a_part_that_does_not_stop_does_not_keep_the_others(caplog: pytest.LogCaptureFixture):
    done: list[str] = []
    with caplog.at_level(logging.ERROR):
        async with _started([recording("a", done), recording("b", done, fails="stop")]):
            pass
    assert done[-2:] == ["stop b", "stop a"]
    assert "the part b did not stop cleanly" in caplog.text


async def test_a_task_that_fails_or_ends_stops_the_process_with_its_cause():
    async def fails() -> None:
        raise Unavailable("gone")

    async def ends() -> None:
        return

    async def lives() -> None:
        await asyncio.sleep(60)

    for work, said in ((fails, "part.work failed"), (ends, "part.work ended")):
        tasks = _run_tasks([Part(name="part", run={"work": work, "more": lives})], {"postgres": lives})
        assert set(tasks) == {"part.work", "part.more", "postgres"}
        with pytest.raises(PartFailed, match=said):
            await asyncio.wait_for(_until_stopped(asyncio.Event(), list(tasks.values())), 5)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def test_a_signal_ends_the_wait():
    stop = asyncio.Event()
    stop.set()
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.wait_for(_until_stopped(stop, [task]), 5)
    assert not task.done()
    task.cancel()
