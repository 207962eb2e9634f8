"""Turns a credential into a Caller: API keys, tokens of OIDC issuers, and the internal tokens between parts."""

from typing import Protocol

from slipway.base.callers import Caller


class Authenticator(Protocol):
    """Verifies a credential of any kind."""

    async def authenticate(self, credential: str) -> Caller:
        """The caller behind `credential`.

        Raises Unauthenticated when it does not hold, Unavailable when the store has been away for longer than a
        verified credential is honoured.
        """
        ...
