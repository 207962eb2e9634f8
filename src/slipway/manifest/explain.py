"""Each value of a loaded manifest with the line it came from: what `slipway check --explain` shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slipway.manifest.environments import Origin
from slipway.manifest.loading import Loaded
from slipway.manifest.problems import Path, path_text


@dataclass(frozen=True, slots=True)
class Explained:
    """One value, as it would be written, and its origin."""

    path: str
    value: Any
    origin: Origin


def explain(loaded: Loaded) -> tuple[Explained, ...]:
    """Every value in the order of the schema, defaults included."""
    return tuple(
        Explained(path_text(path), value, loaded.origin(path_text(path)))
        for path, value in _leaves((), loaded.manifest.model_dump(mode="json"))
    )


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves((*path, key), child)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    else:
        yield path, value
