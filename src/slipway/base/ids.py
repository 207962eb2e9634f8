"""Time-sortable identifiers: a kind, an underscore and a UUIDv7 in 26 characters (`doc_06g3r8…`).

Within one process ids never go backwards; across processes they sort by millisecond. Source: RFC 9562 section 5.7,
with the 12-bit counter of section 6.2 (method 1); the alphabet is Crockford's base 32 in lower case.
"""

import os
import re
import threading
import time
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_PATTERN: Final = re.compile(r"^[a-z]{2,8}_[0-7][0-9a-hjkmnp-tv-z]{25}$")

_lock = threading.Lock()
_last_tick = 0  # milliseconds << 12 | counter, so that a burst within one millisecond still counts up


def new_id(kind: str) -> str:
    """A new identifier of `kind`, greater than every one this process made before."""
    global _last_tick
    with _lock:
        _last_tick = max(_last_tick + 1, (time.time_ns() // 1_000_000) << 12)
        tick = _last_tick
    milliseconds, counter = tick >> 12, tick & 0xFFF
    value = (milliseconds << 80) | (0x7 << 76) | (counter << 64) | (0b10 << 62) | (int.from_bytes(os.urandom(8)) >> 2)
    return f"{kind}_{_encode(value)}"


def is_id(text: str, kind: str) -> bool:
    """Whether `text` has the form of an identifier of `kind`."""
    return text.startswith(f"{kind}_") and _PATTERN.match(text) is not None


def _encode(value: int) -> str:
    # Two characters at a time: every request has an id, and by single ones it costs three times as much.
    pairs = _PAIRS
    return "".join([pairs[(value >> shift) & 1023] for shift in range(120, -1, -10)])
