"""Templates with one thing altered, as tests see them: what a test of a number must notice.

Every helper that gives tests a template hands it through `seen`. Outside of `altering` that is the template itself;
inside, a copy in which one alteration is applied wherever it fits.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from slipway.infra.app import Assembly, Resource, StackTemplate


class _Gone:
    """Stands for a property that is taken away."""


GONE: Final = _Gone()


@dataclass(frozen=True, slots=True)
class Alteration:
    """What is at `at` of each resource of the type `kind` becomes another value, GONE, or what a function makes of it.

    The parts of `at` stand between slashes: a key, `*` for each, or `Key=value` for the elements of a list that have
    that value there. An empty `at` is the resource itself, which GONE takes away. `where` must be in its logical id.
    What is not there is not altered.
    """

    kind: str
    at: str
    becomes: Any
    where: str = ""


def text(old: str, new: str) -> Callable[[Any], Any]:
    """Another text in place of `old`, however deep it stands."""

    def swapped(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(old, new)
        if isinstance(value, dict):
            return {swapped(key): swapped(each) for key, each in value.items()}
        return [swapped(each) for each in value] if isinstance(value, list) else value

    return swapped


def fewer(value: list[Any]) -> list[Any]:
    """Without the first."""
    return value[1:]


@dataclass(slots=True)
class Altered:
    """An alteration at work: how many places it changed so far."""

    by: Alteration
    places: int = 0
    kept: dict[int, tuple[Any, dict[str, Resource]]] = field(default_factory=dict)

    def resources(self, found: Mapping[str, Resource]) -> dict[str, Resource]:
        """The resources, altered; the same answer for the same ones."""
        if id(found) not in self.kept:
            self.kept[id(found)] = (found, self._of(found))  # held, so that no other takes its identity
        return self.kept[id(found)][1]

    def _of(self, found: Mapping[str, Resource]) -> dict[str, Resource]:
        made: dict[str, Resource] = {}
        for name, resource in found.items():
            if resource["Type"] != self.by.kind or self.by.where not in name:
                made[name] = resource
            elif not self.by.at:
                self.places += 1
                if self.by.becomes is not GONE:
                    made[name] = self.by.becomes(copy.deepcopy(resource))
            else:
                made[name] = copy.deepcopy(resource)
                self._apply(made[name], self.by.at.split("/"))
        return made

    def _apply(self, value: Any, path: list[str]) -> None:
        for key in list(_keys(value, path[0])):
            if len(path) > 1:
                self._apply(value[key], path[1:])
                continue
            becomes = self.by.becomes
            if becomes is GONE:
                value[key] = GONE
                self.places += 1
                continue
            new = becomes(value[key]) if callable(becomes) else becomes
            self.places += new != value[key]
            value[key] = new
        if isinstance(value, list):
            value[:] = [each for each in value if each is not GONE]
        elif isinstance(value, dict):
            for key in [key for key, each in value.items() if each is GONE]:
                del value[key]


def _keys(value: Any, step: str) -> Iterator[Any]:
    everything = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    key, equals, wanted = step.partition("=")
    for name, each in everything:
        chosen = isinstance(each, dict) and str(each.get(key)) == wanted if equals else str(name) == step
        if step == "*" or chosen:
            yield name


_active: list[Altered] = []


@contextmanager
def altering(alteration: Alteration) -> Iterator[Altered]:
    """Inside, all templates that tests see are altered."""
    _active.append(Altered(alteration))
    try:
        yield _active[-1]
    finally:
        _active.pop()


@contextmanager
def unaltered() -> Iterator[None]:
    """Inside, templates are as they are, whatever is altered around."""
    before, _active[:] = _active[:], []
    try:
        yield
    finally:
        _active[:] = before


def seen(resources: Mapping[str, Resource]) -> dict[str, Resource]:
    """Resources by logical id, as a test is to see them."""
    if not _active:
        return resources if isinstance(resources, dict) else dict(resources)
    return _active[-1].resources(resources)


def seen_stack(stack: StackTemplate) -> StackTemplate:
    """A stack, as a test is to see it."""
    if not _active:
        return stack
    template = {**stack.template, "Resources": seen(stack.template.get("Resources", {}))}
    return replace(stack, template=template, text=json.dumps(template))


def seen_assembly(assembly: Assembly) -> Assembly:
    """All stacks, as a test is to see them."""
    return assembly if not _active else replace(assembly, stacks=tuple(seen_stack(each) for each in assembly.stacks))
