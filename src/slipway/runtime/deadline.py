"""A deadline that holds whatever it is put on: `asyncio.timeout` waits until the work has let itself be cancelled.

A query to a database that hangs does not: psycopg asks that very server to cancel it, and waits for its answer.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises; TimeoutError after `timeout_s`, while it is still being cancelled."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        _given_up(task)
        raise
    if not done:
        _given_up(task)
        raise TimeoutError
    return task.result()


def _given_up(task: "asyncio.Task[Any]") -> None:
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    task.cancel()
