"""Keeps a stream of `chat.completion.chunk` objects to OpenAI's promises, whoever sends it.

Called by the service for each chunk of a provider. The role stands on the first delta of each choice, a tool call keeps
one index for its whole length, usage is taken out of the stream (the service sends it as its own last chunk), and the
model has the name it was asked for.
"""

from collections.abc import Mapping
from typing import Any

from slipway.services.gateway.indexes import index_of
from slipway.services.gateway.models import Tokens
from slipway.services.gateway.token_counts import openai_tokens

_KEPT = frozenset({"id", "created", "system_fingerprint"})


class ChunkStream:
    """What is known of one stream so far."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._model = model
        self._include_usage = include_usage
        self._roles: set[int] = set()
        self._calls: dict[int, ToolCallIndexes] = {}
        self._last: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self.tokens: Tokens | None = None
        self.text_length = 0

    def take(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """The chunk as it goes to the caller, or None when it carried usage alone."""
        usage = chunk.pop("usage", None)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            choices = chunk["choices"] = []
        if isinstance(usage, dict):
            self.tokens, self._usage = openai_tokens(usage) or self.tokens, usage
            if not choices:
                self._last = self._last or chunk
                return None
        for position, choice in enumerate(choices):
            if isinstance(choice, dict):
                self._choice(choice, position)
        chunk["model"] = self._model
        chunk.setdefault("object", "chat.completion.chunk")
        if self._include_usage:
            chunk["usage"] = None
        self._last = chunk
        return chunk

    def usage_chunk(self, tokens: Tokens, cost_usd_micros: int) -> dict[str, Any]:
        """The last chunk: no choices, only usage."""
        kept = {key: value for key, value in self._last.items() if key in _KEPT}
        return {
            **kept,
            "object": "chat.completion.chunk",
            "model": self._model,
            "choices": [],
            "usage": usage_body(tokens, cost_usd_micros, self._usage),
        }

    def _choice(self, choice: dict[str, Any], position: int) -> None:
        index = index_of(choice.get("index"))
        if index is None:
            index = choice["index"] = position
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice["delta"] = {}
        if index not in self._roles:
            self._roles.add(index)
            if not delta.get("role"):
                choice["delta"] = delta = {"role": "assistant", **{k: v for k, v in delta.items() if k != "role"}}
        content = delta.get("content")
        if isinstance(content, str):
            self.text_length += len(content)
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            self.text_length += len(reasoning)
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and calls:
            known = self._calls.setdefault(index, ToolCallIndexes())
            for call in calls:
                if isinstance(call, dict):
                    call["index"] = known.index_of(call)
                    self.text_length += _arguments_length(call)


class ToolCallIndexes:
    """Indexes of one choice's tool calls: by the call's id, then by what the provider numbers it.

    Some servers send every parallel call whole and all with index 0, or with none.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._by_sent: dict[int | None, int] = {}
        self._count = 0

    def index_of(self, call: dict[str, Any]) -> int:
        """The call's index for the caller. Raises UpstreamFailed when what the provider numbers it is no number."""
        call_id, sent = call.get("id"), index_of(call.get("index"))
        if isinstance(call_id, str) and call_id:
            if call_id not in self._ids:
                self._ids[call_id] = self._next()
            self._by_sent[sent] = self._ids[call_id]
            return self._ids[call_id]
        if sent not in self._by_sent:
            self._by_sent[sent] = self._next()
        return self._by_sent[sent]

    def _next(self) -> int:
        self._count += 1
        return self._count - 1


def _arguments_length(call: dict[str, Any]) -> int:
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return len(arguments) if isinstance(arguments, str) else 0


def usage_body(tokens: Tokens, cost_usd_micros: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """`usage` as it is answered: what the provider gave, with OpenAI's three counts and what they cost here."""
    return {
        **given,
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "cost_usd_micros": cost_usd_micros,
    }
