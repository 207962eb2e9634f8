"""Every rule that spans sections, with the sections it reads.

Called by `loading` once the shape holds. A rule is passed over while a section it reads has a problem of its
own: what it would say then could be wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from slipway.manifest.problems import Finding
from slipway.manifest.rules import bedrock, capacity, exposure, needs, objectives, passage, references, room
from slipway.manifest.schema import Manifest


@dataclass(frozen=True, slots=True)
class Rule:
    """A check over the named sections."""

    reads: tuple[str, ...]
    check: Callable[[Manifest], Iterator[Finding]]


_CALLED: Final = ("dependencies", "identity", "data", "agents")
_TASKS: Final = ("compute", "components", "services")
RULES: Final[tuple[Rule, ...]] = (
    Rule(("models",), references.models_named),
    Rule(("models",), references.fallbacks),
    Rule(("models", "agents"), bedrock.agent_model),
    Rule(("data", "agents"), bedrock.knowledge_base),
    Rule(("components", "services", "dependencies", "data", "agents"), needs.met),
    Rule(("data", "region"), needs.made),
    Rule(("services",), needs.circular),
    Rule(("components", "services", "dependencies", "data", "agents"), needs.names_taken),
    Rule(("components", "services"), needs.discovered),
    Rule(("services",), exposure.store_routes),
    Rule(("services",), exposure.routes_taken),
    Rule(("compute", "services"), capacity.fargate_sizes),
    Rule(("compute", "services"), capacity.host_volumes),
    Rule((*_TASKS, "schedule", "template"), capacity.spare_capacity),
    Rule((*_TASKS, "capacity"), capacity.fits_instance),
    Rule((*_TASKS, "network", "delivery"), capacity.kubernetes),
    Rule((*_TASKS, "capacity"), room.interfaces),
    Rule((*_TASKS, "capacity", "network", "edge", "data", "bastion"), room.subnets),
    Rule(("compute", "network", "bastion", "models", *_CALLED), passage.without_nat),
    Rule(("components", "services", "edge", "network"), passage.front_door),
    Rule(("region", "edge"), passage.certificate_region),
    Rule(("components", "services", "edge"), passage.firewall),
    Rule(("edge", "monitoring", "plans"), passage.api_limits),
    Rule(("edge", "recovery"), passage.second_region),
    Rule(("data", "region", "recovery"), objectives.recovery_region),
    Rule(("data", "services", "recovery"), objectives.missed),
    Rule(("data", "services", "recovery"), objectives.gaps_named),
)


def check(manifest: Manifest, failed: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """What the rules refuse, those aside that read a section in `failed`."""
    for rule in RULES:
        if failed.isdisjoint(rule.reads):
            yield from rule.check(manifest)
