"""The most that one request can take, known before it is sent: what budgets hold while it is under way.

The service calls this for each model that may answer. No token is shorter than one byte of UTF-8, so a prompt has no
more tokens than its body has bytes; what is not in the body (files, documents, a stored conversation) is bounded by the
model's context window. For callers with a budget (`exact`) whatever cannot be bounded, or changes the price of a token,
is refused with what to write instead; for others the bound is the best there is.

Budget: 2 µs for a chat of plain texts; 0.8 µs on 2026-11-26, by hand with timeit. It is the same for texts of any
length, since none is read: tests/unit/services/gateway/test_bounds.py holds that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from slipway.services.gateway.models import MOST_AMOUNT, MOST_TOKENS, InvalidParameter, Price

Wire = Literal["openai", "anthropic"]

# What providers add to a prompt: the marks of roles and, with tools, instructions of theirs. Once more for each tool
# whose description is the provider's.
ADDED_TOKENS: Final = 1_000
UNKNOWN_IMAGE_TOKENS: Final = 50_000  # more than any figure found for one image (ADR 0015)
# For callers without a budget, where neither the request nor anybody else says: only rate limits count with it.
UNKNOWN_OUTPUT_TOKENS: Final = 4_096
MAX_CHOICES: Final = 1_000  # of `n`; OpenAI takes 128
_MARKS_TOKENS: Final = 8  # begin and end of each text that is embedded, generously
_WHOLE_CONTEXT: Final = -1

_TEXT_PARTS: Final = frozenset(
    {"text", "refusal", "tool_use", "thinking", "redacted_thinking", "tool_result", "search_result"}
)
_OWN_TOOLS: Final = ("bash_", "text_editor_", "computer_", "memory_")  # Anthropic's that run at the caller's
_STORED: Final = frozenset({"previous_response_id", "conversation", "cached_content"})


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model's limits; None where it is not."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    image_tokens: int | None = None


@dataclass(slots=True)
class Bound:
    """The most tokens of input and of output."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Input and output."""
        return min(self.prompt_tokens + self.completion_tokens, MOST_AMOUNT)

    def usd_micros(self, price: Price) -> int:
        """The most that they cost."""
        return min(price.bound_usd_micros(self.prompt_tokens, self.completion_tokens), MOST_AMOUNT)


def chat_bound(
    wire: Wire, body: Mapping[str, Any], size_bytes: int, facts: ModelFacts, *, cap_tokens: int | None, exact: bool
) -> Bound:
    """The bound of a chat with `body`; `cap_tokens` is what the plan lets one request write.

    `size_bytes` is the longest that its JSON is, as the caller sent it or as a provider gets it: `1e15` is written
    again as `1000000000000000.0`. Raises InvalidParameter for figures that mean nothing, for more output than the cap
    and, when `exact`, for what has no bound.
    """
    if exact:
        _refuse_extras(wire, body)
    return Bound(
        _prompt_tokens(body, size_bytes, facts, exact=exact),
        _completion_tokens(body, facts, cap_tokens, exact=exact),
    )


def embedding_bound(inputs: Sequence[str], facts: ModelFacts | None = None) -> Bound:
    """The bound of texts to embed; no text counts more than the model's context."""
    most = None if facts is None else facts.context_tokens
    sizes = (_size_bytes(text) + _MARKS_TOKENS for text in inputs)
    return Bound(sum(sizes if most is None else (min(size, most) for size in sizes)), 0)


def capped(wire: Wire, body: Mapping[str, Any], cap_tokens: int | None, facts: ModelFacts | None = None) -> int | None:
    """The `max_tokens` to put into the provider's body, when the caller states none and its plan has a cap."""
    if cap_tokens is None or _stated_tokens(body) is not None:
        return None
    return _capped_tokens(cap_tokens, _choices(body) if wire == "openai" else 1, facts or ModelFacts())


