"""Public keys that verify signatures, read from JWKs (RFC 7517), each with the one algorithm it is good for.

The algorithm comes from the key's type and curve, never from a token's header: that is what makes an RSA key useless as
an HMAC secret (RFC 8725 section 3.1). Keys for anything else than RS256, ES256 and EdDSA over Ed25519 are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_MAX_KEYS: Final = 100  # arbitrary; issuers publish two or three
_MIN_RSA_BITS: Final = 2048  # RFC 7518 section 3.3
_ALGORITHMS: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}


@dataclass(frozen=True)
class VerificationKey:
    """A public key and its one algorithm."""

    kid: str | None
    algorithm: str
    key: jwt.PyJWK


class KeySource(Protocol):
    """Where the keys of one issuer come from."""

    async def keys(self, kid: str | None) -> list[VerificationKey]:
        """The keys that may have signed a token with `kid`; raises Unavailable when they cannot be had."""
        ...


def verification_keys(document: Any) -> list[VerificationKey]:
    """The usable keys of a JWK set; what is not understood is left out, as RFC 7517 section 5 asks."""
    items = document.get("keys") if isinstance(document, Mapping) else None
    found = [_verification_key(item) for item in items[:_MAX_KEYS]] if isinstance(items, list) else []
    return [key for key in found if key is not None]


def matching(keys: list[VerificationKey], kid: str | None) -> list[VerificationKey]:
    """The keys named `kid`; without one, the only key there is."""
    if kid is None:
        return keys if len(keys) == 1 else []
    return [key for key in keys if key.kid == kid]


def _verification_key(item: Any) -> VerificationKey | None:
    if not isinstance(item, Mapping):
        return None
    kind = item.get("kty")
    algorithm = _ALGORITHMS.get((kind, None if kind == "RSA" else item.get("crv"))) if isinstance(kind, str) else None
    kid = item.get("kid")
    if (
        algorithm is None
        or item.get("alg", algorithm) not in ({"EdDSA", "Ed25519"} if algorithm == "EdDSA" else {algorithm})
        or item.get("use", "sig") != "sig"
        or not (kid is None or isinstance(kid, str))
    ):
        return None
    public = {name: value for name, value in item.items() if name in {"kty", "crv", "n", "e", "x", "y"}}
    try:
        key = jwt.PyJWK.from_dict(public, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < _MIN_RSA_BITS:
        return None
    return VerificationKey(kid, algorithm, key)
