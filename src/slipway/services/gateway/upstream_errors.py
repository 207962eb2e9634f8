"""What a provider's failures are in our errors: the status keeps its class, our key never leaves.

A refusal of the request itself carries the provider's own sentence, since only it says what to change; a refusal of
*our* credential says nothing, since providers repeat a part of the key in it, and one of their limits is in our words.
"""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

from slipway.base.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LimitExceeded,
    SlipwayError,
    TooLarge,
    Unavailable,
    UpstreamFailed,
)

_MAX_MESSAGE: Final = 1000
_MAX_RETRY_AFTER_S: Final = 3600.0


class Headers(Protocol):
    """Headers by their names in lower case."""

    def get(self, name: str, /) -> str | None: ...


def answered(status: int, headers: Headers, content: bytes, key: str | None) -> SlipwayError:
    """The error that an answer other than 200 stands for."""
    message, detail = _message(content, key), f"the provider answered {status}"
    retry_after_s = _retry_after_s(headers)
    if status == 429:
        if _quota(content):
            return limited(f"{detail}: {message}", retry_after_s=retry_after_s, retryable=False)
        return limited(f"{detail}: {message}", retry_after_s=1.0 if retry_after_s is None else retry_after_s)
    if status == 413:
        return TooLarge(message or "The request is too large for the model's provider.", detail=detail)
    if status in (400, 409, 415, 422):
        return InvalidRequest(message or "The model's provider refused the request.", detail=detail)
    if status in (408, 504):
        # Somebody on the way lost patience: the model may have gone on, and may be charged for.
        return DeadlineExceeded("The model's provider ran out of time.", detail=detail, effect_unknown=True)
    if status in (503, 529):
        return Unavailable(
            "The model's provider is overloaded or away.", detail=f"{detail}: {message}", retry_after_s=retry_after_s
        )
    if status >= 500:
        return UpstreamFailed(
            f"The model's provider failed with status {status}.",
            detail=f"{detail}: {message}",
            retry_after_s=retry_after_s,
        )
    # 401, 403, 404, redirects: the manifest names a wrong key, address or model, which no caller can mend.
    return UpstreamFailed(
        f"The model's provider does not accept this platform's settings for it (status {status}): "
        "check the model's api_key_env, base_url and id in the manifest.",
        detail=detail,
        retryable=False,
    )


def limited(detail: str, *, retry_after_s: float | None, retryable: bool = True) -> LimitExceeded:
    """A provider's limit, in our words: its own name the operator's account and organisation there."""
    public = "The model's provider allows this platform no more requests for now"
    if not retryable:
        public = "What this platform may use of the model's provider is used up"
    when = "." if retry_after_s is None else f": try again in {retry_after_s:.3g} s."
    return LimitExceeded(public + when, detail=detail, retry_after_s=retry_after_s, retryable=retryable)


def event_failed(kind: str, payload: bytes) -> SlipwayError:
    """The error that a frame of a Bedrock stream stands for; `kind` is its exception's name."""
    message = _message(payload, None) or "The model's provider failed while it answered."
    if kind == "throttlingException":
        return limited(f"{kind}: {message}", retry_after_s=1.0)
    if kind == "validationException":
        return InvalidRequest(message, detail=kind)
    if kind == "serviceUnavailableException":
        return Unavailable(message, detail=kind)
    return UpstreamFailed(message, detail=kind)


def _message(content: bytes, key: str | None) -> str:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    return _text(body.get("error", body), key) if isinstance(body, dict) else ""


def _text(error: Any, key: str | None) -> str:
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    if not isinstance(text, str):
        return ""
    if key:
        text = text.replace(key, "…")
    return text[:_MAX_MESSAGE]


def _quota(content: bytes) -> bool:
    """Whether the 429 says that money is used up, which no waiting mends."""
    return b"insufficient_quota" in content


def _retry_after_s(headers: Headers) -> float | None:
    """RFC 9110 section 10.2.3: seconds or a date. A figure that is no time is no answer."""
    text = (headers.get("retry-after") or "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S) if seconds == seconds else None
