"""Cognito's pre-token hook: writes the tenant and the roles into access and identity tokens.

Cognito waits 5 seconds, a cold start included, and tries three times. So this imports the standard library, `base` and
nothing else: 34 ms by `python -X importtime` on one slow core. Only a program's token needs a call of AWS and imports
boto3 for it, another 0.6 s.

The tenant is what the user pool holds about the user (`custom:tenant`, which no client may write), and for a program
the parameter that an operator wrote for its client. Nothing that the request itself carries is taken: a token without a
tenant is not issued. The event is of version 3, which covers people and programs alike
(docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-pre-token-generation.html).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from slipway.base.callers import ROLE_SCOPES, Role, Scope
from slipway.base.errors import Forbidden, InvalidRequest
from slipway.functions.environment import Environment

RESOURCE_SERVER: Final = "slipway"
TENANT_ATTRIBUTE: Final = "custom:tenant"
ROLES_CLAIM: Final = "roles"
# Groups of the pool by name; a dash in a manifest's name is the same as the role's underscore.
GROUP_ROLES: Final[Mapping[str, Role]] = {
    "platform-admin": Role.PLATFORM_ADMIN,
    "tenant-admin": Role.TENANT_ADMIN,
    "admin": Role.TENANT_ADMIN,
    "service": Role.SERVICE,
    "member": Role.MEMBER,
}
_MACHINE: Final = "TokenGeneration_ClientCredentials"
_TRIGGER: Final = "TokenGeneration_"
_TENANT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_CLIENT: Final = re.compile(r"[A-Za-z0-9]{1,128}")


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """The event with its response; raises Forbidden for whoever has no tenant, and the sign-in fails."""
    return answered(event, Environment())


def answered(event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    """The event with the tenant, the roles and the scopes that these leave."""
    source = event.get("triggerSource")
    if not isinstance(source, str) or not source.startswith(_TRIGGER):
        raise InvalidRequest(f"{source!r} is no event of a token.")
    request = event["request"]
    client = str(event["callerContext"]["clientId"])
    roles: tuple[Role, ...]
    if source == _MACHINE:
        tenant, roles = _tenant_of_client(client, environment), (Role.SERVICE,)
    else:
        tenant = _tenant(request.get("userAttributes", {}).get(TENANT_ATTRIBUTE))
        roles = roles_of((request.get("groupConfiguration") or {}).get("groupsToOverride") or ())
    claims = {environment.text("TENANT_CLAIM"): tenant, ROLES_CLAIM: " ".join(role.value for role in roles)}
    asked = request.get("scopes") or ()
    granted = scopes_of(roles, asked)
    return {
        **event,
        "response": {
            "claimsAndScopeOverrideDetails": {
                "idTokenGeneration": {"claimsToAddOrOverride": claims},
                "accessTokenGeneration": {
                    # `aud` is left out of access tokens by Cognito, and may be set to the client's own id alone.
                    "claimsToAddOrOverride": {**claims, "aud": client},
                    "scopesToAdd": [name for name in granted if name not in asked],
                    "scopesToSuppress": [name for name in asked if _is_ours(name) and name not in granted],
                },
            }
        },
    }


def roles_of(groups: Iterable[str]) -> tuple[Role, ...]:
    """The roles of these groups, in the groups' order, each once; a group that is no role of ours is none."""
    named = (GROUP_ROLES.get(group.replace("_", "-")) for group in groups)
    return tuple(dict.fromkeys(role for role in named if role is not None))


def scopes_of(roles: Iterable[Role], asked: Iterable[str]) -> list[str]:
    """The scopes of a token: those of the roles, and of these only what was asked for when anything of ours was."""
    held: set[Scope] = set().union(*(ROLE_SCOPES[role] for role in roles))
    names = {f"{RESOURCE_SERVER}/{scope.value}" for scope in held}
    wanted = {name for name in asked if _is_ours(name)}
    return sorted(names & wanted if wanted else names)


def _is_ours(name: str) -> bool:
    return name.startswith(f"{RESOURCE_SERVER}/")


def _tenant(value: object) -> str:
    if not isinstance(value, str) or _TENANT.fullmatch(value) is None:
        raise Forbidden("This user belongs to no tenant: an administrator sets its attribute custom:tenant.")
    return value


def _tenant_of_client(client: str, environment: Environment) -> str:
    """The tenant that a program acts for: an operator's parameter beside those of the platform."""
    if _CLIENT.fullmatch(client) is None:
        raise InvalidRequest("The event names no client.")
    from slipway.functions.clients import parameter_of  # boto3 takes longer to import than people wait

    name = f"{environment.text('CLIENT_TENANTS')}/{client}"
    value = parameter_of(name)
    if value is None:
        raise Forbidden(f"This client belongs to no tenant: an operator writes its external id to {name}.")
    return _tenant(value)
