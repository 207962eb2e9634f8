"""Tokens of the built-in issuer: verified with the keys in the database, held against the user or client as it is now.

So a deleted user's tokens end within a second, and a role that was taken away is gone from tokens made before.
"""

from datetime import timedelta
from typing import Final

from slipway.base.callers import ROLE_SCOPES, Caller
from slipway.base.clock import Clock
from slipway.base.errors import Unauthenticated
from slipway.runtime.authentication.issuers import OWN_TENANT_CLAIM, narrowed_by_claim, text_claim
from slipway.runtime.authentication.jwks import VerificationKey, matching, verification_keys
from slipway.runtime.authentication.stored import StoredIdentities
from slipway.runtime.authentication.tokens import TokenVerifier, expiry_of
from slipway.runtime.authentication.verified import Verified

TOKEN_STALE_S: Final = 60.0
_KEYS_REFRESH_S: Final = 60.0
_UNKNOWN_KEY_EVERY_S: Final = 1.0


class StoredKeys:
    """The built-in issuer's public keys, read from the database: every process has them, wherever the issuer runs."""

    def __init__(self, stored: StoredIdentities, clock: Clock) -> None:
        self._stored, self._clock = stored, clock
        self._keys: list[VerificationKey] = []
        self._read_at_s = float("-inf")

    async def keys(self, kid: str | None) -> list[VerificationKey]:
        """The keys named `kid`; raises Unavailable when they are not known and the database is away."""
        now_s = self._clock.monotonic_s()
        age_s = now_s - self._read_at_s
        if age_s > _KEYS_REFRESH_S or (not matching(self._keys, kid) and age_s >= _UNKNOWN_KEY_EVERY_S):
            self._keys = verification_keys({"keys": await self._stored.signing_keys()})
            self._read_at_s = now_s
        return matching(self._keys, kid)


class OwnTokens:
    """Verifies access tokens of the built-in issuer."""

    def __init__(self, verifier: TokenVerifier, stored: StoredIdentities, clock: Clock) -> None:
        self._verifier, self._stored, self._clock = verifier, stored, clock

    async def verified(self, token: str) -> Verified:
        """The caller behind an access token; raises Unauthenticated or Unavailable."""
        claims = await self._verifier.claims(token)
        tenant_id, subject = text_claim(claims, OWN_TENANT_CLAIM), text_claim(claims, "sub")
        standing = await self._stored.subject(tenant_id, subject)
        if standing is None:
            raise Unauthenticated("This token is not valid.", detail="its subject was deleted")
        allowed = ROLE_SCOPES[standing.role]
        if standing.scopes is not None:
            allowed &= standing.scopes
        caller = Caller(
            tenant_id=standing.tenant_id,
            subject=standing.id,
            scopes=narrowed_by_claim(allowed, claims, strict=True),
            role=standing.role,
        )
        stale_at_s = self._clock.monotonic_s() + TOKEN_STALE_S
        expires_at = min(expiry_of(claims), self._clock.now() + timedelta(days=1))
        return Verified(caller, standing.id, standing.version, stale_at_s, expires_at)
