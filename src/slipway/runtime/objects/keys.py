"""Which keys are allowed: the same rule for every adapter, so that none can be led out of its tenant."""

import re
from typing import Final

from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,127}")
_MAX_SEGMENTS: Final = 8  # arbitrary; the platform uses three


def tenant_key(caller: Caller, key: str) -> str:
    """`key` with its tenant in front; raises InvalidRequest for anything but plain segments (`..` is none)."""
    segments = [caller.tenant_id, *key.split("/")]
    if len(segments) > _MAX_SEGMENTS or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise InvalidRequest("This is not the key of an object.", detail=repr(key))
    return "/".join(segments)
