"""One environment is one deep merge over the rest of the manifest: mappings merge, everything else replaces.

Called by `loading`. The same walk that merges records where each value came from, so that an origin can
never disagree with the value it explains.
"""

from dataclasses import dataclass, field
from typing import Any

from slipway.manifest.problems import Path
from slipway.manifest.source import Node

BASE = "base"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: `base`, `environments.<name>` or `default`; a default has line 0."""

    source: str
    line: int = 0
    column: int = 0
    scalar: bool = False  # then what the schema makes of it (`daily: 35d` → `daily.keep`) came from here as well


@dataclass(frozen=True, slots=True)
class Merged:
    """Plain data for validation, and the origin of every path in it."""

    data: Any
    origins: dict[Path, Origin] = field(default_factory=dict)


def merge(base: Node, override: Node | None = None, environment: str | None = None) -> Merged:
    """`base` with `override` laid over it, and where each value came from."""
    origins: dict[Path, Origin] = {}
    if override is None:
        return Merged(_taken((), base, BASE, origins), origins)
    return Merged(_merged((), base, override, f"environments.{environment}", origins), origins)


def _merged(path: Path, base: Node, over: Node, source: str, origins: dict[Path, Origin]) -> Any:
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return _taken(path, over, source, origins)
    origins[path] = Origin(BASE, base.line, base.column)
    data: dict[str, Any] = {}
    for key, below in base.value.items():
        above = over.value.get(key)
        if above is None:
            data[key] = _taken((*path, key), below, BASE, origins)
        else:
            data[key] = _merged((*path, key), below, above, source, origins)
    for key, above in over.value.items():
        if key not in base.value:
            data[key] = _taken((*path, key), above, source, origins)
    return data


def _taken(path: Path, node: Node, source: str, origins: dict[Path, Origin]) -> Any:
    """All of `node`, which comes from one place."""
    origins[path] = Origin(source, node.line, node.column, not isinstance(node.value, dict | list))
    if isinstance(node.value, dict):
        return {key: _taken((*path, key), child, source, origins) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_taken((*path, index), item, source, origins) for index, item in enumerate(node.value)]
    return node.value
