"""What the gateway needs from outside: providers of models, a log of usage and the store behind it.

Providers raise SlipwayErrors only. One that may pass by itself is `retryable`: the gateway then turns to the model's
fallbacks, as long as nothing was answered.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, Protocol

from slipway.api.usage import UsageReport
from slipway.base.callers import Caller
from slipway.services.gateway.models import ChatRequest, Completion, EmbeddingRequest, Embeddings, UsageRow


class ChatProvider(Protocol):
    """Answers chat completions in OpenAI's terms."""

    async def complete(self, caller: Caller, request: ChatRequest) -> Completion:
        """The whole answer. Raises InvalidRequest, LimitExceeded, UpstreamFailed, Unavailable, DeadlineExceeded."""
        ...

    def stream(self, caller: Caller, request: ChatRequest) -> AsyncGenerator[dict[str, Any], None]:
        """The answer as `chat.completion.chunk` objects, with usage in one of them where the provider counts.

        It ends only after a complete answer and raises otherwise. Closing it ends the call at the provider.
        """
        ...


class EmbeddingProvider(Protocol):
    """Turns texts into vectors."""

    async def embed(self, caller: Caller, request: EmbeddingRequest) -> Embeddings:
        """One vector a text, in order. Raises as `ChatProvider.complete`."""
        ...


class UsageLog(Protocol):
    """Takes one row for each accepted request and never loses it."""

    def admit(self) -> None:
        """Takes a place for one row before the request is served; raises Unavailable when there is none left."""
        ...

    def record(self, row: UsageRow) -> None:
        """Fills a place that was taken. Returns at once."""
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
