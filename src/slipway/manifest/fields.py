"""The keys that the schema knows at a path, and the nearest one to a key that it does not.

Called by `complaints` when a key is refused, and by `reference` to write the documentation.
"""

import difflib
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from slipway.manifest.problems import Path
from slipway.manifest.schema import Manifest


def model_at(path: Path) -> type[BaseModel] | None:
    """The model that stands at `path`, or None where the schema has a plain value or nothing."""
    kind: Any = Manifest
    for part in path:
        kind = _below(inner(kind), part)
        if kind is None:
            return None
    kind = inner(kind)
    return kind if _is_model(kind) else None


def inner(kind: Any) -> Any:
    """`kind` without Annotated and without None."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind = get_args(kind)[0]
        elif origin in (Union, UnionType):
            kind = next(option for option in get_args(kind) if option is not NoneType)
        else:
            return kind


def nearest(word: str, known: tuple[str, ...]) -> str | None:
    """The known word that `word` was most likely meant to be, if any comes near."""
    for spelling in (word, word.lower().replace("-", "_")):
        found = difflib.get_close_matches(spelling, known, n=1, cutoff=0.6)
        if found:
            return found[0]
    # `production` for `prod`: too long for the ratio, and still meant.
    return next((each for each in known if len(each) > 2 and word.lower().startswith(each)), None)


@cache
def places(key: str) -> tuple[str, ...]:
    """Sections elsewhere in the schema that do know `key`."""
    return tuple(where for where, model in models() if where and key in model.model_fields)


@cache
def models() -> tuple[tuple[str, type[BaseModel]], ...]:
    """Every section of the schema with the path where it stands, `<name>` and `[]` for entries; the manifest first."""
    found: list[tuple[str, type[BaseModel]]] = []
    waiting: list[tuple[str, Any]] = [("", Manifest)]
    while waiting:
        where, kind = waiting.pop()
        kind = inner(kind)
        if _is_model(kind):
            found.append((where, kind))
            prefix = f"{where}." if where else ""
            below = [(prefix + name, field.annotation) for name, field in kind.model_fields.items()]
            waiting.extend(reversed(below))  # popped from the end, so that sections come in the order of the schema
        elif get_origin(kind) is Mapping:
            waiting.append((f"{where}.<name>", get_args(kind)[1]))
        elif get_origin(kind) is tuple:
            waiting.append((f"{where}[]", get_args(kind)[0]))
    return tuple(found)


def _below(kind: Any, part: str | int) -> Any:
    if _is_model(kind):
        known = kind.model_fields.get(part)
        return known.annotation if known else None
    if get_origin(kind) is Mapping:
        return get_args(kind)[1]
    if get_origin(kind) is tuple:
        return get_args(kind)[0]
    return None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
