"""Server-sent events (WHATWG HTML section 9.2) as our streaming routes write them: a name and a line of JSON."""

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse


def encode_event(name: str, data: Any) -> bytes:
    """One event; `data` is anything that JSON can hold."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def event_response(events: AsyncIterator[bytes]) -> StreamingResponse:
    """A response that no proxy should hold back or keep."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
