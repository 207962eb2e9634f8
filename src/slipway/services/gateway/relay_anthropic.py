"""Anthropic's stream to a caller of Anthropic's wire: every event passes under its name, with the model renamed.

Called by the service for each event. The last `message_delta` waits for `end`, which knows what the answer costs;
what `message_start` counted is known at once.
"""

from typing import Any

from slipway.services.gateway.models import Tokens
from slipway.services.gateway.token_counts import anthropic_tokens, provider_id
from slipway.services.gateway.wire_errors import Redact, failed_upstream, named_event

_TEXTS = ("text", "thinking", "partial_json")


class AnthropicRelay:
    """One answer on its way."""

    def __init__(self, model: str, *, request_id: str, redacted: Redact) -> None:
        self._model = model
        self._request_id = request_id
        self._redacted = redacted
        self._usage: dict[str, Any] = {}
        self._held: dict[str, Any] | None = None
        self.tokens: Tokens | None = None
        self.text_length = 0
        self.finished = False
        self.provider_id: str | None = None

    def take(self, event: dict[str, Any]) -> bytes:
        """The event for the caller; raises UpstreamFailed for an error event."""
        kind = event.get("type")
        if kind == "content_block_delta":
            self._measure(event.get("delta"))
        elif kind == "content_block_start":
            self._measure(event.get("content_block"))
        elif kind == "message_start":
            self._start(event.get("message"))
        elif kind == "message_delta":
            return self._hold(event)
        elif kind == "message_stop":
            self.finished = True
            return b""
        elif kind == "error":
            raise failed_upstream(event.get("error"), self._redacted)
        elif not isinstance(kind, str) or not kind.isidentifier():
            return b""
        return named_event(event)

    def end(self, tokens: Tokens, cost_usd_micros: int) -> bytes:
        """The last `message_delta`, with the cost in its usage, and `message_stop`."""
        held, self._held = self._held, None
        if held is None:
            return named_event({"type": "message_stop"})
        usage = held.get("usage")
        counted = {"output_tokens": tokens.completion, **(usage if isinstance(usage, dict) else {})}
        held["usage"] = {**counted, "cost_usd_micros": cost_usd_micros}
        return named_event(held) + named_event({"type": "message_stop"})

    def _start(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        message["model"] = self._model
        self.provider_id = provider_id(message.get("id"))
        self._count(message.get("usage"))

    def _hold(self, event: dict[str, Any]) -> bytes:
        earlier, self._held = self._held, event
        self._count(event.get("usage"))
        delta = event.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason"):
            self.finished = True
        return b"" if earlier is None else named_event(earlier)

    def _count(self, usage: Any) -> None:
        """Counts are cumulative, and a later event leaves out what did not change."""
        if isinstance(usage, dict):
            self._usage.update({key: value for key, value in usage.items() if value is not None})
            self.tokens = anthropic_tokens(self._usage) or self.tokens

    def _measure(self, delta: Any) -> None:
        if isinstance(delta, dict):
            for key in _TEXTS:
                text = delta.get(key)
                if isinstance(text, str):
                    self.text_length += len(text)
