"""What a deploy would do to each resource: create, update, replace, destroy; and what a replacement takes with it.

A resource is replaced when a create-only property of its type changes. Whoever refers to a replaced resource changes
as well, and is replaced too where the reference stands in a create-only property: within a stack (Ref, GetAtt, Sub),
between stacks (exports), and between regions (parameters that another stack's output fills). Nothing is asked of AWS.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from slipway.infra.resource_types import Pointer, ResourceType, resource_type
from slipway.operations.references import Resources, Spot, StackState, followed, references

Action = Literal["create", "update", "replace", "destroy"]

# Types whose replacement or deletion loses something that nobody can make again from the manifest. Caches are not among
# them: Redis holds limits and sessions, which start empty. A key is: what it encrypted cannot be read without it.
HOLDS_DATA: Final[AbstractSet[str]] = frozenset(
    {
        "AWS::Backup::BackupVault",
        "AWS::Cognito::UserPool",
        "AWS::DynamoDB::GlobalTable",
        "AWS::DynamoDB::Table",
        "AWS::EC2::Volume",
        "AWS::ECR::Repository",
        "AWS::EFS::FileSystem",
        "AWS::KMS::Key",
        "AWS::Neptune::DBCluster",
        "AWS::OpenSearchServerless::Collection",
        "AWS::OpenSearchService::Domain",
        "AWS::RDS::DBCluster",
        "AWS::RDS::GlobalCluster",
        "AWS::S3::Bucket",
        "AWS::S3Vectors::Index",
        "AWS::S3Vectors::VectorBucket",
        "AWS::SecretsManager::Secret",
    }
)
_KEPT: Final = frozenset({"Retain", "RetainExceptOnCreate", "Snapshot"})
_ATTRIBUTES: Final = ("DeletionPolicy", "UpdateReplacePolicy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource and what happens to it.

    `why` names the properties that differ, or the resource whose replacement causes this. `certain` is False where
    the service decides between an update and a replacement. `data` says that it holds data, `kept` that CloudFormation
    leaves the old one (or a snapshot of it) in the account. `stuck` names the property that gives a replaced resource
    the same name again, which CloudFormation refuses: the new one is made before the old one goes.
    """

    stack: str
    resource: str
    kind: str
    action: Action
    why: tuple[str, ...] = ()
    certain: bool = True
    data: bool = False
    kept: bool = False
    stuck: str = ""

    @property
    def place(self) -> str:
        """`data/Cluster`: how a resource is named in the plan and in `--allow-data-loss`."""
        return f"{self.stack}/{self.resource}"

    @property
    def loses_data(self) -> bool:
        """Whether the platform is without this data afterwards, kept in the account or not."""
        return self.data and self.action in ("replace", "destroy")


def changes(before: Iterable[StackState], after: Iterable[StackState]) -> tuple[Change, ...]:
    """What leads from one state to the other, in the stacks' order; those that vanish come last."""
    old, new = {stack.name: stack for stack in before}, {stack.name: stack for stack in after}
    found = {change.place: change for stack in new.values() for change in _within(old.get(stack.name), stack)}
    _spread(found, new)
    gone = [change for name, stack in old.items() if name not in new for change in _destroyed(stack, stack.resources)]
    return (*sorted(found.values(), key=_order(new)), *gone)


def _order(stacks: Mapping[str, StackState]) -> Any:
    places = {stack.part: index for index, stack in enumerate(stacks.values())}
    return lambda change: (places[change.stack], change.resource)


def _within(old: StackState | None, new: StackState) -> Iterator[Change]:
    before: Resources = {} if old is None else old.resources
    for name, resource in new.resources.items():
        present = before.get(name)
        if present is None:
            yield _change(new, name, resource, "create")
        else:
            yield from _differing(new, name, present, resource)
    if old is not None:
        yield from _destroyed(
            replace(old, part=new.part), {name: item for name, item in before.items() if name not in new.resources}
        )
        yield from _outputs(old, new)


def _destroyed(stack: StackState, resources: Resources) -> Iterator[Change]:
    for name, resource in resources.items():
        kept = resource.get("DeletionPolicy") in _KEPT
        yield replace(_change(stack, name, resource, "destroy"), kept=kept)


def _outputs(old: StackState, new: StackState) -> Iterator[Change]:
    before, after = old.template.get("Outputs", {}), new.template.get("Outputs", {})
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            action: Action = "create" if name not in before else "destroy" if name not in after else "update"
            yield Change(stack=new.part, resource=f"Outputs.{name}", kind="output", action=action)


