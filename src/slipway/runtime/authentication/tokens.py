"""Verifies JWTs: signature with the issuer's key, then `iss`, `aud`, `exp`, `nbf` and `iat` by our clock (RFC 8725).

Knows nothing of tenants or roles: it answers with claims that are proven to be the issuer's and meant for us.
"""

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import jwt

from slipway.base.clock import Clock
from slipway.base.errors import Unauthenticated
from slipway.runtime.authentication.jwks import KeySource, VerificationKey

MAX_TOKEN_BYTES: Final = 16 * 1024  # what servers commonly take for all headers together
_LEEWAY_S: Final = 30.0
_MAX_CANDIDATES: Final = 4  # an issuer that names this many keys alike has them all tried, and no more
_INVALID: Final = "This token is not valid."
_YEAR_3000_S: Final = 32_503_680_000
# Base64url without padding, its unused last bits zero (RFC 4648, 3.5): the one way to write a part. The library's
# decoder skips what it does not know, so that one token would have many spellings.
_PART: Final = r"(?=[\w-])(?:[\w-]{4})*+(?:[\w-][AQgw]|[\w-]{2}[AEIMQUYcgkosw048])?"
_FORM: Final = re.compile(rf"{_PART}\.{_PART}\.{_PART}", re.ASCII)


def unverified_issuer(token: str) -> str:
    """The `iss` that a token claims, to find the keys to verify it with; raises Unauthenticated when it has none."""
    if len(token) > MAX_TOKEN_BYTES:
        raise Unauthenticated(f"This token is longer than {MAX_TOKEN_BYTES} bytes.")
    check_form(token)
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise Unauthenticated("This credential is not valid.", detail=repr(error)) from error
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise Unauthenticated(_INVALID, detail="it names no issuer")
    return issuer


def check_form(token: str) -> None:
    """Raises Unauthenticated for every spelling of a token but the one that its issuer wrote."""
    if _FORM.fullmatch(token) is None:
        raise Unauthenticated("This credential is not valid.", detail="it does not have the form of a token")


class TokenVerifier:
    """Verifies the tokens of one issuer that are meant for one of `audiences`."""

    def __init__(self, issuer: str, audiences: Collection[str], keys: KeySource, clock: Clock) -> None:
        self._issuer, self._audiences, self._keys, self._clock = issuer, frozenset(audiences), keys, clock

    async def claims(self, token: str) -> Mapping[str, Any]:
        """The claims of `token`; raises Unauthenticated, or Unavailable when the issuer's keys cannot be had."""
        kid = _kid(token)
        candidates = await self._keys.keys(kid)
        for candidate in candidates[:_MAX_CANDIDATES]:
            claims = _verified(token, candidate)
            if claims is not None:
                self._check(claims)
                return claims
        raise Unauthenticated(_INVALID, detail=f"none of the {len(candidates)} keys named {kid!r} verifies it")

    def _check(self, claims: Mapping[str, Any]) -> None:
        if str(claims.get("iss")).rstrip("/") != self._issuer.rstrip("/"):
            raise Unauthenticated(_INVALID, detail="another issuer")
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if not any(isinstance(name, str) and name in self._audiences for name in named):
            raise Unauthenticated("This token is not meant for this platform.", detail=f"aud {audience!r}")
        now_s = self._clock.now().timestamp()
        expires_s = _seconds(claims, "exp")
        if expires_s is None:
            raise Unauthenticated(_INVALID, detail="it never expires")
        if expires_s + _LEEWAY_S <= now_s:
            raise Unauthenticated("This token has expired.")
        for name in ("nbf", "iat"):
            starts_s = _seconds(claims, name)
            if starts_s is not None and starts_s - _LEEWAY_S > now_s:
                raise Unauthenticated("This token is not valid yet.", detail=name)


def expiry_of(claims: Mapping[str, Any]) -> datetime:
    """When checked claims end, without leeway: a cached token is not honoured any longer than that."""
    return datetime.fromtimestamp(min(float(claims["exp"]), _YEAR_3000_S), UTC)


def _kid(token: str) -> str | None:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise Unauthenticated(_INVALID, detail=repr(error)) from error
    kid = header.get("kid")
    if "crit" in header or not (kid is None or isinstance(kid, str)):
        raise Unauthenticated(_INVALID, detail="its header asks for what is not understood")
    return kid


def _verified(token: str, candidate: VerificationKey) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            candidate.key,
            algorithms=[candidate.algorithm],
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
        return None
    return claims


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e15:
        raise Unauthenticated(_INVALID, detail=f"{name} is not a time")
    return float(value)
