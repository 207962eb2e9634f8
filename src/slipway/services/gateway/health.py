"""Whether a model's provider is worth asking: a circuit breaker for each served model.

The service asks before each attempt and tells how it ended. Failures that say nothing about the provider's health, such
as a refused request, do not count. Deadlines count, but those of one tenant alone never open the breaker: whoever asks
for more than a model writes in its time would close it to everybody else. A second tenant's, or any other failure,
has to be among them.
"""

from typing import Final

from slipway.base.clock import Clock
from slipway.base.errors import DeadlineExceeded, LimitExceeded, SlipwayError, Unavailable, UpstreamFailed
from slipway.services.gateway import metrics

FAILURES: Final = 5  # in a row until it opens; arbitrary
_FIRST_PAUSE_S, _LAST_PAUSE_S = 5.0, 60.0  # arbitrary; doubled each time that a trial fails
_LONGEST_LIMIT_S: Final = 60.0


class Health:
    """The breaker of one model: closed (asked), open (not asked until a time), half open (one request tries)."""

    __slots__ = (
        "_clock",
        "_failures",
        "_limited_until_s",
        "_most_failures",
        "_name",
        "_open_until_s",
        "_pause_s",
        "_trial_until_s",
        "_whose",
    )

    def __init__(self, clock: Clock, name: str, failures: int = FAILURES) -> None:
        self._clock = clock
        self._name = name
        self._most_failures = failures
        self._failures = 0
        self._whose: str | None = None  # the tenant that all failures in a row are deadlines of
        self._pause_s = _FIRST_PAUSE_S
        self._open_until_s = 0.0
        self._trial_until_s = 0.0
        self._limited_until_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it failed so often that it is left alone."""
        return self._failures >= self._most_failures

    def may_try(self) -> bool:
        """Whether to ask it now; when it has been open for its pause, one request at a time may."""
        if self._failures < self._most_failures:
            return True
        if self.is_left_alone():
            return False
        self._trial_until_s = self._clock.monotonic_s() + self._pause_s
        return True

    def is_left_alone(self) -> bool:
        """Whether `may_try` would refuse; takes nothing."""
        return self.is_open and self.opens_in_s() > 0

    def is_limited(self) -> bool:
        """Whether its provider asked for a pause that is not over: others are asked first."""
        if not self._limited_until_s:
            return False
        if self._clock.monotonic_s() < self._limited_until_s:
            return True
        self._limited_until_s = 0.0
        return False

    def opens_in_s(self) -> float:
        """Seconds until it is asked again."""
        return max(max(self._open_until_s, self._trial_until_s) - self._clock.monotonic_s(), 0.0)

    def succeeded(self) -> None:
        """An answer came."""
        if self._failures:
            if self.is_open:
                metrics.health(self._name, is_open=False)
            self._failures = 0
            self._pause_s = _FIRST_PAUSE_S
            self._trial_until_s = 0.0

    def failed(self, error: SlipwayError, tenant_id: str) -> None:
        """An attempt for a tenant ended with `error`."""
        now_s = self._clock.monotonic_s()
        if isinstance(error, LimitExceeded):
            if error.retry_after_s is not None:
                self._limited_until_s = now_s + min(error.retry_after_s, _LONGEST_LIMIT_S)
            return
        if not isinstance(error, UpstreamFailed | Unavailable | DeadlineExceeded):
            self.succeeded()  # it did answer
            return
        whose = tenant_id if isinstance(error, DeadlineExceeded) else None
        if not self._failures:
            self._whose = whose
        elif whose != self._whose:
            self._whose = None
        if self._whose is not None and self._failures == self._most_failures - 1:
            return
        self._failures += 1
        if self._failures >= self._most_failures:
            if self._failures > self._most_failures:
                self._pause_s = min(self._pause_s * 2, _LAST_PAUSE_S)
            metrics.health(self._name, is_open=True)
            self._open_until_s = now_s + self._pause_s
            self._trial_until_s = 0.0
