"""Usage rows between the request that made them and the database: off the response's path, bounded, flushed at stop.

A request takes a place before it is served (`admit`) and fills it when it ends (`record`), so there is always room for
its row. While the database is away rows wait here and are written when it is back; once every place is taken new
requests are refused, since a request that cannot be accounted must not be served. What `kill -9` takes with it is the
rows of the last fraction of a second; the journal of the gateway issue goes behind the same port.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from slipway.base.errors import InvalidRequest, SlipwayError, Unavailable
from slipway.services.gateway import metrics
from slipway.services.gateway.models import UsageRow
from slipway.services.gateway.ports import UsageStore
from slipway.services.gateway.usage_records import row_json

CAPACITY: Final = 20_000  # rows of half a kilobyte: 10 MB at most, and minutes of a database that is away
BATCH: Final = 500
_GATHER_S: Final = 0.1  # a pause before each write: one transaction for a burst, ten a second at most for a tenant
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 0.1, 2.0
_log = logging.getLogger(__name__)


class BufferedUsageLog:
    """A usage log in memory in front of a store; implements UsageLog."""

    def __init__(self, store: UsageStore, *, capacity: int = CAPACITY) -> None:
        self._store = store
        self._capacity = capacity
        self._places = 0
        self._rows: deque[UsageRow] = deque()
        self._filled = asyncio.Event()

    @property
    def pending(self) -> int:
        """Rows that are not in the database yet."""
        return len(self._rows)

    async def check(self) -> None:
        """For readiness: raises Unavailable when the next request would be refused."""
        if self._places >= self._capacity:
            raise _full(self._capacity)

    def admit(self) -> None:
        """Takes a place; raises Unavailable when requests and rows fill them all."""
        if self._places >= self._capacity:
            metrics.USAGE_REFUSED.inc()
            raise _full(self._capacity)
        self._places += 1

    def record(self, row: UsageRow) -> None:
        """Fills a place."""
        self._rows.append(row)
        self._filled.set()
        metrics.observe(row)
        metrics.USAGE_WAITING.inc()

    async def run(self) -> None:
        """Writes rows as they come, for as long as the process lives."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(_GATHER_S)
            await self._drain()
            self._filled.clear()
            if self._rows:
                self._filled.set()

    async def flush(self, timeout_s: float = 15.0) -> None:
        """Writes all that waits, at stop. Rows that are still here after `timeout_s` go to the error log, whole."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._ended()
                await self._drain()
        for row in self._rows:
            _log.error("usage row not stored: %r", row)

    async def _ended(self) -> None:
        """Waits a moment for requests that the server has just cut off: their rows are on the way."""
        for _ in range(100):
            if self._places == len(self._rows):
                return
            await asyncio.sleep(0.01)

    async def _drain(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while self._rows:
            batch = [self._rows[index] for index in range(min(BATCH, len(self._rows)))]
            try:
                await self._append(batch)
            except SlipwayError as error:
                metrics.USAGE_FAILURES.inc()
                if backoff_s == _FIRST_BACKOFF_S:
                    _log.warning("usage rows wait for the database: %s", error)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _LAST_BACKOFF_S)
                continue
            backoff_s = _FIRST_BACKOFF_S
            self._forget(batch)

    def _forget(self, batch: Sequence[UsageRow]) -> None:
        # By identity of the front: `flush` may run beside a cancelled `run`, and a batch must leave once.
        for row in batch:
            if self._rows and self._rows[0] is row:
                self._rows.popleft()
                self._places -= 1
                metrics.USAGE_WAITING.dec()
        metrics.USAGE_WRITTEN.inc(len(batch))

    async def _append(self, batch: Sequence[UsageRow]) -> None:
        """One row that the database refuses must not hold back the others: it goes to the log."""
        try:
            await self._store.usage_append([row_json(row) for row in batch])
        except InvalidRequest as error:
            if len(batch) == 1:
                _log.error("usage row not stored: %r", batch[0], exc_info=error)
                return
            for row in batch:
                await self._append([row])


def _full(capacity: int) -> Unavailable:
    return Unavailable(
        "Usage cannot be recorded at the moment, so no request is served: try again shortly.",
        detail=f"{capacity} usage rows wait for the database",
        retry_after_s=5.0,
    )
