"""What the gateway needs from outside: providers of models, a log of usage and the store behind it.

Providers raise SlipwayErrors only. One that may pass by itself is `retryable`: the gateway then turns to the model's
fallbacks, as long as nothing was answered.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, Protocol

from slipway.api.usage import UsageReport
from slipway.base.callers import Caller
from slipway.services.gateway.models import (
    EmbeddingRequest,
    Embeddings,
    Headers,
    Opening,
    UsageRow,
    WireName,
    WrittenBody,
)


class ChatProvider(Protocol):
    """Answers chats in the terms of its own wire; `model_id` is its own name of the model.

    `headers` are what a caller of the same wire asked for beside the body; providers of another wire leave them out.
    `left_s` is what remains of the model's deadline for a further attempt.
    """

    @property
    def wire(self) -> WireName: ...
    @property
    def model_id(self) -> str: ...

    async def complete(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> dict[str, Any]:
        """The whole answer.

        Raises InvalidRequest, TooLarge, LimitExceeded, UpstreamFailed, Unavailable, DeadlineExceeded; those whose
        `effect_unknown` is set may have been charged.
        """
        ...

    def stream(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
        """The events of an answer, as many at a time as have come.

        It ends where the provider's stream ends, whole or not, and raises as `complete`. Closing it ends the call.
        """
        ...

    def redacted(self, text: str) -> str:
        """A provider's words without this platform's secret in them."""
        ...

    async def count_tokens(self, caller: Caller, body: WrittenBody, headers: Headers) -> int | None:
        """Tokens of the prompt as the provider counts them before it answers; None when it offers no such count."""
        ...


class EmbeddingProvider(Protocol):
    """Turns texts into vectors."""

    async def embed(self, caller: Caller, request: EmbeddingRequest, left_s: float | None = None) -> Embeddings:
        """One vector a text, in order. `left_s` and what it raises: as `ChatProvider.complete`."""
        ...


class UsageLog(Protocol):
    """Keeps one row for each accepted request and never loses it."""

    @property
    def must_sync(self) -> bool:
        """Whether `synced` is to be awaited before a provider is called."""
        ...

    def open(self, opening: Opening) -> None:
        """Keeps what is known before the provider is called, in place of what was kept for this request before.

        Raises StorageFull or Unavailable: then the request must not be served.
        """
        ...

    async def synced(self) -> None:
        """Returns once what was opened outlives the machine. Raises Unavailable."""
        ...

    def withdraw(self, request_id: str) -> None:
        """Takes back what was opened: the provider was not called."""
        ...

    def leasing(self, account: str) -> None:
        """Keeps that this process is about to hold a part of a budget. Raises StorageFull or Unavailable."""
        ...

    def close(self, row: UsageRow) -> None:
        """Keeps the row of an opened request, once. Never raises."""
        ...


class UsageStore(Protocol):
    """Keeps rows, each once."""

    async def usage_append(self, rows: Sequence[bytes]) -> None:
        """Stores the rows (`row_json`) that are not there yet, by request id.

        Raises InvalidRequest, having stored nothing, when one of them can never be stored; Unavailable, StorageFull or
        Conflict when it may help to try again.
        """
        ...

    async def usage_list(
        self,
        caller: Caller,
        *,
        after: datetime | None,
        before: datetime | None,
        model: str | None,
        key_id: str | None,
        cursor: str | None,
        limit: int,
    ) -> UsageReport:
        """The tenant's rows, newest first, with the totals of everything that the filters let through.

        `after` is included, `before` is not. Raises InvalidRequest for a cursor that is none of ours.
        """
        ...
