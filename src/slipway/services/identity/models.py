"""What the built-in issuer keeps: accounts to sign in to, clients, grants and signing keys."""

from dataclasses import dataclass, field
from datetime import datetime

from slipway.base.callers import Role


@dataclass(frozen=True)
class Account:
    """A user as the issuer needs it; `password_hash` is None for users of foreign issuers."""

    tenant_id: str
    id: str
    email: str
    role: Role
    password_hash: str | None = field(repr=False)


@dataclass(frozen=True)
class OAuthClient:
    """An OAuth client; `secret_hash` is the SHA-256 of its secret, None for public ones."""

    tenant_id: str
    id: str
    name: str
    redirect_uris: tuple[str, ...]
    secret_hash: bytes | None = field(repr=False)
    role: Role
    scopes: frozenset[str]


@dataclass(frozen=True)
class CodeGrant:
    """An authorization code: what the user agreed to, and the one exchange it is good for."""

    tenant_id: str
    client_id: str
    user_id: str
    redirect_uri: str
    code_challenge: str
    scopes: tuple[str, ...]
    openid: bool
    nonce: str | None
    family: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class RefreshGrant:
    """A refresh token. All that descend from one sign-in are a family and end together."""

    tenant_id: str
    client_id: str
    user_id: str
    family: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class StoredSigningKey:
    """A signing key: `private_sealed` is encrypted, and it signs from `active_from` until the next one does."""

    id: str
    public_jwk: dict[str, str]
    private_sealed: bytes = field(repr=False)
    created_at: datetime
    active_from: datetime
