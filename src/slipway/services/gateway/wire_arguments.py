"""Arguments of tool calls, which are text of JSON on one wire and an object on the others."""

import json
from typing import Any

from slipway.base.errors import UpstreamFailed
from slipway.services.gateway.models import InvalidParameter
from slipway.services.gateway.nesting import MAX_LEVELS, nests_too_deeply


def json_text(value: Any) -> str:
    """JSON in the fewest characters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def arguments_object(text: str, param: str) -> dict[str, Any]:
    """The object in the arguments of a caller's tool call, empty when there is no text; raises InvalidParameter."""
    value = _object(text)
    if value is None:
        raise InvalidParameter(param, f"{param} must be the text of a JSON object of {MAX_LEVELS} levels or fewer.")
    return value


def answered_arguments(text: str) -> dict[str, Any]:
    """The object in the arguments of a model's tool call; raises UpstreamFailed when it is none."""
    value = _object(text)
    if value is None:
        raise UpstreamFailed(
            "The model asked for a tool with arguments that are not a JSON object, or nest too deeply: try again, with "
            "a larger max_tokens if the answer was cut off.",
            retryable=False,
        )
    return value


def is_whole(text: str) -> bool:
    """Whether the text is a JSON object from its brace to its brace."""
    return bool(text) and _object(text) is not None


def _object(text: str) -> dict[str, Any] | None:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not nests_too_deeply(value, len(text)) else None
