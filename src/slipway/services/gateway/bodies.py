"""What the providers of one chat are sent: written once for each model that is asked, as the bytes that leave.

The service makes one for each request. A request is bounded by the longest of its forms, since writing it again may
make it longer (ADR 13), and an attempt sends the very bytes that were measured. What is long is written in a thread,
so that nobody else waits for it.

Budget: 4 µs for a short body of the provider's own wire.
"""

import asyncio
from collections.abc import Sequence

from slipway.services.gateway.bounds import capped
from slipway.services.gateway.conversation import Conversation
from slipway.services.gateway.directory import ServedModel
from slipway.services.gateway.models import ChatRequest, InvalidParameter, WireName, WrittenBody
from slipway.services.gateway.nesting import LONG_BODY_BYTES
from slipway.services.gateway.ports import ChatProvider
from slipway.services.gateway.relay import neutral, provider_body
from slipway.services.gateway.wire_anthropic_request import DEFAULT_MAX_TOKENS
from slipway.services.gateway.wire_errors import json_bytes


class Bodies:
    """The forms of one request, each made when it is first asked for."""

    __slots__ = ("_cap_tokens", "_conversation", "_request", "_written")

    def __init__(self, request: ChatRequest, cap_tokens: int | None) -> None:
        self._request = request
        self._cap_tokens = cap_tokens
        self._conversation: Conversation | None = None
        self._written: dict[str, WrittenBody] = {}

    async def of(self, model: ServedModel) -> WrittenBody:
        """What `model` is sent; raises InvalidParameter naming what cannot be translated for it."""
        written = self._written.get(model.name)
        if written is None:
            if self._request.size_bytes > LONG_BODY_BYTES:
                written = await asyncio.to_thread(self._write, model)
            else:
                written = self._write(model)
            self._written[model.name] = written
        return written

    async def longest_bytes(self, models: Sequence[ServedModel]) -> int:
        """The length of the longest form, as the caller sent it or as one of `models` gets it.

        Models of one wire get the same prompt, so one of each is measured. Raises InvalidParameter when the first
        cannot be asked; what stands in for it and cannot is never sent anything.
        """
        if len(models) == 1:  # most requests
            written = await self.of(models[0])
            return max(self._request.size_bytes, len(written.content))
        longest = self._request.size_bytes
        measured: set[WireName] = set()
        for model in models:
            wire = chat_of(model).wire
            if wire in measured:
                continue
            try:
                written = await self.of(model)
            except InvalidParameter:
                if model is models[0]:
                    raise
                continue
            measured.add(wire)
            longest = max(longest, len(written.content))
        return longest

    def _write(self, model: ServedModel) -> WrittenBody:
        request, provider, cap_tokens = self._request, chat_of(model), self._cap_tokens
        wire = provider.wire
        if cap_tokens is None and wire == "anthropic" and model.facts.max_output_tokens is not None:
            # That wire wants a figure also where the caller states none: never more than the bound that is held.
            cap_tokens = min(DEFAULT_MAX_TOKENS, model.facts.max_output_tokens)
        most = None if cap_tokens is None else capped(request.wire, request.body, cap_tokens, model.facts)
        if wire != request.wire and self._conversation is None:
            self._conversation = neutral(request.wire, request.body)
        fields = provider_body(
            request.wire,
            wire,
            request.body,
            provider.model_id,
            stream=request.stream,
            max_tokens=most,
            conversation=self._conversation,
        )
        return WrittenBody(fields, json_bytes(fields))


def chat_of(model: ServedModel) -> ChatProvider:
    """Who answers chats for a model that the directory offers for them."""
    assert model.chat is not None, "the directory only offers models that do the operation"
    return model.chat
