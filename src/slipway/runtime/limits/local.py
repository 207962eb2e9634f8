"""Rate limits of this process alone: a dictionary of arrival times, at most so many."""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from slipway.base.clock import Clock, SystemClock
from slipway.runtime.limits.limit import Limit, Verdict

_LOOKED_AT: Final = 16  # keys, oldest first, before one that still counts is forgotten; arbitrary


class LocalLimiter:
    """Implements Limiter. A key that is full again may be forgotten at any time; beyond `max_keys` any may be."""

    def __init__(self, clock: Clock | None = None, *, max_keys: int = 100_000) -> None:
        self._arrivals: dict[str, float] = {}
        self._max_keys = max_keys
        self._monotonic_s = (clock or SystemClock()).monotonic_s

    async def acquire(self, limits: Sequence[Limit]) -> Verdict:
        """As `acquire_now`."""
        return self.acquire_now(limits)

    def acquire_now(self, limits: Sequence[Limit]) -> Verdict:
        """Takes the cost of every limit, or of none; awaits nothing."""
        arrivals = self._arrivals
        now = self._monotonic_s()
        refused: Limit | None = None
        retry_after_s = 0.0
        after: list[float] = []
        for limit in limits:
            cost_s = limit.cost / limit.rate_per_s
            burst_s = limit.burst / limit.rate_per_s
            arrival = arrivals.get(limit.key, now)
            if arrival < now:
                arrival = now
            wait_s = arrival - now + (cost_s if cost_s < burst_s else burst_s) - burst_s
            if wait_s > 1e-9 and wait_s > retry_after_s:  # sums of floats: a full burst is not refused for a rounding
                refused, retry_after_s = limit, wait_s
            after.append(arrival + cost_s)
        if refused is None:
            for limit, arrival in zip(limits, after, strict=True):
                arrivals[limit.key] = arrival
            if len(arrivals) > self._max_keys:
                self._forget(now)
        else:
            after = [max(arrivals.get(limit.key, now), now) for limit in limits]
        remaining: list[int] = []
        reset_s: list[float] = []
        for limit, arrival in zip(limits, after, strict=True):
            whole_s = arrival - now
            left = int(limit.burst - whole_s * limit.rate_per_s + 1e-6)
            remaining += (left if left > 0 else 0,)
            reset_s += (whole_s,)
        return Verdict(refused is None, refused, retry_after_s, tuple(remaining), tuple(reset_s))

    async def give_back(self, limits: Sequence[Limit]) -> None:
        """Returns each cost; a negative one takes more."""
        now = self._monotonic_s()
        for limit in limits:
            arrival = max(self._arrivals.get(limit.key, now), now) - limit.cost / limit.rate_per_s
            if arrival > now:
                self._arrivals[limit.key] = arrival
            else:
                self._arrivals.pop(limit.key, None)
        if len(self._arrivals) > self._max_keys:
            self._forget(now)

    async def close(self) -> None:
        """Forgets everything."""
        self._arrivals.clear()

    def _forget(self, now: float) -> None:
        """Drops full keys among the oldest; those that still count move to the end, but for what is too much."""
        oldest = list(islice(self._arrivals.items(), _LOOKED_AT + len(self._arrivals) - self._max_keys))
        for key, arrival in oldest:
            del self._arrivals[key]
            if arrival > now:
                self._arrivals[key] = arrival
        while len(self._arrivals) > self._max_keys:
            del self._arrivals[next(iter(self._arrivals))]
