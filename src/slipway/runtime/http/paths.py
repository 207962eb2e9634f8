"""Paths that say one thing to a proxy and another to us: refused before there is a route, for all routes alike.

The server decodes a path before it is routed. `/v1%2fusage` would reach a route that a rule in front of us, which reads
what was sent, does not see. The application's outermost layer calls it.
"""

import re
from collections.abc import Iterable
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from slipway.base.errors import InvalidRequest
from slipway.runtime.http.problems import MEDIA_TYPE, for_openai, problem

# Encoded control characters, slash, backslash; letters, digits, `-`, `.` and `_`, which no client has to encode: a path
# of ours in another spelling, dot-segments among them.
_HIDDEN: Final = re.compile(rb"%(?:[01].|2[DEF]|3\d|[46][1-9A-F]|[57][0-9A]|5[CF]|7F)", re.IGNORECASE)
_SLASH: Final = re.compile(rb"%2F", re.IGNORECASE)
_DOTS: Final = frozenset({b".", b".."})


def is_hidden(raw_path: bytes, names_below: Iterable[bytes] = ()) -> bool:
    """Whether a path as it was sent has encoded what decides where it leads.

    Below `names_below` stand names that may hold slashes; OpenAI's clients encode them.
    """
    if _HIDDEN.search(raw_path) is None:
        return False
    for prefix in names_below:
        if raw_path.startswith(prefix):
            name = _SLASH.sub(b"/", raw_path[len(prefix) :])
            return _HIDDEN.search(name) is not None or not _DOTS.isdisjoint(name.split(b"/"))
    return True


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request with such a path."""
    error = InvalidRequest("This path has encoded characters that must not be encoded in it: write them as they are.")
    status, headers, body = problem(error, str(scope.get("state", {}).get("request_id", "")))
    await JSONResponse(for_openai(body), status, headers, media_type=MEDIA_TYPE)(scope, receive, send)
