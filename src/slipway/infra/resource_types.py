"""What CloudFormation's own resource schemas say about a type: what makes a new one, and which values are allowed.

The schemas come as data of the cfn-lint package and are read from its files, one a type, so that nothing of cfn-lint is
imported for it. Used by `checks` (enums) and by `operations.changes` (replacement).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from slipway.base.errors import Misconfigured

Pointer = tuple[str, ...]
_DEFAULT_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One type. `create_only` and `maybe_create_only` are paths below Properties, with `*` for each item of a list.

    A change of the first replaces the resource; a change of the second may, which the service decides. `identifier` are
    the properties that name it; `tag_property` is where its tags stand when it takes any.
    """

    name: str
    create_only: tuple[Pointer, ...]
    maybe_create_only: tuple[Pointer, ...]
    identifier: tuple[Pointer, ...]
    taggable: bool
    tag_property: str
    schema: Mapping[str, Any]

    def enums(self, properties: Mapping[str, Any]) -> Iterator[tuple[Pointer, Any, tuple[Any, ...]]]:
        """Values that are none of those allowed: where, which one, and the allowed ones."""
        yield from _outside(self.schema, self.schema, properties, ())


def resource_type(name: str, region: str = _DEFAULT_REGION) -> ResourceType | None:
    """The type of that name in a region; None for a custom resource and for what AWS has not published there."""
    digest = _index(region).get(name)
    return None if digest is None else _read(digest)


def known_in(region: str) -> bool:
    """Whether there are schemas for the region at all."""
    return (_folder() / "providers" / f"{region}.json").exists()


@cache
def _folder() -> Path:
    spec = find_spec("cfnlint")
    if spec is None or spec.origin is None:
        raise Misconfigured("cfn-lint is not installed: planning needs the extra `infra`.")
    return Path(spec.origin).parent / "data" / "schemas"


@cache
def _index(region: str) -> Mapping[str, str]:
    file = _folder() / "providers" / f"{region if known_in(region) else _DEFAULT_REGION}.json"
    index: Mapping[str, str] = json.loads(file.read_bytes())
    return index


@cache
def _read(digest: str) -> ResourceType:
    schema: Mapping[str, Any] = json.loads((_folder() / "resources" / f"{digest}.json").read_bytes())
    return ResourceType(
        name=schema["typeName"],
        create_only=_pointers(schema, "createOnlyProperties"),
        maybe_create_only=_pointers(schema, "conditionalCreateOnlyProperties"),
        identifier=_pointers(schema, "primaryIdentifier"),
        taggable=_taggable(schema),
        tag_property=str(schema.get("tagging", {}).get("tagProperty", "/properties/Tags")).removeprefix("/properties/"),
        schema=schema,
    )


def _taggable(schema: Mapping[str, Any]) -> bool:
    """Whether CloudFormation can tag it when it makes it."""
    tagging = schema.get("tagging", {})
    declared = str(tagging.get("tagProperty", "/properties/Tags")).removeprefix("/properties/")
    return bool(tagging.get("taggable", True)) and declared in schema.get("properties", {})


def _pointers(schema: Mapping[str, Any], key: str) -> tuple[Pointer, ...]:
    return tuple(tuple(pointer.removeprefix("/properties/").split("/")) for pointer in schema.get(key, ()))


def _outside(
    root: Mapping[str, Any], schema: Mapping[str, Any], value: Any, at: Pointer
) -> Iterator[tuple[Pointer, Any, tuple[Any, ...]]]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/definitions/"):
        schema = root["definitions"].get(reference.removeprefix("#/definitions/"), {})
    if isinstance(value, Mapping):
        below: Mapping[str, Any] = schema.get("properties", {})
        for key, item in value.items():
            if key in below:
                yield from _outside(root, below[key], item, (*at, key))
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, Mapping):
            for index, item in enumerate(value):
                yield from _outside(root, items, item, (*at, str(index)))
    else:
        allowed = schema.get("enum")
        if isinstance(allowed, list) and not _among(value, allowed):
            yield at, value, tuple(allowed)


def _among(value: Any, allowed: list[Any]) -> bool:
    """CloudFormation converts between text, numbers and booleans; case counts."""
    written = {_written(each) for each in allowed}
    return _written(value) in written


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
