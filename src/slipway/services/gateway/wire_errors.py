"""Errors as each wire's clients know them: bodies, events and statuses.

Called by the hot routes and the relays. Source: Anthropic's API reference, errors; OpenAI's envelope is in `wire.py`.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from slipway.base.errors import SlipwayError, Unavailable, UpstreamFailed
from slipway.services.gateway.models import WireName
from slipway.services.gateway.wire import dumped
from slipway.services.gateway.wire import error_body as openai_error_body

_MAX_MESSAGE: Final = 1000
_OVERLOADED: Final = 529  # Anthropic's own status
_ANTHROPIC_TYPES: Final = {
    "invalid_request": "invalid_request_error",
    "unsupported_type": "invalid_request_error",
    "conflict": "invalid_request_error",
    "unauthenticated": "authentication_error",
    "budget_exceeded": "billing_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "limit_exceeded": "rate_limit_error",
    "unavailable": "overloaded_error",
    "deadline_exceeded": "timeout_error",
}

Redact = Callable[[str], str]


def error_body(wire: WireName, error: SlipwayError, request_id: str) -> dict[str, Any]:
    """The error in the envelope of a caller's wire: what may leave the process, and nothing else."""
    if wire != "anthropic":
        return openai_error_body(error)
    kind = _ANTHROPIC_TYPES.get(error.code, "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.public}, "request_id": request_id}


def error_status(wire: WireName, error: SlipwayError) -> int:
    """The HTTP status of an error on a caller's wire."""
    return _OVERLOADED if wire == "anthropic" and isinstance(error, Unavailable) else error.status


def json_bytes(value: Any) -> bytes:
    """JSON as `wire.dumped` writes it, faster; half a surrogate pair and large integers are left to that one."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return dumped(value)


def named_event(payload: dict[str, Any]) -> bytes:
    """One event of Anthropic's streams, named after its type."""
    return b"event: %b\ndata: %b\n\n" % (str(payload["type"]).encode("utf-8", "replace"), json_bytes(payload))


def failed_upstream(error: Any, redacted: Redact) -> UpstreamFailed:
    """The error that a provider announced within a stream or in place of an answer."""
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    message = redacted(text)[:_MAX_MESSAGE] if isinstance(text, str) and text else ""
    return UpstreamFailed(
        message or "The model's provider failed while it answered.", detail="an error event within the stream"
    )
