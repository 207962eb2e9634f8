"""Passwords: hashed with scrypt, as `scrypt$n$r$p$salt$hash`.

Parameters: 32 MiB and some 70 ms on a 2-core machine (2026-11-21), the middle of what OWASP's password storage cheat
sheet lists for scrypt (N=2^15, r=8, p=3 there; p=1 here, since tries at one account are throttled as well).
"""

import base64
import hashlib
import secrets
from hmac import compare_digest
from typing import Final

_N, _R, _P = 2**15, 8, 1
_MAX_MEMORY_BYTES: Final = 64 * 2**20


def password_hash(password: str) -> str:
    """A salted hash; takes tens of milliseconds, so call it off the event loop."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(_derived(password, salt, _N, _R, _P))}"


def password_matches(password: str, hashed: str | None) -> bool:
    """Whether `password` is the one; takes as long without a hash, so that time does not tell who has an account."""
    _, n, r, p, salt, expected = (hashed or _NOBODY).split("$")
    derived = _derived(password, base64.b64decode(salt), int(n), int(r), int(p))
    return compare_digest(derived, base64.b64decode(expected)) and hashed is not None


def _derived(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY_BYTES, dklen=32
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


_NOBODY: Final = f"scrypt${_N}${_R}${_P}${_text(bytes(16))}${_text(bytes(32))}"
