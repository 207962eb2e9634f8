"""Every rule that spans sections, with the sections it reads.

Called by `loading` once the shape holds. A rule is passed over while a section it reads has a problem of its
own: what it would say then could be wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from slipway.manifest.problems import Finding
from slipway.manifest.rules import exposure, needs, objectives, references
from slipway.manifest.schema import Manifest


@dataclass(frozen=True, slots=True)
class Rule:
    """A check over the named sections."""

    reads: tuple[str, ...]
    check: Callable[[Manifest], Iterator[Finding]]


RULES: Final[tuple[Rule, ...]] = (
    Rule(("models",), references.models_named),
    Rule(("models",), references.fallbacks),
    Rule(("components", "services", "data"), needs.met),
    Rule(("services",), needs.circular),
    Rule(("components", "services", "data"), needs.names_taken),
    Rule(("services",), exposure.store_routes),
    Rule(("services",), exposure.routes_taken),
    Rule(("data", "region", "recovery"), objectives.recovery_region),
    Rule(("data", "recovery"), objectives.missed),
    Rule(("data", "recovery"), objectives.gaps_named),
)


def check(manifest: Manifest, failed: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """What the rules refuse, those aside that read a section in `failed`."""
    for rule in RULES:
        if failed.isdisjoint(rule.reads):
            yield from rule.check(manifest)
