"""Rate limits by the generic cell rate algorithm (GCRA): one theoretical arrival time a key, no windows that reset.

Whoever guards a path acquires all its limits at once and is told when the one that refuses opens. A cost above a
limit's burst passes when nothing else was taken, and is worked off afterwards: it would never pass otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` at once and `rate_per_s` (above 0) in the long run, counted under `key`; `name` is for sentences."""

    key: str
    rate_per_s: float
    burst: int
    cost: int = 1
    name: str = "requests"


@dataclass(slots=True)
class Verdict:
    """Whether all limits let the request through; `limit` is the one that opens last of those that did not.

    For each limit, in order: what `remaining` is left now, and in how many seconds (`reset_s`) all of it is back.
    """

    allowed: bool
    limit: Limit | None
    retry_after_s: float
    remaining: tuple[int, ...]
    reset_s: tuple[float, ...]


class Limiter(Protocol):
    """Counts in this process or for all of them. It never raises: rates are a courtesy and fail open."""

    async def acquire(self, limits: Sequence[Limit]) -> Verdict:
        """Takes the cost of every limit, or of none when one refuses. Their keys differ."""
        ...

    async def give_back(self, limits: Sequence[Limit]) -> None:
        """Returns each cost, for what was charged by an estimate; a negative one takes more, without asking."""
        ...

    async def close(self) -> None:
        """Ends what it keeps open."""
        ...
