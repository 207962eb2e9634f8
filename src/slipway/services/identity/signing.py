"""The issuer's signing keys: ES256, kept encrypted, published before they are used, replaced once a month.

ES256 because every OIDC library verifies it. The private key is sealed with AES-256-GCM under a key derived from the
platform's secret; a database dump alone signs nothing. A successor stands in the JWKS for a day before it signs (ten
minutes when an administrator asks for it), so that whoever caches the JWKS knows it in time.
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt.algorithms import ECAlgorithm

from slipway.api.identity import SigningKey
from slipway.base.clock import Clock
from slipway.base.errors import Conflict, Misconfigured, SlipwayError
from slipway.base.ids import new_id
from slipway.runtime.authentication.internal import derived_key
from slipway.services.identity.models import StoredSigningKey
from slipway.services.identity.ports import SigningKeyStore

_log = logging.getLogger(__name__)

_ALGORITHM: Final = "ES256"
_USED_FOR: Final = timedelta(days=30)
_PUBLISHED_BEFORE: Final = timedelta(days=1)
_PUBLISHED_BEFORE_BY_HAND: Final = timedelta(minutes=10)
_KEPT_AFTER: Final = timedelta(days=1)  # longer than any token lives
_CACHED_S: Final = 30.0
_CHECK_EVERY_S: Final = 3600.0
_NONCE_BYTES: Final = 12


@dataclass(frozen=True)
class _Signer:
    id: str
    key: EllipticCurvePrivateKey = field(repr=False)
    read_at_s: float


class SigningKeys:
    """Signs the issuer's tokens and rotates what it signs with."""

    def __init__(self, store: SigningKeyStore, secrets: Sequence[bytes], clock: Clock) -> None:
        """`secrets`: the platform's, newest first; the first seals, each opens."""
        self._store, self._clock = store, clock
        self._sealers = [AESGCM(derived_key(secret, "signing keys")) for secret in secrets]
        self._signer: _Signer | None = None

    async def start(self) -> None:
        """Makes the first key, or another one when none can be opened with the platform's secrets."""
        keys = await self._store.key_list()
        if any(self._opened(key) is not None for key in keys if key.active_from <= self._clock.now()):
            return
        if keys:
            _log.warning("no signing key opens with this SLIPWAY_SECRET_KEY: a new one is made")
        await self._add(keys, timedelta())

    async def run(self) -> None:
        """Looks once an hour whether the next key is due, until it is cancelled."""
        while True:
            try:
                await self.rotate_when_due()
            except SlipwayError as error:
                _log.warning("the signing key could not be rotated: %s", error)
            await asyncio.sleep(_CHECK_EVERY_S)

    async def rotate_when_due(self) -> SigningKey | None:
        """Publishes the next key when the newest one has been used for almost a month."""
        keys = await self._store.key_list()
        if keys and self._clock.now() < keys[0].active_from + _USED_FOR - _PUBLISHED_BEFORE:
            return None
        return await self._add(keys, _PUBLISHED_BEFORE)

    async def rotate(self) -> SigningKey:
        """Publishes the next key now, to sign in ten minutes; Conflict when one is waiting already."""
        keys = await self._store.key_list()
        if keys and keys[0].active_from > self._clock.now():
            raise Conflict("The next signing key is published already.")
        added = await self._add(keys, _PUBLISHED_BEFORE_BY_HAND)
        if added is None:
            raise Conflict("The next signing key is published already.")
        return added

    async def jwks(self) -> dict[str, Any]:
        """The public keys: of tokens that may still be good, and of the next one."""
        return {"keys": [key.public_jwk for key in await self._store.key_list()]}

    async def sign(self, claims: Mapping[str, Any], kind: str) -> str:
        """A JWT with the header `typ: kind`."""
        signer = await self._current()
        return jwt.encode(dict(claims), signer.key, algorithm=_ALGORITHM, headers={"kid": signer.id, "typ": kind})

    async def _current(self) -> _Signer:
        signer, now_s = self._signer, self._clock.monotonic_s()
        if signer is not None and now_s - signer.read_at_s < _CACHED_S:
            return signer
        for stored in await self._store.key_list():
            if stored.active_from <= self._clock.now() and (key := self._opened(stored)) is not None:
                self._signer = _Signer(stored.id, key, now_s)
                return self._signer
        raise Misconfigured("No signing key opens with this SLIPWAY_SECRET_KEY.")

    async def _add(self, keys: Sequence[StoredSigningKey], published_before: timedelta) -> SigningKey | None:
        now = self._clock.now()
        private, key_id = generate_private_key(SECP256R1()), new_id("sig")
        public = json.loads(ECAlgorithm.to_jwk(private.public_key()))
        nonce = os.urandom(_NONCE_BYTES)
        plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        stored = StoredSigningKey(
            id=key_id,
            public_jwk={**public, "kid": key_id, "use": "sig", "alg": _ALGORITHM},
            private_sealed=nonce + self._sealers[0].encrypt(nonce, plain, key_id.encode()),
            created_at=now,
            active_from=now + published_before,
        )
        made_last = max((key.id for key in keys), default=None)
        if not await self._store.key_add(stored, made_last, now - _KEPT_AFTER):
            return None
        return SigningKey(id=key_id, algorithm=_ALGORITHM, created_at=now, active_from=stored.active_from)

    def _opened(self, stored: StoredSigningKey) -> EllipticCurvePrivateKey | None:
        nonce, sealed = stored.private_sealed[:_NONCE_BYTES], stored.private_sealed[_NONCE_BYTES:]
        for sealer in self._sealers:
            try:
                key = load_der_private_key(sealer.decrypt(nonce, sealed, stored.id.encode()), password=None)
            except InvalidTag:
                continue
            return key if isinstance(key, EllipticCurvePrivateKey) else None
        return None
