"""Internal tokens: what a call between parts carries when one part acts for somebody (RFC 8693 `act`).

Symmetric on purpose: every process of one platform both signs and verifies, with a key derived from the secret they
share (`SLIPWAY_SECRET_KEY`, or `secret.key` in the home). A token lives for five minutes and carries no more scopes
than the call needs. Several secrets may be given: the first signs, each verifies, so a secret is rotated without a
pause.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from slipway.base.callers import Caller, Role, Scope, known_scopes
from slipway.base.errors import Misconfigured, Unauthenticated
from slipway.runtime.authentication.tokens import check_form

ISSUER: Final = "slipway:internal"
_AUDIENCE: Final = "slipway:parts"
_LIFETIME_S: Final = 300
_RENEW_BEFORE_S: Final = 60
_MAX_CACHED: Final = 4096  # arbitrary; a token is some 500 bytes


def derived_key(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose from the platform's secret (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"slipway {purpose}".encode()).derive(secret)


class InternalTokens:
    """Mints and verifies internal tokens."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """`secrets`: newest first, 32 bytes or more each; Misconfigured otherwise."""
        if not secrets or any(len(secret) < 32 for secret in secrets):
            raise Misconfigured("SLIPWAY_SECRET_KEY needs 32 bytes or more: write one with `openssl rand -base64 48`.")
        self._keys = [derived_key(secret, "internal tokens") for secret in secrets]
        self._minted: dict[Caller, tuple[str, float]] = {}

    def mint(self, caller: Caller, scopes: Iterable[Scope], actor: str) -> str:
        """A token for `caller` with exactly `scopes`, for calls that the part `actor` makes."""
        acted = caller.acted_for(scopes, actor)
        now = time.time()
        cached = self._minted.get(acted)
        if cached is not None and cached[1] - now > _RENEW_BEFORE_S:
            return cached[0]
        claims = {
            "iss": ISSUER,
            "aud": _AUDIENCE,
            "sub": acted.subject,
            "tenant": acted.tenant_id,
            "role": acted.role.value,
            "scope": " ".join(sorted(acted.scopes)),
            "act": {"sub": actor},
            "iat": int(now),
            "exp": int(now) + _LIFETIME_S,
        }
        if acted.key_id is not None:
            claims["key"] = acted.key_id
        token = jwt.encode(claims, self._keys[0], algorithm="HS256")
        if len(self._minted) >= _MAX_CACHED:
            self._minted.clear()
        self._minted[acted] = (token, now + _LIFETIME_S)
        return token

    def verify(self, token: str) -> Caller:
        """The caller that `token` was minted for; raises Unauthenticated."""
        return self.verify_until(token)[0]

    def verify_until(self, token: str) -> tuple[Caller, datetime]:
        """The caller that `token` was minted for, and when it ends; raises Unauthenticated."""
        check_form(token)
        for key in self._keys:
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=["HS256"],
                    issuer=ISSUER,
                    audience=_AUDIENCE,
                    options={"require": ["exp", "iat", "sub", "tenant", "scope", "act"]},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                raise Unauthenticated("This internal token is not valid.", detail=str(error)) from error
            caller = Caller(
                tenant_id=claims["tenant"],
                subject=claims["sub"],
                scopes=known_scopes(claims["scope"].split()),
                role=Role(claims["role"]),
                key_id=claims.get("key"),
                actor=claims["act"]["sub"],
            )
            return caller, datetime.fromtimestamp(claims["exp"], UTC)
        raise Unauthenticated("This internal token is not valid.", detail="no key verifies its signature")
