"""Keeps what this process has verified no older than the store, by asking for changes 2.5 times a second.

One query per process finds every key, user and client that changed, however many credentials are in use. It asks for
30 s more than it needs, so that a change committed late or out of order is still seen. `current()` is what the
authenticator calls when the last answer is older than 0.9 s: it asks at once, so that a process that was busy or
asleep does not go by an old answer either. With the store away a verified credential is honoured for 60 s after the
last answer.
"""

import asyncio
import contextlib
import logging
from datetime import datetime
from typing import Final

from slipway.base.clock import Clock
from slipway.base.errors import SlipwayError, Unavailable
from slipway.runtime.authentication.stored import StoredIdentities
from slipway.runtime.authentication.verified import VerifiedCredentials

_log = logging.getLogger(__name__)

# 0.4 s between polls and 0.5 s for one to answer make 0.9 s: a revocation is seen within the promised second.
POLL_EVERY_S: Final = 0.4
_POLL_DEADLINE_S: Final = 0.5
_FRESH_S: Final = 0.9
HONOURED_S: Final = 60.0
_ABANDON_S: Final = (
    5.0  # a poll that hangs this long is on a connection nobody answers on: it is given up for a new one
)


class Freshness:
    """When the store last told what changed; drops from `verified` what did."""

    def __init__(self, stored: StoredIdentities, verified: VerifiedCredentials, clock: Clock) -> None:
        self._stored, self._verified, self._clock = stored, verified, clock
        self._seen: datetime | None = None
        self._answered_at_s = float("-inf")
        self._failed_at_s = float("-inf")
        self._poll: asyncio.Task[None] | None = None
        self._poll_started_s = 0.0
        self.fresh_until_s = float("-inf")

    async def run(self) -> None:
        """Polls until it is cancelled; an outage is logged once when it begins and once when it ends."""
        away = False
        while True:
            try:
                await self.poll()
            except SlipwayError as error:
                if not away:
                    _log.warning("revocations cannot be read: %s", error)
                away = True
            else:
                if away:
                    _log.info("revocations are read again")
                away = False
            await asyncio.sleep(POLL_EVERY_S)

    async def current(self) -> None:
        """Returns when the cache may be gone by; raises Unavailable when the store has been away for over 60 s."""
        now_s = self._clock.monotonic_s()
        if now_s < self.fresh_until_s:
            return
        # While `run` keeps failing, requests do not wait for the store each by itself.
        if now_s - self._failed_at_s >= _FRESH_S:
            # Twice: the first may only join a poll that began too long ago to count.
            with contextlib.suppress(SlipwayError):
                for _ in range(2):
                    await self.poll()
                    if self._clock.monotonic_s() < self.fresh_until_s:
                        return
        if not self.is_honoured():
            raise Unavailable("Credentials cannot be checked at the moment: try again shortly.", retry_after_s=1.0)

    def is_honoured(self) -> bool:
        """Whether a verified credential still holds without the store."""
        return self._clock.monotonic_s() - self._answered_at_s <= HONOURED_S

    async def poll(self) -> None:
        """Asks what changed, or joins whoever is asking; raises Unavailable after half a second."""
        now_s = self._clock.monotonic_s()
        if self._poll is not None and not self._poll.done() and now_s - self._poll_started_s > _ABANDON_S:
            self._poll.cancel()
            self._poll = None
        if self._poll is None or self._poll.done():
            self._poll_started_s = now_s
            self._poll = asyncio.create_task(self._ask(now_s))
            self._poll.add_done_callback(_retrieved)
        poll = self._poll
        # Not `wait_for`: cancelling a query waits for the very server that does not answer.
        await asyncio.wait({poll}, timeout=_POLL_DEADLINE_S)
        try:
            if not poll.done():
                raise Unavailable("The database does not answer: try again shortly.", retry_after_s=1.0)
            poll.result()
        except SlipwayError:
            self._failed_at_s = self._clock.monotonic_s()
            raise
        except asyncio.CancelledError:
            if not poll.cancelled():
                raise
            raise Unavailable("The database does not answer: try again shortly.", retry_after_s=1.0) from None

    async def stop(self) -> None:
        """Ends a poll that is under way."""
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.wait({self._poll}, timeout=_POLL_DEADLINE_S)

    async def _ask(self, started_s: float) -> None:
        seen, versions = await self._stored.changes(self._seen)
        if started_s - self._answered_at_s > HONOURED_S:
            self._verified.clear()
        self._verified.changed(versions)
        self._seen = seen
        self._answered_at_s = max(self._answered_at_s, started_s)
        self.fresh_until_s = self._answered_at_s + _FRESH_S


def _retrieved(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
