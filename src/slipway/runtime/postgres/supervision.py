"""Keeping the embedded server alive while the process runs. `app` runs this as one of its tasks."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

from slipway.base.errors import Misconfigured, SlipwayError, StorageFull, Unavailable
from slipway.runtime.postgres.server import EmbeddedAddresses, EmbeddedPostgres

_log = logging.getLogger(__name__)

_WATCH_S = 0.25  # one look costs two small reads of /proc; at 0.1 they were 3.6 % of a busy process (2026-11-21)
_BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0)
# A server that dies or fails to start more often than this has a cause that another start does not remove.
_DEATHS_MAX = 5
_DEATHS_WITHIN_S = 60.0


async def supervise(postgres: EmbeddedPostgres, on_restart: Callable[[EmbeddedAddresses], None] | None = None) -> None:
    """Start the server again whenever its postmaster dies, until cancelled; then no start is left under way.

    Cancel it before `EmbeddedPostgres.stop`, which it would take for a death.

    `on_restart` gets the addresses after each restart. Raises what `start` raises when it cannot help to try
    again, and Unavailable after five failures within a minute.
    """
    failures: deque[float] = deque()
    while True:
        if postgres.alive():
            await asyncio.sleep(_WATCH_S)
            continue
        _failure_note(failures)
        await asyncio.sleep(_BACKOFF_S[len(failures) - 1])
        _log.warning("the embedded PostgreSQL has died, starting it again (%d)", len(failures))
        try:
            addresses = await _start_whole(postgres)
        except (Misconfigured, StorageFull):
            raise
        except SlipwayError as error:
            _log.warning("the embedded PostgreSQL did not start: %s", error)
            continue
        if on_restart is not None:
            on_restart(addresses)


def _failure_note(failures: deque[float]) -> None:
    now = time.monotonic()
    failures.append(now)
    while now - failures[0] > _DEATHS_WITHIN_S:
        failures.popleft()
    if len(failures) > _DEATHS_MAX:
        raise Unavailable(
            f"The embedded PostgreSQL died {_DEATHS_MAX} times within {_DEATHS_WITHIN_S:.0f} s and is not "
            "started again. Its log is in the folder postgres/log of the home."
        )


async def _start_whole(postgres: EmbeddedPostgres) -> EmbeddedAddresses:
    """Start in a thread; a cancellation waits for its end, or a `stop` after it could come too early."""
    starting = asyncio.create_task(asyncio.to_thread(postgres.start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(SlipwayError):
            await starting
        raise
