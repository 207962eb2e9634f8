"""Which model is asked next: bounded retries with jitter, then what stands in, as long as nothing was answered.

The service asks after each failure. An attempt that may have been charged all the same is booked at its bound before
there is another one, so a retry cannot spend what no budget holds.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.base.errors import DeadlineExceeded, SlipwayError, Unavailable
from slipway.runtime.limits import Limit
from slipway.runtime.outbound import ShareExceeded
from slipway.services.gateway import metrics
from slipway.services.gateway.account import Account
from slipway.services.gateway.directory import ServedModel

_UNKNOWN_ATTEMPTS: Final = 2  # of a call that may have been charged each time
LONGEST_WAIT_S: Final = 10.0  # a longer `retry-after` is the caller's to wait out, not ours


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a model is asked for one request, and the first pause between two attempts."""

    attempts: int = 3
    backoff_s: float = 0.25


class Attempts:
    """The attempts of one request; `left_s` is what the model's deadline leaves to one that is not the first.

    `uncertain`: the provider may have charged for an attempt that nobody has counted or booked yet. Whoever ends the
    request then, a caller that leaves included, has to book it at its bound.
    """

    __slots__ = (
        "_account",
        "_began_s",
        "_has_room",
        "_later",
        "_policy",
        "_tried",
        "left_s",
        "model",
        "uncertain",
    )

    def __init__(
        self,
        models: Sequence[ServedModel],
        account: Account,
        policy: Policy,
        has_room: Callable[[Limit], Awaitable[bool]],
    ) -> None:
        """`has_room` takes one request of a model's own limit; that of the first attempt at the first is taken."""
        self._account = account
        self._policy = policy
        self._has_room = has_room
        self._tried = 1
        self._began_s = 0.0
        self.left_s: float | None = None
        self.uncertain = False
        self.model = models[0]
        self._later: Sequence[ServedModel] = models[1:]

    async def begin(self) -> None:
        """Before the first attempt; raises Unavailable when every model is being left alone."""
        if self._later and self.model.health.is_limited():
            self._later = [*self._later, self.model]
            following = await self._following()
            self.model = following or self.model
        if not self.model.health.may_try():
            waits_s = self.model.health.opens_in_s()
            first = self.model
            following = await self._following()
            if following is None:
                raise Unavailable(
                    f"The provider of the model {first.name!r} failed too often lately and is left alone for a while.",
                    retry_after_s=max(waits_s, 1.0),
                )
            self.model = following
        self.uncertain = True

    def answered(self) -> None:
        """The model answered, and what it took is booked."""
        self.uncertain = False
        self.model.health.succeeded()

    def broke_off(self, error: SlipwayError) -> None:
        """The answer ended before it was complete, after a part of it has reached the caller."""
        # Whoever asks for more than fits into a deadline proves nothing about a provider that was answering.
        if not isinstance(error, DeadlineExceeded):
            self.model.health.failed(error, self._account.tenant_id)

    async def again(self, error: BaseException) -> bool:
        """Whether there is another attempt after this error; returns when it is time for it."""
        if not isinstance(error, SlipwayError):
            return False
        self.uncertain = error.effect_unknown
        model = self.model
        if isinstance(error, ShareExceeded):
            metrics.limited("upstream")  # the caller's tenant is at fault, not the provider
        else:
            model.health.failed(error, self._account.tenant_id)
            metrics.failed(model.name, error.code)
        if not error.retryable:
            return False
        pause_s = self._pause_s(error)
        left_s: float | None = None
        if pause_s is not None:
            left_s = model.deadline_s - (self._account.elapsed_s - self._began_s) - pause_s
            if left_s <= 0 or not await self._may_ask(model):
                pause_s = None
        if pause_s is None:
            following = await self._following()
            if following is None:
                return False
            model, pause_s, left_s = following, 0.0, None
        if self.uncertain:
            # While it waits for room in a budget the caller may leave: the last attempt is not booked until it is true.
            if not await self._account.another_attempt():
                return False
            self.uncertain = False
        self.left_s = left_s
        if model is self.model:
            self._tried += 1
        else:
            self.model, self._tried, self._began_s = model, 1, self._account.elapsed_s
            metrics.fell_back(model.name)
        if pause_s:
            await asyncio.sleep(pause_s)
        self.uncertain = True
        return True

    async def _may_ask(self, model: ServedModel) -> bool:
        """Whether the model's own limit has room for one more attempt, which is then taken."""
        return model.limit is None or await self._has_room(model.limit)

    async def _following(self) -> ServedModel | None:
        """The next model that is worth asking and has room; one without room is passed over, whatever its health."""
        while self._later:
            model, *self._later = self._later
            # The limit first, since `may_try` gives the one trial of an open breaker away.
            if not model.health.is_left_alone() and await self._may_ask(model) and model.health.may_try():
                return model
        return None

    def _pause_s(self, error: SlipwayError) -> float | None:
        """How long to wait before the same model is asked again; None to leave it."""
        most = min(self._policy.attempts, _UNKNOWN_ATTEMPTS) if error.effect_unknown else self._policy.attempts
        if self._tried >= most or isinstance(error, DeadlineExceeded | ShareExceeded) or self.model.health.is_open:
            return None
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else None
        # Jitter, so that those who wait for a server do not all come back at once.
        return self._policy.backoff_s * 2.0 ** (self._tried - 1) * random.uniform(0.5, 1.0)  # noqa: S311
