"""One provider's stream to a caller of another wire, delta by delta through the neutral form.

Called by the service for each event.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from slipway.services.gateway.conversation import (
    Counted,
    Delta,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from slipway.services.gateway.models import Tokens, WireName
from slipway.services.gateway.token_counts import provider_id
from slipway.services.gateway.wire_errors import Redact, failed_upstream

_FAILURES = (
    "internalServerException",
    "modelStreamErrorException",
    "validationException",
    "throttlingException",
    "serviceUnavailableException",
)


class Reader(Protocol):
    """Gives the deltas that a provider's events mean."""

    def take(self, event: dict[str, Any]) -> Sequence[Delta]:
        """The deltas of one event."""
        ...


class Writer(Protocol):
    """Writes deltas on a caller's wire."""

    def write(self, delta: Delta) -> bytes:
        """What one delta is there."""
        ...

    def end(self, tokens: Tokens, cost_usd_micros: int) -> bytes:
        """What closes the stream."""
        ...


class TranslatingRelay:
    """One answer on its way."""

    def __init__(
        self, reader: Reader, writer: Writer, *, caller_wire: WireName, request_id: str, redacted: Redact
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._caller_wire: WireName = caller_wire
        self._request_id = request_id
        self._redacted = redacted
        self.tokens: Tokens | None = None
        self.text_length = 0
        self.finished = False
        self.provider_id: str | None = None

    def take(self, event: dict[str, Any]) -> bytes:
        """What the event is on the caller's wire; raises UpstreamFailed for an error event."""
        error = _error_in(event)
        if error is not None:
            raise failed_upstream(error, self._redacted)
        pieces = []
        for delta in self._reader.take(event):
            self._note(delta)
            pieces.append(self._writer.write(delta))
        return b"".join(pieces)

    def end(self, tokens: Tokens, cost_usd_micros: int) -> bytes:
        """What closes a good stream."""
        return self._writer.end(tokens, cost_usd_micros)

    def _note(self, delta: Delta) -> None:
        if isinstance(delta, TextDelta | ThinkingDelta | ToolCallDelta):
            self.text_length += len(delta.text)
        elif isinstance(delta, Counted):
            self.tokens = delta.tokens
        elif isinstance(delta, Finished):
            self.finished = True
        elif isinstance(delta, Started):
            self.provider_id = provider_id(delta.id)


def _error_in(event: dict[str, Any]) -> Any:
    """The error that an event of any provider's wire announces."""
    if event.get("error") or event.get("type") == "error":
        return event.get("error") or {}
    return next((event[name] for name in _FAILURES if name in event), None)