def _capped_tokens(cap_tokens: int, choices: int, facts: ModelFacts) -> int:
    each = max(cap_tokens // choices, 1)
    return each if facts.max_output_tokens is None else min(each, facts.max_output_tokens)


def _completion_tokens(body: Mapping[str, Any], facts: ModelFacts, cap_tokens: int | None, *, exact: bool) -> int:
    choices = _choices(body) if "n" in body else 1
    if cap_tokens is not None and choices > cap_tokens:  # each writes a token at least
        raise InvalidParameter("n", f"The plan lets one request write {cap_tokens} tokens: ask for fewer choices.")
    stated = _stated_tokens(body)
    if stated is not None:
        if cap_tokens is not None and stated * choices > cap_tokens:
            raise InvalidParameter(
                "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens",
                f"The plan lets one request write {cap_tokens} tokens: ask for that many or fewer"
                f"{', over all choices of `n` together' if choices > 1 else ''}.",
            )
        each = stated
    elif cap_tokens is not None:
        each = _capped_tokens(cap_tokens, choices, facts)
    elif facts.max_output_tokens is not None:
        each = facts.max_output_tokens
    elif exact:
        raise InvalidParameter(
            "max_tokens",
            "This caller has a budget, and nothing says how much this model may write: state max_tokens, or have its "
            "max_output_tokens written into the manifest.",
        )
    else:
        each = UNKNOWN_OUTPUT_TOKENS
    if "prediction" in body:  # what a provider drops of a prediction is charged like output
        each += _texts_bytes(body["prediction"])
    return each * choices


def _stated_tokens(body: Mapping[str, Any]) -> int | None:
    """What the caller bounds an answer by. Odd figures are refused without a budget too, or a plan's cap is none."""
    most: int | None = None
    for key in ("max_tokens", "max_completion_tokens"):
        value = body.get(key)
        if value is not None:
            stated = _figure(key, value, MOST_TOKENS)
            most = stated if most is None else max(most, stated)
    return most


def _choices(body: Mapping[str, Any]) -> int:
    value = body.get("n")
    return 1 if value is None else _figure("n", value, MAX_CHOICES)


def _figure(key: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidParameter(key, f"{key} must be a whole number of 1 or more, {most:,} at most.")
    return value


def _prompt_tokens(body: Mapping[str, Any], size_bytes: int, facts: ModelFacts, *, exact: bool) -> int:
    tokens = size_bytes + ADDED_TOKENS
    whole = False
    messages = body.get("messages")
    if type(messages) is list:
        for message in messages:
            if type(message) is dict:
                content = message.get("content")
                if type(content) is list:
                    more = _parts_tokens(content, facts, exact=exact)
                    whole = whole or more == _WHOLE_CONTEXT
                    tokens += max(more, -tokens) if more != _WHOLE_CONTEXT else 0
                if "audio" in message:  # OpenAI: what the model said before, by its id
                    whole = whole or message["audio"] is not None
    if "tools" in body:
        tokens += ADDED_TOKENS * sum(1 for tool in _listed(body["tools"]) if _is_own(tool))
    if not _STORED.isdisjoint(body):
        whole = whole or any(body.get(key) is not None for key in _STORED)
    context = facts.context_tokens
    if whole and context is None and exact:
        raise InvalidParameter(
            "messages",
            "This caller has a budget, and what a part refers to has no size here: send its text instead, or have the "
            "model's context_tokens written into the manifest.",
        )
    if context is None:
        return tokens
    return context if whole else min(tokens, context)


def _parts_tokens(parts: Sequence[Any], facts: ModelFacts, *, exact: bool) -> int:
    """What parts take beyond their bytes (less than nothing for inline images), or _WHOLE_CONTEXT."""
    found = 0
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if type(part) is not dict:
            continue
        kind = part.get("type")
        if kind in _TEXT_PARTS:
            nested = part.get("content")
            if type(nested) is list:
                waiting.extend(nested)
        elif kind in ("image_url", "image"):
            found += _image_tokens(_inline_bytes(part), facts.image_tokens)
        elif kind == "document":
            source = part.get("source")
            form = source.get("type") if type(source) is dict else None
            nested = source.get("content") if form == "content" and type(source) is dict else None
            if type(nested) is list:
                waiting.extend(nested)
            elif form not in ("text", "content"):
                return _WHOLE_CONTEXT
        elif kind == "input_audio" and exact:
            raise InvalidParameter(
                "messages", "This caller has a budget, and sound has prices of its own: send text instead."
            )
        else:
            return _WHOLE_CONTEXT
    # -1 means something else, and one token more is still a bound.
    return 0 if found == _WHOLE_CONTEXT else found


def _image_tokens(inline_bytes: int, known_tokens: int | None) -> int:
    # With a known figure it replaces the inline bytes; without one they count when there are more of them.
    return max(UNKNOWN_IMAGE_TOKENS - inline_bytes, 0) if known_tokens is None else known_tokens - inline_bytes


def _inline_bytes(part: Mapping[str, Any]) -> int:
    """How many bytes of the body are the picture itself: base64, so that they are not escaped or spread."""
    url = part.get("image_url")
    text = url.get("url") if type(url) is dict else url
    if type(text) is str:
        return len(text) if text.startswith("data:image/") else 0
    source = part.get("source")
    if type(source) is dict and source.get("type") == "base64" and type(source.get("data")) is str:
        return len(source["data"])
    return 0


def _texts_bytes(value: object) -> int:
    if isinstance(value, str):
        return _size_bytes(value)
    if isinstance(value, list):
        return sum(map(_texts_bytes, value))
    if isinstance(value, dict):
        return sum(map(_texts_bytes, value.values()))
    return 0


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_own(tool: object) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind.startswith(_OWN_TOOLS)


def _refuse_extras(wire: Wire, body: Mapping[str, Any]) -> None:
    """Refuses what costs fees beyond tokens, or another price for them."""
    if not _EXTRA_KEYS[wire].isdisjoint(body):
        rules = _EXTRAS[wire]
        for key in rules.keys() & body.keys():
            value = body[key]
            if value is not None:
                instead = rules[key](value)
                if instead is not None:
                    raise InvalidParameter(
                        key, f"This caller has a budget, and {key} changes what is charged: {instead}"
                    )


def _but(*allowed: str) -> Callable[[object], str | None]:
    words = " or ".join(f"`{word}`" for word in allowed)

    def instead(value: object) -> str | None:
        return None if value in allowed else f"leave it out, or write {words}."

    return instead


def _never(value: object) -> str | None:
    return "leave it out." if value not in ({}, [], False) else None


def _one(value: object) -> str | None:
    return None if value == 1 and type(value) is int else "leave it out, or write 1."


def _only_text(value: object) -> str | None:
    return None if value == ["text"] else 'leave it out, or write ["text"].'


def _function_tools(value: object) -> str | None:
    for tool in _listed(value):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in ("function", "custom"):
            return f"tools of type {str(kind)[:60]!r} have fees of their own, declare a function instead."
    return None


def _client_tools(value: object) -> str | None:
    for tool in _listed(value):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in (None, "custom") and not _is_own(tool):
            return f"tools of type {str(kind)[:60]!r} run at the provider for fees, declare a tool of your own instead."
    return None


def _no_compaction(value: object) -> str | None:
    edits = _listed(value.get("edits")) if isinstance(value, dict) else []
    compacts = any(isinstance(edit, dict) and str(edit.get("type")).startswith("compact") for edit in edits)
    return "leave compaction out: it is written and charged besides max_tokens." if compacts else None


# Keys by which OpenRouter and gateways like it choose another model, or another price for it, on either wire.
_ROUTED: Final[Mapping[str, Callable[[object], str | None]]] = {
    "models": _never,
    "route": _never,
    "preset": _never,
    "provider": _never,
    "plugins": _never,
    "fallbacks": _never,
}
# Keys whose value may cost more than tokens at the model's price, each with what to write instead.
_EXTRAS: Final[Mapping[Wire, Mapping[str, Callable[[object], str | None]]]] = {
    "openai": {
        "service_tier": _but("default", "auto", "flex"),
        "web_search_options": lambda value: "leave it out.",  # noqa: ARG005 also an empty one searches
        "modalities": _only_text,
        "audio": _never,
        "tools": _function_tools,
        "prompt_cache_retention": _but("in_memory", "in-memory"),
        "prompt_cache_options": _never,
        "speed": _but("standard"),
        "extra_body": _never,
        "best_of": _one,  # all of them are written and charged, one is answered
        **_ROUTED,
    },
    "anthropic": {
        "service_tier": _but("auto", "standard_only"),
        "tools": _client_tools,
        "mcp_servers": _never,
        "container": _never,
        "speed": _but("standard"),
        "inference_geo": _but("global"),
        "context_management": _no_compaction,
        **_ROUTED,
    },
}
_EXTRA_KEYS: Final[Mapping[Wire, frozenset[str]]] = {wire: frozenset(rules) for wire, rules in _EXTRAS.items()}
