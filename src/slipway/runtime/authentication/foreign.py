"""Tokens of foreign OIDC issuers: their tenant claim names one of our tenants by its `external_id`.

The subject carries a mark of its issuer, so that no issuer can speak of a user of another, or of ours.
"""

import hashlib

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import Unauthenticated
from slipway.runtime.authentication.issuers import IssuerConfig, foreign_role, narrowed_by_claim, text_claim
from slipway.runtime.authentication.own import TOKEN_STALE_S
from slipway.runtime.authentication.stored import StoredIdentities
from slipway.runtime.authentication.tokens import TokenVerifier, expiry_of
from slipway.runtime.authentication.verified import Verified


class ForeignTokens:
    """Verifies the tokens of one foreign issuer."""

    def __init__(self, config: IssuerConfig, verifier: TokenVerifier, stored: StoredIdentities, clock: Clock) -> None:
        self._config, self._verifier, self._stored, self._clock = config, verifier, stored, clock
        self._mark = hashlib.sha256(config.issuer.encode()).hexdigest()[:8]

    async def verified(self, token: str) -> Verified:
        """The caller behind a token; raises Unauthenticated or Unavailable."""
        claims = await self._verifier.claims(token)
        subject = f"oidc_{self._mark}:{text_claim(claims, 'sub')}"
        tenant_id = await self._stored.tenant_of(text_claim(claims, self._config.tenant_claim))
        if tenant_id is None:
            raise Unauthenticated("This token is not valid.", detail="its tenant is not one of ours")
        role, scopes = foreign_role(self._config, claims)
        caller = Caller(
            tenant_id=tenant_id,
            subject=subject,
            scopes=narrowed_by_claim(scopes, claims, strict=False),
            role=role,
        )
        stale_at_s = self._clock.monotonic_s() + TOKEN_STALE_S
        return Verified(caller, subject, None, stale_at_s, expiry_of(claims))
