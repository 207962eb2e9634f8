"""Who refers to whom: within a stack, between stacks by their exports, between regions by parameters that are fed.

Used by `changes`, to follow what a replacement causes.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.infra.resource_types import Pointer

Resources = Mapping[str, Mapping[str, Any]]
_INTERPOLATED: Final = re.compile(r"\$\{(?!!)([A-Za-z0-9]+)(?:\.[^}]+)?\}")


@dataclass(frozen=True, slots=True)
class Feeding:
    """A parameter that takes an output of another stack; stacks by their parts."""

    parameter: str
    source_stack: str
    source_output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A stack as it is or as it will be: the template, and which of its parameters take outputs of others."""

    part: str
    name: str
    region: str
    template: Mapping[str, Any]
    feeds: tuple[Feeding, ...] = ()

    @property
    def resources(self) -> Resources:
        """Its resources by logical id."""
        found: Resources = self.template.get("Resources", {})
        return found


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a resource's properties."""

    stack: str
    resource: str
    path: Pointer

    @property
    def place(self) -> str:
        """`stack/resource`."""
        return f"{self.stack}/{self.resource}"


def references(stacks: Iterable[StackState]) -> Iterator[tuple[Spot, str]]:
    """Each spot that refers to a resource, and the `stack/resource` that it refers to."""
    all_stacks = tuple(stacks)
    exports = {
        _name(output["Export"]["Name"]): (stack, output["Value"])
        for stack in all_stacks
        for output in stack.template.get("Outputs", {}).values()
        if "Export" in output
    }
    by_part = {stack.part: stack for stack in all_stacks}
    for stack in all_stacks:
        fed = {feed.parameter: feed for feed in stack.feeds}
        for name, resource in stack.resources.items():
            for path, target in _spoken(resource.get("Properties", {}), ()):
                spot = Spot(stack.part, name, path)
                if isinstance(target, Imported):
                    source, value = exports.get(target.name, (None, None))
                    yield from _indirect(spot, source, value)
                elif target in fed and fed[target].source_stack in by_part:
                    source = by_part[fed[target].source_stack]
                    output = source.template.get("Outputs", {}).get(fed[target].source_output, {})
                    yield from _indirect(spot, source, output.get("Value"))
                elif target in stack.resources:
                    yield spot, f"{stack.part}/{target}"


def followed(pairs: Iterable[tuple[Spot, str]]) -> Mapping[str, list[Spot]]:
    """Who refers to each resource."""
    dependants: defaultdict[str, list[Spot]] = defaultdict(list)
    for spot, target in pairs:
        dependants[target].append(spot)
    return dependants


def targets(value: Any) -> Iterator[str]:
    """The logical ids that a value of a template refers to within its stack."""
    for _, target in _spoken(value, ()):
        if isinstance(target, str):
            yield target


@dataclass(frozen=True, slots=True)
class Imported:
    """The name of another stack's export."""

    name: str


def _indirect(spot: Spot, source: StackState | None, value: Any) -> Iterator[tuple[Spot, str]]:
    if source is not None:
        for _, target in _spoken(value, ()):
            if not isinstance(target, Imported) and target in source.resources:
                yield spot, f"{source.part}/{target}"


def _spoken(value: Any, at: Pointer) -> Iterator[tuple[Pointer, str | Imported]]:
    """Each reference below `value` with its path. The path ends at the function that refers."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _spoken(item, (*at, str(index)))
    elif isinstance(value, Mapping):
        if len(value) == 1:
            [(key, argument)] = value.items()
            target = _target(key, argument)
            if target is not None:
                yield at, target
                return
            if key.startswith("Fn::"):
                yield from ((at, each) for each in _named(key, argument))
                yield from ((at, each) for _, each in _spoken(argument, ()))
                return
        for key, item in value.items():
            yield from _spoken(item, (*at, key))


def _target(key: str, argument: Any) -> str | Imported | None:
    match key, argument:
        case "Ref", str():
            return argument
        case "Fn::GetAtt", [str() as name, *_]:
            return name
        case "Fn::GetAtt", str():
            return argument.partition(".")[0]
        case "Fn::ImportValue", str():
            return Imported(argument)
    return None


def _named(key: str, argument: Any) -> Iterator[str]:
    """Resources that a Sub names in its text."""
    if key == "Fn::Sub":
        text = argument[0] if isinstance(argument, list) else argument
        yield from _INTERPOLATED.findall(text)


def _name(name: Any) -> str:
    return name if isinstance(name, str) else str(name)
