"""OpenAI's stream to a caller of OpenAI's wire: every key passes, `chunks.ChunkStream` keeps the promises.

Called by the service for each event. Budget: 5 µs of CPU an event, parsing not included; 1.7 µs on 2026-11-25, by hand
with timeit, and 2.0 µs more for orjson to parse it.
"""

from typing import Any

import orjson

from slipway.services.gateway.chunks import ChunkStream
from slipway.services.gateway.models import Tokens
from slipway.services.gateway.token_counts import provider_id
from slipway.services.gateway.wire import DONE, dumped
from slipway.services.gateway.wire_errors import Redact, failed_upstream, json_bytes


class OpenAIRelay:
    """One answer on its way."""

    def __init__(self, model: str, *, include_usage: bool, redacted: Redact) -> None:
        self._state = ChunkStream(model, include_usage=include_usage)
        self._include_usage = include_usage
        self._redacted = redacted
        self._finished: dict[int, bool] = {}
        self.provider_id: str | None = None

    @property
    def tokens(self) -> Tokens | None:
        """As counted so far."""
        return self._state.tokens

    @property
    def text_length(self) -> int:
        """Characters of text, tool arguments and thinking so far."""
        return self._state.text_length

    @property
    def finished(self) -> bool:
        """Whether every choice that began has its finish reason."""
        return bool(self._finished) and all(self._finished.values())

    def take(self, event: dict[str, Any]) -> bytes:
        """The event for the caller; raises UpstreamFailed for an error event."""
        if event.get("error"):
            raise failed_upstream(event["error"], self._redacted)
        chunk = self._state.take(event)
        if chunk is None:
            return b""
        if self.provider_id is None:
            self.provider_id = provider_id(event.get("id"))
        for choice in chunk["choices"]:
            if isinstance(choice, dict):
                index = choice["index"]
                if choice.get("finish_reason"):
                    self._finished[index] = True
                elif index not in self._finished:
                    self._finished[index] = False
        try:
            return b"data: " + orjson.dumps(chunk) + b"\n\n"
        except TypeError:  # half a surrogate pair, or an integer of more than 64 bits
            return b"data: " + dumped(chunk) + b"\n\n"

    def end(self, tokens: Tokens, cost_usd_micros: int) -> bytes:
        """The usage chunk, where the caller asked for it, and `[DONE]`."""
        if not self._include_usage:
            return DONE
        return b"data: " + json_bytes(self._state.usage_chunk(tokens, cost_usd_micros)) + b"\n\n" + DONE
