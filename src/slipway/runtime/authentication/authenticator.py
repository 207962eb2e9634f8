"""Turns any credential into a Caller: the one place where API keys, tokens and internal tokens are told apart.

The gateway calls `authenticate` on every request: a credential verified lately costs a hash and a look into a dict,
no database (`bench/authentication`: below 1 µs). What makes that safe is in
`freshness`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final

from slipway.base.callers import ROLE_SCOPES, Caller
from slipway.base.clock import Clock
from slipway.base.errors import Unauthenticated, Unavailable
from slipway.runtime.authentication.api_keys import api_key_prefix, credential_hash
from slipway.runtime.authentication.discovery import DiscoveredKeys, Fetch, fetch_client
from slipway.runtime.authentication.foreign import ForeignTokens
from slipway.runtime.authentication.freshness import Freshness
from slipway.runtime.authentication.internal import ISSUER, InternalTokens
from slipway.runtime.authentication.issuers import IssuerConfig, OwnIssuer
from slipway.runtime.authentication.own import OwnTokens, StoredKeys
from slipway.runtime.authentication.stored import StoredIdentities
from slipway.runtime.authentication.tokens import TokenVerifier, unverified_issuer
from slipway.runtime.authentication.verified import Verified, VerifiedCredentials
from slipway.runtime.database import Database

_LOOKUP_DEADLINE_S: Final = 2.0
_LOOKUPS_AT_ONCE: Final = 4  # so that a flood of made-up keys cannot take every connection of the pool
_KEY_STALE_S: Final = 300.0  # a bound on what a change that no poll could see (a deleted row) goes unnoticed
_MAX_ACTING: Final = 4096  # arbitrary; about 2 MB
_INVALID: Final = "This credential is not valid."
_EXPIRED: Final = "This API key has expired."


def build_authenticator(
    database: Database,
    tokens: InternalTokens,
    *,
    issuers: Sequence[IssuerConfig] = (),
    own_issuer: OwnIssuer | None = None,
    clock: Clock,
    client: Fetch = fetch_client,
) -> "CredentialAuthenticator":
    """An authenticator over `database`. Its `run()` has to run as long as it is used.

    A slash at the end of an issuer makes no difference, since some write their `iss` with one. Give it a `Database` of
    its own with two or three connections, so that a busy pool does not hold back revocations.
    """
    stored = StoredIdentities(database)
    verifiers: dict[str, OwnTokens | ForeignTokens] = {
        config.issuer.rstrip("/"): ForeignTokens(
            config,
            TokenVerifier(config.issuer, config.audiences, DiscoveredKeys(config.issuer, clock, client), clock),
            stored,
            clock,
        )
        for config in issuers
    }
    if own_issuer is not None:
        verifier = TokenVerifier(own_issuer.url, {own_issuer.audience}, StoredKeys(stored, clock), clock)
        verifiers[own_issuer.url] = OwnTokens(verifier, stored, clock)
    return CredentialAuthenticator(stored, tokens, verifiers, clock)


class CredentialAuthenticator:
    """Verifies credentials of every kind; satisfies `Authenticator`."""

    def __init__(
        self,
        stored: StoredIdentities,
        internal: InternalTokens,
        verifiers: dict[str, OwnTokens | ForeignTokens],
        clock: Clock,
    ) -> None:
        self._stored, self._internal, self._verifiers, self._clock = stored, internal, verifiers, clock
        self._monotonic_s = clock.monotonic_s
        self._verified = VerifiedCredentials()
        self._entries = self._verified.entries
        self._freshness = Freshness(stored, self._verified, clock)
        self._acting: dict[bytes, tuple[Caller, datetime]] = {}
        self._lookups: dict[bytes, asyncio.Task[Caller]] = {}
        self._lookup_turns = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def authenticate(self, credential: str) -> Caller:
        """The caller behind `credential`; see `Authenticator`."""
        digest = credential_hash(credential)
        entry = self._entries.get(digest)
        if entry is not None:
            now_s = self._monotonic_s()
            if (
                now_s < self._freshness.fresh_until_s
                and now_s < entry.stale_at_s
                and (entry.expires_at is None or self._clock.now() < entry.expires_at)
            ):
                return entry.caller
            return await self._again(digest, credential)
        return await self._cold(digest, credential)

    async def run(self) -> None:
        """Learns of revocations until it is cancelled."""
        try:
            await self._freshness.run()
        finally:
            for lookup in list(self._lookups.values()):
                lookup.cancel()
            await self._freshness.stop()

    async def check(self) -> None:
        """Raises Unavailable when revocations cannot be read."""
        if self._monotonic_s() >= self._freshness.fresh_until_s:
            await self._freshness.poll()

    async def _again(self, digest: bytes, credential: str) -> Caller:
        await self._freshness.current()
        entry = self._entries.get(digest)
        if entry is None:
            return await self._cold(digest, credential)
        if entry.expires_at is not None and self._clock.now() >= entry.expires_at:
            if entry.caller.key_id is not None:
                raise Unauthenticated(_EXPIRED)
            self._verified.drop(digest)
        elif self._monotonic_s() < entry.stale_at_s:
            return entry.caller
        try:
            return await self._cold(digest, credential)
        except Unavailable:
            if self._entries.get(digest) is entry and self._freshness.is_honoured():
                return entry.caller
            raise
        except Unauthenticated:
            self._verified.drop(digest)
            raise

    async def _cold(self, digest: bytes, credential: str) -> Caller:
        acting = self._acting.get(digest)
        if acting is not None and self._clock.now() < acting[1]:
            return acting[0]
        prefix = api_key_prefix(credential)
        if prefix is not None:
            if self._verified.is_unknown(digest, self._monotonic_s()):
                raise Unauthenticated(_INVALID)
            return await self._shared(digest, lambda: self._key(digest, prefix))
        issuer = unverified_issuer(credential)
        if issuer == ISSUER:
            # Kept apart from the others: it holds for its five minutes whatever the store says.
            acting = self._internal.verify_until(credential)
            if len(self._acting) >= _MAX_ACTING:
                self._acting.clear()
            self._acting[digest] = acting
            return acting[0]
        verifier = self._verifiers.get(issuer.rstrip("/"))
        if verifier is None:
            raise Unauthenticated("The issuer of this token is not accepted here.", detail=issuer[:200])
        return await self._shared(digest, lambda: self._token(digest, credential, verifier))

    async def _shared(self, digest: bytes, verify: Callable[[], Coroutine[Any, Any, Caller]]) -> Caller:
        """Verifies a credential once for everybody who waits for it."""
        lookup = self._lookups.get(digest)
        if lookup is None:
            lookup = asyncio.create_task(verify())
            self._lookups[digest] = lookup
            lookup.add_done_callback(lambda task: self._ended(digest, task))
        # Not `wait_for`: cancelling a query waits for the very server that does not answer.
        await asyncio.wait({lookup}, timeout=_LOOKUP_DEADLINE_S)
        if not lookup.done() or lookup.cancelled():
            lookup.cancel()
            self._ended(digest, lookup)
            raise Unavailable("Credentials cannot be checked at the moment: try again shortly.", retry_after_s=1.0)
        return lookup.result()

    def _ended(self, digest: bytes, task: "asyncio.Task[Caller]") -> None:
        if self._lookups.get(digest) is task:
            del self._lookups[digest]
        if task.done() and not task.cancelled():
            task.exception()

    async def _token(self, digest: bytes, token: str, verifier: OwnTokens | ForeignTokens) -> Caller:
        entry = await verifier.verified(token)
        self._verified.put(digest, entry)
        return entry.caller

    async def _key(self, digest: bytes, prefix: str) -> Caller:
        async with self._lookup_turns:
            standing = await self._stored.key(prefix, digest)
        if standing is None:
            self._verified.drop(digest)
            self._verified.unknown_put(digest, self._monotonic_s())
            raise Unauthenticated(_INVALID)
        caller = Caller(
            tenant_id=standing.tenant_id,
            subject=standing.id,
            scopes=(standing.scopes or frozenset()) & ROLE_SCOPES[standing.role],
            role=standing.role,
            key_id=standing.id,
        )
        entry = Verified(caller, standing.id, standing.version, self._monotonic_s() + _KEY_STALE_S, standing.expires_at)
        self._verified.put(digest, entry)
        if standing.expires_at is not None and self._clock.now() >= standing.expires_at:
            raise Unauthenticated(_EXPIRED)
        return caller
