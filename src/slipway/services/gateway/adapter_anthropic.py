"""Models of Anthropic's API, and of servers that speak it. Source: Anthropic's API reference.

Callers of this wire choose the version (`wire_anthropic_headers`); what is translated is written in the older one,
which takes all that the other wires have.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final

from slipway.base.callers import Caller
from slipway.runtime.outbound import Deadlines
from slipway.services.gateway.models import Headers, WireName, WrittenBody
from slipway.services.gateway.upstream import Upstream
from slipway.services.gateway.wire_anthropic_headers import DEFAULT
from slipway.services.gateway.wire_errors import json_bytes

# What counting takes; the rest of a request says how to answer and would be refused.
_COUNTED: Final = ("messages", "model", "system", "thinking", "tool_choice", "tools", "output_config")


class AnthropicModel:
    """One model of an upstream; implements ChatProvider."""

    wire: WireName = "anthropic"

    def __init__(self, upstream: Upstream, model_id: str, deadlines: Deadlines) -> None:
        self._upstream = upstream
        self._deadlines = deadlines
        self.model_id = model_id

    async def complete(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> dict[str, Any]:
        """The provider's own message."""
        deadlines = self._deadlines.within(left_s)
        return await self._upstream.post(caller, "/v1/messages", body.content, deadlines, headers or DEFAULT)

    def stream(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The provider's events."""
        deadlines = self._deadlines.within(left_s)
        return self._upstream.events(caller, "/v1/messages", body.content, deadlines, headers or DEFAULT)

    def redacted(self, text: str) -> str:
        """Without the provider's key."""
        return self._upstream.redacted(text)

    async def count_tokens(self, caller: Caller, body: WrittenBody, headers: Headers) -> int | None:
        """As the provider counts; it charges nothing for that."""
        asked = {name: body.fields[name] for name in _COUNTED if name in body.fields}
        path = "/v1/messages/count_tokens"
        answer = await self._upstream.post(caller, path, json_bytes(asked), self._deadlines, headers or DEFAULT)
        counted = answer.get("input_tokens")
        return counted if isinstance(counted, int) and counted >= 0 else None
