"""Who asks, and what they may do. Every port call takes a Caller, never a bare tenant id.

A Caller comes from a verified credential (`runtime/authentication`) or, for work that outlives its request, from the
row that recorded on whose behalf it runs. Nothing in a request body can change it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from slipway.base.errors import Forbidden


class Scope(StrEnum):
    """What a credential may do; every route declares exactly one."""

    MODELS_USE = "models:use"
    USAGE_READ = "usage:read"
    DOCUMENTS_READ = "documents:read"
    DOCUMENTS_WRITE = "documents:write"
    SEARCH_USE = "search:use"
    CHAT_USE = "chat:use"
    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    KEYS_ADMIN = "admin:keys"
    USERS_ADMIN = "admin:users"
    TENANTS_ADMIN = "admin:tenants"


def known_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """The scopes of these names; one that a newer version granted means nothing to this one."""
    known = frozenset(names)
    return frozenset(scope for scope in Scope if scope.value in known)


class Role(StrEnum):
    """What a user or key is within the platform; each role stands for a set of scopes."""

    PLATFORM_ADMIN = "platform_admin"
    TENANT_ADMIN = "tenant_admin"
    MEMBER = "member"
    SERVICE = "service"


ADMIN_SCOPES = frozenset({Scope.KEYS_ADMIN, Scope.USERS_ADMIN, Scope.TENANTS_ADMIN})
_MEMBER = frozenset(
    {
        Scope.MODELS_USE,
        Scope.DOCUMENTS_READ,
        Scope.DOCUMENTS_WRITE,
        Scope.SEARCH_USE,
        Scope.CHAT_USE,
        Scope.SESSIONS_READ,
        Scope.SESSIONS_WRITE,
    }
)
ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    Role.MEMBER: _MEMBER,
    Role.SERVICE: _MEMBER | {Scope.USAGE_READ},
    Role.TENANT_ADMIN: _MEMBER | {Scope.USAGE_READ, Scope.KEYS_ADMIN, Scope.USERS_ADMIN},
    Role.PLATFORM_ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified identity: the tenant it belongs to, who it is, and its scopes.

    `subject` is a user id, a client id or a key id; `key_id` is set when an API key was used; `actor` is the part of
    the platform that acts on the subject's behalf (RFC 8693 `act`), when one does.
    """

    tenant_id: str
    subject: str
    scopes: frozenset[Scope]
    role: Role = Role.SERVICE
    key_id: str | None = None
    actor: str | None = None

    def require(self, scope: Scope) -> None:
        """Raises Forbidden unless this caller holds `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"This credential lacks the scope {scope.value!r}.")

    def acted_for(self, scopes: Iterable[Scope], actor: str) -> "Caller":
        """The same caller as the part `actor` acts for it, with exactly the `scopes` that the part's call needs.

        They may be others than the caller's: the right to chat is the right to have chat search on one's behalf. The
        right to administer is never lent: raises Forbidden.
        """
        if not ADMIN_SCOPES.isdisjoint(scopes := frozenset(scopes)):
            raise Forbidden("No part of the platform administers on somebody's behalf.")
        return replace(self, scopes=scopes, actor=actor)
