"""What somebody may hand on: never a role or a scope beyond their own.

A user has every scope of its role, so whoever makes one needs all of those; a key can be narrowed, so its maker needs
those that the key gets.
"""

from collections.abc import Iterable

from slipway.base.callers import ROLE_SCOPES, Caller, Role, Scope
from slipway.base.errors import Forbidden, InvalidRequest
from slipway.runtime.authentication.issuers import RANK


def scopes_granted(maker: Caller, role: Role, asked: Iterable[Scope] | None) -> list[Scope]:
    """The scopes of a new key or client: those asked for, or all that both its role and its maker have.

    Raises Forbidden for a role or scope that the maker lacks, InvalidRequest for a scope outside of the role.
    """
    require_role(maker, role)
    if asked is None:
        return sorted(ROLE_SCOPES[role] & maker.scopes)
    scopes = frozenset(asked)
    if not scopes:
        raise InvalidRequest("Name at least one scope, or leave `scopes` out for all of the role's.")
    if outside := sorted(scopes - ROLE_SCOPES[role]):
        raise InvalidRequest(f"The role {role.value!r} does not include {', '.join(outside)}.")
    if beyond := sorted(scopes - maker.scopes):
        raise Forbidden(f"You cannot grant what you do not have: {', '.join(beyond)}.")
    return sorted(scopes)


def require_role(maker: Caller, role: Role) -> None:
    """Raises Forbidden when `role` stands above the maker's."""
    if RANK[role] > RANK[maker.role]:
        raise Forbidden(f"You cannot act on the role {role.value!r}: yours is {maker.role.value!r}.")


def require_whole_role(maker: Caller, role: Role) -> None:
    """Raises Forbidden unless the maker has each scope of `role`."""
    require_role(maker, role)
    if beyond := sorted(ROLE_SCOPES[role] - maker.scopes):
        raise Forbidden(f"You cannot grant the role {role.value!r}: your credential lacks {', '.join(beyond)}.")
