"""Whose tokens are accepted, and what their claims mean: tenant, role and scopes.

The role of a foreign token comes from its roles claim by the names of `FOREIGN_ROLES`; `platform_admin` is not among
them, since whoever manages groups at a tenant's issuer would otherwise manage the platform.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from slipway.base.callers import ROLE_SCOPES, Role, Scope
from slipway.base.errors import Misconfigured, Unauthenticated
from slipway.runtime.settings import Settings

FOREIGN_ROLES: Final[Mapping[str, Role]] = {
    "tenant_admin": Role.TENANT_ADMIN,
    "admin": Role.TENANT_ADMIN,
    "service": Role.SERVICE,
    "member": Role.MEMBER,
}
# In a user pool that belongs to the platform itself.
OWN_POOL_ROLES: Final[Mapping[str, Role]] = {**FOREIGN_ROLES, "platform_admin": Role.PLATFORM_ADMIN}
RANK: Final[Mapping[Role, int]] = {Role.MEMBER: 0, Role.SERVICE: 1, Role.TENANT_ADMIN: 2, Role.PLATFORM_ADMIN: 3}

# Scopes that say what the client may learn about the user (OpenID Connect Core section 5.4, and Cognito's own), not
# what it may do here: they neither grant nor narrow.
_SIGN_IN_SCOPES: Final = frozenset(
    {"openid", "profile", "email", "address", "phone", "offline_access", "aws.cognito.signin.user.admin"}
)
# Cognito writes the name of the resource server before each scope of an API.
SCOPE_PREFIX: Final = "slipway/"
_MAX_CLAIM_LENGTH: Final = 255  # OpenID Connect Core section 2 bounds `sub` by this


@dataclass(frozen=True)
class IssuerConfig:
    """A foreign OIDC issuer: `issuer` is exactly its `iss`; the claims hold a tenant's `external_id` and the roles.

    `more_audiences` are further ones, where each client of an issuer is its own audience. `ours` says that whoever runs
    the platform gives out its roles, so that it may name administrators of the platform.
    """

    issuer: str
    audience: str
    tenant_claim: str
    roles_claim: str | None = None
    more_audiences: tuple[str, ...] = ()
    ours: bool = False

    @property
    def audiences(self) -> frozenset[str]:
        """Every `aud` that is meant for the platform."""
        return frozenset((self.audience, *self.more_audiences))

    def __post_init__(self) -> None:
        if not is_safe_url(self.issuer):
            raise Misconfigured(f"The issuer {self.issuer!r} must be an https URL (http only on this machine).")


@dataclass(frozen=True)
class OwnIssuer:
    """The built-in issuer: its URL is the `iss` and the `aud` of its access tokens."""

    url: str

    @property
    def audience(self) -> str:
        return self.url


OWN_TENANT_CLAIM: Final = "tenant"


def own_issuer_of(settings: Settings, url: str) -> OwnIssuer:
    """The built-in issuer as every process of one platform names it; `url` is where this process listens."""
    return OwnIssuer((settings.public_url or settings.peer_url("identity") or url).rstrip("/"))


def is_safe_url(url: str) -> bool:
    """Whether keys may be fetched from `url` or codes sent there: https, or http on loopback, no user, no fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in {"127.0.0.1", "::1", "localhost"})


def text_claim(claims: Mapping[str, Any], name: str) -> str:
    """A claim that must be a text of 1 to 255 characters; raises Unauthenticated."""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_CLAIM_LENGTH or "\x00" in value:
        raise Unauthenticated("This token is not valid.", detail=f"its claim {name!r} is missing or not a text")
    return value


def foreign_role(config: IssuerConfig, claims: Mapping[str, Any]) -> tuple[Role, frozenset[Scope]]:
    """The highest role that the roles claim names, and its scopes; none of the scopes when it names no role of ours."""
    if config.roles_claim is None:
        return Role.MEMBER, ROLE_SCOPES[Role.MEMBER]
    value = claims.get(config.roles_claim)
    names = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    known = OWN_POOL_ROLES if config.ours else FOREIGN_ROLES
    roles = [known[name] for name in names if isinstance(name, str) and name in known]
    if not roles:
        return Role.MEMBER, frozenset()
    role = max(roles, key=lambda item: RANK[item])
    return role, ROLE_SCOPES[role]


def narrowed_by_claim(scopes: frozenset[Scope], claims: Mapping[str, Any], *, strict: bool) -> frozenset[Scope]:
    """What `scopes` leave under the token's `scope` claim.

    A foreign token that carries none, or sign-in scopes only, is not narrowed; one of ours (`strict`) always is.
    """
    value = claims.get("scope", claims.get("scp"))
    if isinstance(value, list):
        named = {item for item in value if isinstance(item, str)}
    elif isinstance(value, str):
        named = set(value.split())
    elif value is None:
        named = set()
    else:
        raise Unauthenticated("This token is not valid.", detail="its scope claim is neither a text nor a list")
    if not strict:
        named = {name.removeprefix(SCOPE_PREFIX) for name in named - _SIGN_IN_SCOPES}
        if not named:
            return scopes
    return frozenset(scope for scope in scopes if scope.value in named)
