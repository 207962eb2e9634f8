"""Asks the platform by HTTP, from outside, as a user would: certificates are checked and redirects are not followed."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from slipway.base.errors import Misconfigured

_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `status` is 0 when nothing did, and `body` says why."""

    status: int
    body: str

    @property
    def content(self) -> Any:
        """The body as JSON, or nothing."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def ask(base: str, path: str, credential: str | None = None) -> Answer:
    """GET of a path below `base`; raises Misconfigured for what is no address."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(f"{base!r} is no address of a platform.")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    headers = {"accept": "application/json"}
    if credential is not None:
        headers["authorization"] = f"Bearer {credential}"
    try:
        connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read(_MAX_BYTES).decode("utf-8", "replace"))
    except (OSError, HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def is_healthy(base: str) -> bool:
    """Whether a platform answers there, and says that it lives."""
    return ask(base, "/health").status == 200
