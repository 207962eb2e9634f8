"""Our own rules over the templates, for what cfn-lint and cdk-nag do not ask, or ask of fewer types.

Each rule has a name by which a resource's reasons may accept it. Called by `checks`. Data that is public, kept
unencrypted, untagged or unbacked, grants wider than their reason, services that nobody watches, values that the service
does not know, and backup rules that AWS refuses.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.infra.app import Assembly, StackTemplate
from slipway.infra.findings import Finding, Severity
from slipway.infra.naming import tags_of
from slipway.infra.policies_data import exposed, unbacked, unencrypted, unretained
from slipway.infra.policies_watch import unalarmed
from slipway.infra.reasons import reasons_of
from slipway.infra.resource_types import resource_type
from slipway.infra.topology import INTERNET
from slipway.infra.wildcards import unreasoned
from slipway.manifest.rules.room import ceiling

Resource = Mapping[str, Any]
_COLD_DAYS: Final = 90  # AWS Backup: deleted at the earliest this long after the move to cold storage
_CONTINUOUS_DAYS: Final = 35


@dataclass(frozen=True, slots=True)
class Place:
    """A resource with what surrounds it."""

    assembly: Assembly
    stack: StackTemplate
    name: str
    resource: Resource


def policies(assembly: Assembly) -> Iterator[Finding]:
    """What our rules say of every resource."""
    for stack in assembly.stacks:
        for name, resource in stack.resources().items():
            place = Place(assembly, stack, name, resource)
            for rule, look in _RULES.items():
                for message in look(place):
                    yield _finding(stack, name, resource, rule, message)
    for stack, name, message in unalarmed(assembly):
        yield _finding(stack, name, stack.resources()[name], "unalarmed", message)
    yield from _ceiling(assembly)


def _ceiling(assembly: Assembly) -> Iterator[Finding]:
    """Scaling that the instances do not follow is told, and not refused: what always runs has its place."""
    message = ceiling(assembly.site.manifest)
    for stack in assembly.stacks if message is not None else ():
        for name, resource in stack.resources("AWS::AutoScaling::AutoScalingGroup").items():
            yield _finding(stack, name, resource, "ceiling", str(message), "warning")


def _finding(
    stack: StackTemplate, name: str, resource: Resource, rule: str, message: str, severity: Severity = "error"
) -> Finding:
    return Finding(
        stack=stack.part,
        resource=name,
        rule=rule,
        message=message,
        gate="slipway",
        severity=severity,
        accepted=reasons_of(resource).get(rule, ""),
    )


def _public(place: Place) -> Iterator[str]:
    edges = place.assembly.site.topology.edges
    yield from exposed(place.resource, {edge.port for edge in edges if edge.source == INTERNET})


def _unencrypted(place: Place) -> Iterator[str]:
    yield from unencrypted(place.resource)


def _unbacked(place: Place) -> Iterator[str]:
    if place.assembly.site.lasting:
        yield from unbacked(place.name, place.resource, place.stack.resources())


def _unretained(place: Place) -> Iterator[str]:
    if place.assembly.site.lasting:
        yield from unretained(place.resource)


def _untagged(place: Place) -> Iterator[str]:
    known = resource_type(place.resource["Type"], place.stack.region)
    if known is None or not known.taggable:
        return
    site = place.assembly.site
    wanted = tags_of(site.manifest, site.names, site.inputs)
    present = _tags(place.resource.get("Properties", {}).get(known.tag_property, {}))
    missing = [key for key in wanted if key not in present]
    if missing:
        yield f"has no tag {', '.join(missing)}"


def _tags(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    return {str(each.get("Key", each.get("key"))): each for each in value if isinstance(each, Mapping)}


def _wildcards(place: Place) -> Iterator[str]:
    for statement in unreasoned(place.resource):
        sid = statement.get("Sid")
        what = f"the statement {sid}" if sid else "a statement without a Sid"
        yield f"{what} allows by a wildcard and no reason beside the resource names it"


def _outside_enum(place: Place) -> Iterator[str]:
    known = resource_type(place.resource["Type"], place.stack.region)
    if known is None:
        return
    for path, value, allowed in known.enums(place.resource.get("Properties", {})):
        shown = ", ".join(map(str, allowed[:8])) + (" …" if len(allowed) > 8 else "")
        yield f"{'.'.join(path)} is {value!r}, and AWS knows {shown}"


def _backup_rules(place: Place) -> Iterator[str]:
    if place.resource["Type"] != "AWS::Backup::BackupPlan":
        return
    plan = place.resource["Properties"].get("BackupPlan", {})
    for rule in plan.get("BackupPlanRule", ()):
        name = rule.get("RuleName", "a rule")
        copies = [("copies of ", copy.get("Lifecycle", {})) for copy in rule.get("CopyActions", ())]
        for whose, lifecycle in (("", rule.get("Lifecycle", {})), *copies):
            cold, delete = lifecycle.get("MoveToColdStorageAfterDays"), lifecycle.get("DeleteAfterDays")
            if cold is not None and delete is not None and delete < cold + _COLD_DAYS:
                yield (
                    f"{whose}{name} are deleted after {delete} days and moved to cold storage after {cold}: AWS Backup"
                    f" refuses less than {_COLD_DAYS} days between"
                )
        kept = rule.get("Lifecycle", {}).get("DeleteAfterDays")
        if rule.get("EnableContinuousBackup") and kept is not None and kept > _CONTINUOUS_DAYS:
            yield f"{name} is continuous and kept {kept} days: AWS Backup keeps those at most {_CONTINUOUS_DAYS}"


_RULES: Final[Mapping[str, Callable[[Place], Iterator[str]]]] = {
    "public": _public,
    "unencrypted": _unencrypted,
    "unbacked": _unbacked,
    "unretained": _unretained,
    "untagged": _untagged,
    "wildcard": _wildcards,
    "enum": _outside_enum,
    "backup-rule": _backup_rules,
}
