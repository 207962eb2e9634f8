"""Asks the platform from outside, as a user would: whether it lives, and whether it can serve.

Called every few minutes by a schedule. It fails when the platform does, and an alarm counts its failures.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from slipway.base.errors import Unavailable
from slipway.functions.environment import Environment

PATHS: Final = ("/health", "/ready")
_TIMEOUT_S: Final = 10.0


def handler(event: Mapping[str, Any], _context: object) -> dict[str, float]:
    """Milliseconds of each answer, by path; raises Unavailable for the first that is none."""
    return check(Environment().text("PLATFORM_URL"))


def check(url: str) -> dict[str, float]:
    """As `handler`, for a platform at `url`."""
    if not url.startswith(("http://", "https://")):
        raise Unavailable(f"{url!r} is no address of a platform.")
    return {path: _asked(url.rstrip("/") + path) for path in PATHS}


def _asked(address: str) -> float:
    started = time.monotonic()
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:  # noqa: S310 the scheme was looked at
            body = answer.read(64 * 1024)
    except urllib.error.HTTPError as error:
        raise Unavailable(f"{address} answered {error.code}.") from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"{address} does not answer: {error}.") from error
    try:
        json.loads(body)
    except ValueError as error:
        raise Unavailable(f"{address} answered something that is no JSON: is it the platform?") from error
    return round((time.monotonic() - started) * 1000, 1)
