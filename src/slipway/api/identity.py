"""Wire types of identity: tenants, users, API keys and OAuth clients."""

from datetime import datetime

from pydantic import Field, SecretStr

from slipway.api.wire import Request, Response
from slipway.base.callers import Role, Scope


class TenantRequest(Request):
    """A new tenant. `external_id` is the value that the tenant claim of a foreign issuer's tokens carries for it."""

    name: str = Field(min_length=1, max_length=120)
    external_id: str | None = Field(default=None, min_length=1, max_length=120)


class Tenant(Response):
    id: str
    name: str
    external_id: str | None
    created_at: datetime


class UserRequest(Request):
    """A new user of the caller's tenant. Without a password the user signs in with a foreign issuer only."""

    email: str = Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
    role: Role = Role.MEMBER
    password: SecretStr | None = Field(default=None, min_length=12, max_length=256)


class User(Response):
    id: str
    email: str
    role: Role
    created_at: datetime


class KeyRequest(Request):
    """A new API key of the caller's tenant: never more scopes than its maker has."""

    name: str = Field(min_length=1, max_length=120)
    role: Role = Role.SERVICE
    scopes: list[Scope] | None = Field(
        default=None, description="Narrower than the role's scopes; by default all of them that you have."
    )
    expires_at: datetime | None = None


class Key(Response):
    """An API key without its secret: `prefix` is what its holder can recognise it by."""

    id: str
    name: str
    prefix: str
    role: Role
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key):
    """The one answer that carries the secret; only a hash of it is kept."""

    secret: str


class ClientRequest(Request):
    """A new OAuth client of the caller's tenant, for the built-in issuer."""

    name: str = Field(min_length=1, max_length=120)
    redirect_uris: list[str] = Field(
        default_factory=list, max_length=10, description="Compared exactly; https, or http on this machine."
    )
    confidential: bool = Field(default=True, description="Has a secret; required for client credentials.")
    role: Role = Role.SERVICE
    scopes: list[Scope] | None = None


class Client(Response):
    id: str
    name: str
    redirect_uris: list[str]
    confidential: bool
    role: Role
    scopes: list[Scope]
    created_at: datetime


class NewClient(Client):
    """The one answer that carries the client secret."""

    secret: str | None


class SigningKey(Response):
    """A signing key of the built-in issuer: in the JWKS at once, used from `active_from`."""

    id: str
    algorithm: str
    created_at: datetime
    active_from: datetime


class TokenResponse(Response):
    """RFC 6749 section 5.1."""

    access_token: str
    token_type: str = "Bearer"
    expires_in: int
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str
