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
    return Merged(_merge((), base, override, f"environments.{environment}", origins), origins)


def _merge(path: Path, base: Node | None, over: Node | None, source: str, origins: dict[Path, Origin]) -> Any:
    below = base.value if base is not None else None
    above = over.value if over is not None else None
    if base is not None and isinstance(below, dict) and (over is None or isinstance(above, dict)):
        origins[path] = Origin(BASE, base.line, base.column)
        upper = above if isinstance(above, dict) else {}
        keys = [*below, *(key for key in upper if key not in below)]
        return {key: _merge((*path, key), below.get(key), upper.get(key), source, origins) for key in keys}
    if over is not None:
        return _taken(path, over, source, origins)
    assert base is not None  # noqa: S101 - a path is walked because one of the two has it
    return _taken(path, base, BASE, origins)


def _taken(path: Path, node: Node, source: str, origins: dict[Path, Origin]) -> Any:
    """All of `node`, which comes from one place."""
    origins[path] = Origin(source, node.line, node.column, not isinstance(node.value, dict | list))
    if isinstance(node.value, dict):
        return {key: _taken((*path, key), child, source, origins) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_taken((*path, index), item, source, origins) for index, item in enumerate(node.value)]
    return node.value
