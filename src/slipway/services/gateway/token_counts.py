"""Tokens as each wire's `usage` counts them, and a provider's id of an answer, read from whatever it sends.

Called by relays, answer readers and adapters. A count that is no whole number of 0 or more counts as absent, and
without the prompt's there is no count at all; one that no request means is cut, so that books can hold it. OpenAI's
prompt includes cached tokens; Anthropic's and Bedrock's input excludes them.
"""

from collections.abc import Mapping
from typing import Any, Final

from slipway.services.gateway.models import MOST_TOKENS, Tokens

_ID_CHARACTERS: Final = 200  # arbitrary; OpenAI's have 40


def provider_id(value: Any) -> str | None:
    """A provider's own id of an answer as a row keeps it: printable ASCII, 200 characters at most; None for nothing."""
    if not isinstance(value, str):
        return None
    kept = value[:_ID_CHARACTERS]
    if not kept.isascii() or not kept.isprintable():
        kept = "".join(character for character in kept if character.isascii() and character.isprintable())
    return kept or None


def openai_tokens(usage: Any) -> Tokens | None:
    """Tokens of OpenAI's `usage`; None when it does not count."""
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "prompt_tokens")
    if prompt is None:
        return None
    completion = _count(usage, "completion_tokens") or 0
    details = usage.get("prompt_tokens_details")
    if not isinstance(details, dict):
        return Tokens(prompt, completion)
    read = min(_count(details, "cached_tokens") or 0, prompt)
    written = min(_count(details, "cache_write_tokens") or 0, prompt - read)
    return Tokens(prompt, completion, read, written)


def anthropic_tokens(usage: Any) -> Tokens | None:
    """Tokens of Anthropic's `usage`; None when it does not count."""
    if not isinstance(usage, dict):
        return None
    uncached = _count(usage, "input_tokens")
    if uncached is None:
        return None
    read = _count(usage, "cache_read_input_tokens") or 0
    parts = usage.get("cache_creation")
    parts = parts if isinstance(parts, dict) else {}
    hour = _count(parts, "ephemeral_1h_input_tokens") or 0
    minutes = _count(parts, "ephemeral_5m_input_tokens") or 0
    written = max(_count(usage, "cache_creation_input_tokens") or 0, hour + minutes)
    completion = _count(usage, "output_tokens") or 0
    return Tokens(uncached + read + written, completion, read, written - hour, hour)


def converse_tokens(usage: Any) -> Tokens | None:
    """Tokens of Converse's `usage`; None when it does not count."""
    if not isinstance(usage, dict):
        return None
    uncached = _count(usage, "inputTokens")
    if uncached is None:
        return None
    read = _count(usage, "cacheReadInputTokens") or 0
    details = usage.get("cacheDetails")
    hours = [
        _count(item, "inputTokens") or 0
        for item in (details if isinstance(details, list) else [])
        if isinstance(item, dict) and item.get("ttl") == "1h"
    ]
    hour = min(sum(hours), MOST_TOKENS)
    written = max(_count(usage, "cacheWriteInputTokens") or 0, hour)
    completion = _count(usage, "outputTokens") or 0
    return Tokens(uncached + read + written, completion, read, written - hour, hour)


def openai_usage(tokens: Tokens) -> dict[str, Any]:
    """OpenAI's `usage` of these tokens."""
    usage: dict[str, Any] = {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.total,
    }
    written = tokens.cache_write + tokens.cache_write_1h
    if tokens.cache_read or written:
        usage["prompt_tokens_details"] = {"cached_tokens": tokens.cache_read}
        if written:
            usage["prompt_tokens_details"]["cache_write_tokens"] = written
    return usage


def anthropic_usage(tokens: Tokens) -> dict[str, Any]:
    """Anthropic's `usage` of these tokens."""
    written = tokens.cache_write + tokens.cache_write_1h
    usage: dict[str, Any] = {
        "input_tokens": max(tokens.prompt - tokens.cache_read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.completion,
    }
    if tokens.cache_write_1h:
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": tokens.cache_write,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        }
    return usage


def _count(usage: Mapping[str, Any], key: str) -> int | None:
    value = usage.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return min(value, MOST_TOKENS)
