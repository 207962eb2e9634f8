# ruff: noqa: ARG002 - every call of a port takes its caller
"""Models of Anthropic's API, and of servers that speak it. Source: Anthropic's API reference, version 2023-06-01."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from slipway.base.callers import Caller
from slipway.runtime.outbound import Deadlines
from slipway.services.gateway.models import WireName
from slipway.services.gateway.upstream import Upstream

VERSION: Final = (b"anthropic-version", b"2023-06-01")
# What counting takes; the rest of a request says how to answer and would be refused.
_COUNTED: Final = ("messages", "model", "system", "thinking", "tool_choice", "tools", "output_config")


class AnthropicModel:
    """One model of an upstream; implements ChatProvider."""

    wire: WireName = "anthropic"

    def __init__(self, upstream: Upstream, model_id: str, deadlines: Deadlines) -> None:
        self._upstream = upstream
        self._deadlines = deadlines
        self.model_id = model_id

    async def complete(self, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
        """The provider's own message."""
        return await self._upstream.post("/v1/messages", body, self._deadlines)

    def stream(self, caller: Caller, body: dict[str, Any]) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The provider's events."""
        return self._upstream.events("/v1/messages", body, self._deadlines)

    def redacted(self, text: str) -> str:
        """Without the provider's key."""
        return self._upstream.redacted(text)

    async def count_tokens(self, caller: Caller, body: Mapping[str, Any]) -> int | None:
        """As the provider counts; it charges nothing for that."""
        asked = {name: body[name] for name in _COUNTED if name in body}
        answer = await self._upstream.post("/v1/messages/count_tokens", asked, self._deadlines)
        counted = answer.get("input_tokens")
        return counted if isinstance(counted, int) and counted >= 0 else None
