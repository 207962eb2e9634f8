# ruff: noqa: ARG002 - every call of a port takes its caller
"""Models behind any server that speaks OpenAI's API: OpenAI, Azure, Gemini, vLLM, Ollama … (`upstream`)."""

from collections.abc import AsyncGenerator
from typing import Any

from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest, UpstreamFailed
from slipway.runtime.outbound import Deadlines
from slipway.services.gateway.indexes import index_of
from slipway.services.gateway.models import EmbeddingRequest, Embeddings, Headers, WireName, WrittenBody
from slipway.services.gateway.token_counts import openai_tokens
from slipway.services.gateway.upstream import Upstream
from slipway.services.gateway.wire_errors import json_bytes


class OpenAIModel:
    """One model of an upstream; implements ChatProvider and EmbeddingProvider."""

    wire: WireName = "openai"

    def __init__(self, upstream: Upstream, model_id: str, deadlines: Deadlines) -> None:
        self._upstream = upstream
        self._deadlines = deadlines
        self.model_id = model_id

    async def complete(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> dict[str, Any]:
        """The provider's own answer."""
        return await self._upstream.post(caller, "/chat/completions", body.content, self._deadlines.within(left_s))

    def stream(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The provider's chunks."""
        return self._upstream.events(caller, "/chat/completions", body.content, self._deadlines.within(left_s))

    def redacted(self, text: str) -> str:
        """Without the provider's key."""
        return self._upstream.redacted(text)

    async def count_tokens(self, caller: Caller, body: WrittenBody, headers: Headers) -> int | None:
        """None: this API has no such count."""
        return None

    async def embed(self, caller: Caller, request: EmbeddingRequest, left_s: float | None = None) -> Embeddings:
        """The provider's vectors, in the order of the texts."""
        body: dict[str, Any] = {
            "model": self.model_id,
            "input": list(request.inputs),
            "encoding_format": request.encoding,
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.user is not None:
            body["user"] = request.user
        answer = await self._upstream.post(caller, "/embeddings", json_bytes(body), self._deadlines.within(left_s))
        items = answer.get("data")
        if not isinstance(items, list) or len(items) != len(request.inputs):
            raise _wrong("with another number of embeddings")
        rows: dict[int, bytes] = {}
        for position, item in enumerate(items):
            if not isinstance(item, dict) or not isinstance(item.get("embedding"), list | str):
                raise _wrong("with something that is no embedding")
            if isinstance(item["embedding"], str) != (request.encoding == "base64"):
                raise InvalidRequest(
                    f"This model's provider does not offer encoding_format {request.encoding!r}: use the other one.",
                    effect_unknown=True,
                )
            index = index_of(item.get("index"))
            rows[position if index is None else index] = json_bytes(item["embedding"])
        if sorted(rows) != list(range(len(items))):
            raise _wrong("with embeddings in wrong numbers")
        tokens = openai_tokens(answer.get("usage"))
        return Embeddings([rows[index] for index in range(len(items))], tokens.prompt if tokens else None)


def _wrong(what: str) -> UpstreamFailed:
    return UpstreamFailed(f"The model's provider answered {what}.", effect_unknown=True)
