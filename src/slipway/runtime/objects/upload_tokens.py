"""Signed permissions to PUT one object into the folder store: what a presigned URL is on S3.

The token is the credential: it names tenant, key, exact size and expiry, and is signed with a key derived from the
platform's secret, so that every process verifies what another one signed.
"""

import base64
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from slipway.base.errors import Forbidden
from slipway.runtime.authentication.internal import derived_key

_REFUSAL = "This upload URL is not valid or has expired: ask for a new one at /v1/documents/uploads."


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """One PUT of one object of exactly `size_bytes`, until `expires_at_s` (Unix time)."""

    tenant_id: str
    key: str
    size_bytes: int
    expires_at_s: int


class UploadTokens:
    """Signs and verifies grants; the first secret signs, each verifies."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = [derived_key(secret, "object uploads") for secret in secrets]

    def sign(self, grant: UploadGrant) -> str:
        """The grant as text that fits a URL's path."""
        claims = [grant.tenant_id, grant.key, grant.size_bytes, grant.expires_at_s]
        payload = _encoded(json.dumps(claims, separators=(",", ":")).encode())
        return f"{payload}.{self._signature(self._keys[0], payload)}"

    def verify(self, token: str, now: datetime) -> UploadGrant:
        """The grant behind `token`; raises Forbidden when it is forged or expired."""
        payload, _, signature = token.partition(".")
        if not signature.isascii() or not any(
            hmac.compare_digest(self._signature(key, payload), signature) for key in self._keys
        ):
            raise Forbidden(_REFUSAL)
        tenant_id, key, size_bytes, expires_at_s = json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
        if now.timestamp() > expires_at_s:
            raise Forbidden(_REFUSAL)
        return UploadGrant(tenant_id, key, size_bytes, expires_at_s)

    @staticmethod
    def _signature(key: bytes, payload: str) -> str:
        return _encoded(hmac.digest(key, payload.encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