def _differing(stack: StackState, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    kept = new.get("UpdateReplacePolicy") in _KEPT
    if old["Type"] != new["Type"]:
        yield replace(_change(stack, name, new, "replace", (f"was {old['Type']}",)), kept=kept)
        return
    before, after = old.get("Properties", {}), new.get("Properties", {})
    known = resource_type(new["Type"], stack.region)
    sure = _changed(known.create_only, before, after) if known else ()
    maybe = _changed(known.maybe_create_only, before, after) if known else ()
    if known is not None and (sure or maybe):
        change = _change(stack, name, new, "replace", (*sure, *maybe))
        stuck = _named_again(known, before, after) if sure else ""
        yield replace(change, certain=bool(sure), kept=kept, stuck=stuck)
        return
    why = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    why += [key for key in _ATTRIBUTES if old.get(key) != new.get(key)]
    if why:
        yield _change(stack, name, new, "update", tuple(why))


def _changed(pointers: Iterable[Pointer], old: Any, new: Any) -> tuple[str, ...]:
    return tuple(
        ".".join(pointer) for pointer in pointers if list(_values(old, pointer)) != list(_values(new, pointer))
    )


def _named_again(known: ResourceType, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The property by which the template names it, when that is the same before and after."""
    pairs = [(list(_values(old, pointer)), list(_values(new, pointer))) for pointer in known.identifier]
    same = bool(pairs) and all(before and before == after for before, after in pairs)
    return ".".join(known.identifier[0]) if same else ""


def _values(value: Any, pointer: Pointer) -> Iterator[Any]:
    """What stands at a pointer, `*` being each item; nothing where the path ends early."""
    if not pointer:
        yield value
    elif pointer[0] == "*" and isinstance(value, list):
        for item in value:
            yield from _values(item, pointer[1:])
    elif isinstance(value, Mapping) and pointer[0] in value:
        yield from _values(value[pointer[0]], pointer[1:])


def _change(
    stack: StackState, name: str, resource: Mapping[str, Any], action: Action, why: tuple[str, ...] = ()
) -> Change:
    kind = resource["Type"]
    return Change(stack=stack.part, resource=name, kind=kind, action=action, why=why, data=kind in HOLDS_DATA)


def _spread(found: dict[str, Change], stacks: Mapping[str, StackState]) -> None:
    """Adds to `found` what the replacements in it cause, until nothing more follows."""
    dependants = followed(references(stacks.values()))
    waiting = [change.place for change in found.values() if change.action == "replace"]
    by_part = {stack.part: stack for stack in stacks.values()}
    while waiting:
        cause = waiting.pop()
        for spot in dependants.get(cause, ()):
            present = found.get(spot.place)
            if present is not None and present.action in ("create", "destroy"):
                continue
            caused = _caused(by_part[spot.stack], spot, cause, found[cause].certain)
            found[spot.place] = _joined(present, caused)
            if found[spot.place].action == "replace" and (present is None or present.action != "replace"):
                waiting.append(spot.place)


def _caused(stack: StackState, spot: Spot, cause: str, certain: bool) -> Change:
    resource = stack.resources[spot.resource]
    known = resource_type(resource["Type"], stack.region)
    why = (f"{'.'.join(spot.path)} refers to {cause}, which is replaced",)
    sure = known is not None and any(_covers(pointer, spot.path) for pointer in known.create_only)
    maybe = known is not None and any(_covers(pointer, spot.path) for pointer in known.maybe_create_only)
    change = _change(stack, spot.resource, resource, "replace" if sure or maybe else "update", why)
    properties = resource.get("Properties", {})
    stuck = _named_again(known, properties, properties) if known is not None and sure else ""
    kept = resource.get("UpdateReplacePolicy") in _KEPT
    return replace(change, certain=certain and not maybe, kept=kept, stuck=stuck)


def _covers(pointer: Pointer, path: Pointer) -> bool:
    """Whether a change at `path` is a change of the property at `pointer`, which may hold it or lie in it."""
    return all(given in ("*", there) for given, there in zip(pointer, path, strict=False))


def _joined(present: Change | None, caused: Change) -> Change:
    if present is None:
        return caused
    stronger = present if present.action == "replace" or caused.action != "replace" else caused
    why = tuple(dict.fromkeys((*present.why, *caused.why)))
    both = present.action == caused.action
    return replace(stronger, why=why, certain=(present.certain or caused.certain) if both else stronger.certain)
