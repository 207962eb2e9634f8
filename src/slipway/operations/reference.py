"""What there is to say about one manifest before anybody runs it: what it is for, its picture, its environments beside
each other, its resources, what a month costs, and what its stores reach after a loss.

`slipway reference` renders it. Everything follows from the manifest and one synthesis; nothing is asked of AWS.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from slipway.base.errors import InvalidRequest, Misconfigured
from slipway.infra.app import Assembly
from slipway.infra.inputs import Inputs
from slipway.manifest.fields import nearest
from slipway.manifest.loading import Loaded
from slipway.operations.picture.layout import picture_of
from slipway.operations.picture.shapes import Picture
from slipway.operations.plan import Comparison, Plan, drafted

_PRODUCTION: Final = ("prod", "production")
_SEE: Final = "Every key is described in"  # where a blueprint's comment begins to speak of the file itself


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of one stack: how many of each type, and what the type is for."""

    stack: str
    region: str
    types: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that has not the same value in every environment: its values, in the environments' order."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """All of it, for one environment. `plan` is a draft: with costs and objectives, without findings and verdict."""

    name: str
    purpose: str
    environment: str
    environments: tuple[str, ...]
    differences: tuple[Difference, ...]
    resources: tuple[Resources, ...]
    plan: Plan
    picture: Picture


def reference(text: str, loaded: Sequence[Loaded], assembly: Assembly) -> Reference:
    """The reference of a manifest's `text`, in every environment that was `loaded`, for the one that is synthesized."""
    there = [each for each in loaded if each.environment is not None]
    return Reference(
        name=assembly.site.manifest.name,
        purpose=purpose_of(text),
        environment=assembly.site.environment,
        environments=tuple(str(each.environment) for each in there),
        differences=_differences(there),
        resources=tuple(
            Resources(stack.part, stack.region, _types(kind["Type"] for kind in stack.resources().values()))
            for stack in assembly.stacks
        ),
        plan=drafted(assembly, Comparison()),
        picture=picture_of(assembly.site),
    )


def chosen(loaded: Sequence[Loaded], environment: str | None) -> Loaded:
    """The environment of that name; without one production, else the last that is no template.

    Raises InvalidRequest for a name that there is not, Misconfigured for a manifest without environments.
    """
    by_name = {each.environment: each for each in loaded if each.environment is not None}
    if environment is not None:
        if environment in by_name:
            return by_name[environment]
        near = nearest(environment, tuple(by_name)) or ", ".join(by_name) or "none"
        raise InvalidRequest(f"There is no environment {environment!r}: there is {near}.")
    lasting = [each for each in by_name.values() if not each.manifest.template]
    for each in (*(by_name[name] for name in _PRODUCTION if name in by_name), *reversed(lasting)):
        return each
    raise Misconfigured("The manifest has no environment that lasts: write one under environments, with its region.")


def inputs_of(loaded: Loaded) -> Inputs:
    """What its synthesis takes; a template is shown as the one of pull request 1."""
    return Inputs(pull_request=1 if loaded.manifest.template else None)


def purpose_of(text: str) -> str:
    """The comment at a manifest's head, up to where it speaks of the file itself; empty for none."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(" ".join(lines).partition(_SEE)[0].split())


def purpose_of_type(kind: str) -> str:
    """What a type of resource is there for, in a few words; empty for one that `purposes.toml` does not have."""
    namespace, _, name = kind.rpartition("::")
    return _purposes().get(namespace, {}).get(name, "")


@cache
def _purposes() -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = tomllib.loads(
        files("slipway.operations").joinpath("purposes.toml").read_text("utf-8")
    )
    return found


def _types(kinds: Iterable[str]) -> tuple[tuple[str, int, str], ...]:
    return tuple((kind, count, purpose_of_type(kind)) for kind, count in sorted(Counter(kinds).items()))


def _values(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each value by its path; a list is one."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _values(f"{path}.{key}" if path else key, child)
    else:
        yield path, value


def _differences(loaded: Sequence[Loaded]) -> tuple[Difference, ...]:
    """Keys that differ between environments, in the schema's order."""
    values = [dict(_values("", one.manifest.model_dump(mode="json"))) for one in loaded]
    paths = dict.fromkeys(path for one in values for path in one)
    found = (Difference(path, tuple(one.get(path) for one in values)) for path in paths)
    return tuple(each for each in found if any(value != each.values[0] for value in each.values))
