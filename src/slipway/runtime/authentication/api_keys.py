"""The form of API keys: `sk-slip-<12 characters>-<43 characters>`.

The twelve characters name the key and may be shown; the 43 are the secret. A fixed form lets secret scanners find a
leaked key: `sk-slip-[0-9a-z]{12}-[0-9A-Za-z]{43}`. The secret is 256 random bits, so a plain SHA-256 of the whole key
is what is stored: a slow hash protects passwords that people choose, and would cost milliseconds here for nothing.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LETTERS_BOTH_CASES: Final = _LETTERS + _LETTERS.upper()
_START: Final = "sk-slip-"
_FORM: Final = re.compile(r"sk-slip-([0-9a-z]{12})-[0-9A-Za-z]{43}", re.ASCII)


@dataclass(frozen=True)
class MadeKey:
    """A new API key: `secret` is the whole of it and is shown once; `prefix` and `hash` are what is kept."""

    secret: str = field(repr=False)
    prefix: str
    hash: bytes


def api_key_make() -> MadeKey:
    """A new random key."""
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(12))
    secret = f"{_START}{prefix}-{random_text()}"
    return MadeKey(secret, prefix, credential_hash(secret))


def random_text() -> str:
    """43 letters and digits: 256 random bits."""
    return "".join(secrets.choice(_LETTERS_BOTH_CASES) for _ in range(43))


def credential_hash(credential: str) -> bytes:
    """SHA-256 of a whole credential: what is stored of random ones, and the key of every cache."""
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()


def api_key_prefix(credential: str) -> str | None:
    """The prefix of a credential that has the form of an API key, None of any other."""
    match = _FORM.fullmatch(credential)
    return match[1] if match else None
