"""The neutral form of a chat: what the wires have in common, typed, between any two of them (ADR 12).

The `wire_*` translators read it and write it; nothing else builds one. It holds no key of a single wire: a reader
refuses by name what has no place here, a writer refuses by name what its wire has no place for.
"""

from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from slipway.services.gateway.models import InvalidParameter, Tokens

Role = Literal["user", "assistant", "system"]
CacheTtl = Literal["5m", "1h"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]
StopReason = Literal["end", "length", "stop_sequence", "tool_calls", "refusal", "pause", "context_window"]


@dataclass(frozen=True, slots=True)
class CacheMark:
    """The prompt up to here may be kept in the provider's cache: advice, it changes no answer."""

    ttl: CacheTtl | None = None


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image as base64 `data` of a `media_type`, or at a `url`; `detail` is OpenAI's."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A document as base64 `data` of a `media_type` (`text/plain`: as it is), or at a `url`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    title: str | None = None
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a model thought; without its `signature` a provider that signs does not take it back."""

    text: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    data: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for; `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False
    cache: CacheMark | None = None


AnswerPart = Text | Thinking | RedactedThinking | ToolCall
Part = Text | Image | Document | Thinking | RedactedThinking | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `schema` is JSON Schema of its arguments."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    kind: Literal["auto", "none", "any", "tool"]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The answer must be JSON of this schema; `name` is a label that no provider but OpenAI asks for."""

    schema: dict[str, Any]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Whether and how much the model thinks first: at its own choice, within a budget, or not at all."""

    kind: Literal["adaptive", "budget", "off"]
    budget_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request for one answer."""

    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    output: OutputSchema | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    user_id: str | None = None
    reasoning: Reasoning | None = None
    effort: Effort | None = None
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `id` and `model` are the provider's own."""

    parts: tuple[AnswerPart, ...]
    stop: StopReason
    stop_sequence: str | None = None
    tokens: Tokens | None = None
    id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingSigned:
    """The end of a stretch of thinking, with its signature."""

    signature: str


@dataclass(frozen=True, slots=True)
class ThinkingRedacted:
    data: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """`index` counts the calls of an answer from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    reason: StopReason
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """All tokens counted so far; a later one replaces it."""

    tokens: Tokens


Delta = (
    Started
    | TextDelta
    | ThinkingDelta
    | ThinkingSigned
    | ThinkingRedacted
    | ToolCallStarted
    | ToolCallDelta
    | Finished
    | Counted
)


def untranslatable(param: str, wire: str, instead: str = "leave it out, or ask a model that takes it") -> NoReturn:
    """Refuses a key that the provider's wire has no place for; raises InvalidParameter."""
    raise InvalidParameter(param, f"{param} cannot be translated for this model, which speaks {wire}: {instead}.")


class Collected:
    """Gathers the deltas of a stream into the answer they make."""

    def __init__(self) -> None:
        self._parts: list[AnswerPart] = []
        self._calls: dict[int, int] = {}
        self._started = Started()
        self._finished: Finished | None = None
        self._tokens: Tokens | None = None

    def add(self, delta: Delta) -> None:
        """Takes the next delta."""
        last = self._parts[-1] if self._parts else None
        if isinstance(delta, TextDelta):
            if isinstance(last, Text):
                self._parts[-1] = Text(last.text + delta.text)
            else:
                self._parts.append(Text(delta.text))
        elif isinstance(delta, ThinkingDelta | ThinkingSigned | ThinkingRedacted):
            self._think(delta, last)
        elif isinstance(delta, ToolCallStarted):
            self._calls[delta.index] = len(self._parts)
            self._parts.append(ToolCall(delta.id, delta.name, ""))
        elif isinstance(delta, ToolCallDelta):
            position = self._calls[delta.index]
            call = self._parts[position]
            assert isinstance(call, ToolCall), "an index of calls leads to a call"
            self._parts[position] = ToolCall(call.id, call.name, call.arguments + delta.text)
        elif isinstance(delta, Started):
            self._started = delta
        elif isinstance(delta, Finished):
            self._finished = delta
        else:
            self._tokens = delta.tokens

    def answer(self) -> Answer | None:
        """The answer, or None while it is not finished."""
        if self._finished is None:
            return None
        reason, sequence = self._finished.reason, self._finished.stop_sequence
        return Answer(tuple(self._parts), reason, sequence, self._tokens, self._started.id, self._started.model)

    def _think(self, delta: ThinkingDelta | ThinkingSigned | ThinkingRedacted, last: AnswerPart | None) -> None:
        open_thought = last if isinstance(last, Thinking) and last.signature is None else None
        if isinstance(delta, ThinkingRedacted):
            self._parts.append(RedactedThinking(delta.data))
            return
        thought = open_thought or Thinking("")
        if isinstance(delta, ThinkingDelta):
            thought = Thinking(thought.text + delta.text)
        else:
            thought = Thinking(thought.text, delta.signature)
        if open_thought is None:
            self._parts.append(thought)
        else:
            self._parts[-1] = thought
