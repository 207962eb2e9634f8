"""What each type of resource is charged for: which price, times how much.

A function a type, over the resource as the template has it and what the stack says about its scaling. Used by `costs`.
Data that grows, requests and traffic come from the assumed use (`prices.toml`); everything else from the template.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from slipway.operations.prices import Range, Usage
from slipway.operations.references import Resources, StackState, targets

Resource = Mapping[str, Any]
ONE: Final = Range.fixed(1)
_MONTH: Final = Decimal(730)


@dataclass(frozen=True, slots=True)
class Charge:
    """A quantity of something that has a price, and what it is in words."""

    price: str
    quantity: Range
    what: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What surrounds a resource: its stack, the assumed use, and the share of the month in which tasks run.

    `counts` has how many resources of each type the site has, for a use that is assumed once for all of them.
    """

    stack: StackState
    usage: Usage
    running: Decimal
    counts: Mapping[str, int]

    def evenly(self, used: Range, kind: str) -> Range:
        """The part of an assumed use that falls to one resource of a type."""
        return used.times(Decimal(1) / max(self.counts.get(kind, 1), 1))

    def target(self, value: Any) -> Resource:
        """The resource of this stack that a value refers to; empty for none."""
        for name in targets(value):
            if name in self.stack.resources:
                return self.stack.resources[name]
        return {}

    def bounds(self, name: str, count: Decimal) -> tuple[Decimal, Decimal]:
        """Fewest and most of a scaled service: its scalable target's, or the fixed count."""
        for resource in self.stack.resources.values():
            if resource["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget":
                properties, named = resource["Properties"], self.stack.resources[name]["Properties"].get("ServiceName")
                scaled = properties.get("ResourceId")
                stated = isinstance(scaled, str) and named is not None and scaled.endswith(f"/{named}")
                if stated or name in targets(scaled):
                    return number(properties["MinCapacity"]), number(properties["MaxCapacity"])
        return count, count


Rule = Callable[[str, Resource, Setting], Iterator[Charge]]


def number(value: Any, default: int = 0) -> Decimal:
    """A number of a template, which may stand as text; `default` for what only a deploy knows."""
    return Decimal(str(value)) if isinstance(value, int | float | str) and str(value) else Decimal(default)


def amount(value: Decimal) -> str:
    """A quantity without zeros behind it."""
    return f"{value.normalize():f}"


def hours(price: str, count: Range | int, what: str) -> Charge:
    """So many of something for the whole month."""
    quantity = Range.fixed(count) if isinstance(count, int) else count
    return Charge(price, quantity.times(_MONTH), what)


def span(least: Decimal, most: Decimal) -> str:
    """`2 to 10`, or one number when both are the same."""
    return amount(least) if least == most else f"{amount(least)} to {amount(most)}"


def counted(resources: Resources) -> Mapping[str, int]:
    """How many resources of each type there are; endpoints that cost nothing left out."""
    counts: dict[str, int] = {}
    for resource in resources.values():
        gateway = resource.get("Properties", {}).get("VpcEndpointType", "Gateway") == "Gateway"
        if resource["Type"] == "AWS::EC2::VPCEndpoint" and gateway:
            continue
        counts[resource["Type"]] = counts.get(resource["Type"], 0) + 1
    return counts
