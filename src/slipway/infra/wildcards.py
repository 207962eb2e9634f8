"""Statements of a role or policy that allow more than what they name, and which of them have a reason.

Used by `policies` for our own rule and by `checks` to accept cdk-nag's.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from slipway.infra.reasons import reasons_of

Statement = Mapping[str, Any]
_POLICIES: Final = frozenset(
    {
        "AWS::IAM::GroupPolicy",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::RolePolicy",
        "AWS::IAM::UserPolicy",
    }
)


def statements(resource: Mapping[str, Any]) -> Iterator[Statement]:
    """Every statement of what a role, user or policy may do; not of who may assume it."""
    properties = resource.get("Properties", {})
    if resource["Type"] in _POLICIES:
        yield from _listed(properties.get("PolicyDocument", {}))
    elif resource["Type"] in ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"):
        for policy in properties.get("Policies", ()):
            yield from _listed(policy.get("PolicyDocument", {}))


def wildcards(resource: Mapping[str, Any]) -> tuple[Statement, ...]:
    """The statements that allow by a wildcard, or everything but what they name."""
    return tuple(statement for statement in statements(resource) if _open(statement))


def unreasoned(resource: Mapping[str, Any]) -> tuple[Statement, ...]:
    """Those of them that no reason names by its Sid."""
    reasons = reasons_of(resource)
    return tuple(statement for statement in wildcards(resource) if not reasons.get(statement.get("Sid", "")))


def _listed(document: Mapping[str, Any]) -> Iterator[Statement]:
    found = document.get("Statement", [])
    yield from found if isinstance(found, list) else [found]


def _open(statement: Statement) -> bool:
    if statement.get("Effect") != "Allow":
        return False
    if "NotAction" in statement or "NotResource" in statement:
        return True
    return _starred(statement.get("Action")) or _starred(statement.get("Resource"))


def _starred(value: Any) -> bool:
    if isinstance(value, str):
        return "*" in value
    if isinstance(value, list):
        return any(_starred(item) for item in value)
    if isinstance(value, Mapping):
        return any(_starred(item) for item in value.values())
    return False
