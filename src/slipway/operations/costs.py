"""What the templates cost in a month at list prices: idle, with little use, as expected, with much.

The idle floor is what is paid when nobody asks anything. Each line has its price with its unit, page and day. A type
that is neither priced nor known to be free is named: nothing is silently free. What models are asked is not in here: it
is charged by use, and the plans of the manifest hold it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from slipway.operations.charges import Charge, Rule, Setting, counted
from slipway.operations.charges_compute import COMPUTE
from slipway.operations.charges_stores import STORES
from slipway.operations.prices import Range, Table, Usage, table
from slipway.operations.references import StackState

RULES: Final[Mapping[str, Rule]] = {**COMPUTE, **STORES}


@dataclass(frozen=True, slots=True)
class Amounts:
    """Micro-dollars of a month."""

    floor: int = 0
    low: int = 0
    expected: int = 0
    high: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.floor + other.floor, self.low + other.low, self.expected + other.expected, self.high + other.high
        )

    def __sub__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.floor - other.floor, self.low - other.low, self.expected - other.expected, self.high - other.high
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One charge of one resource. `usd` is the price of one `unit`; `note` says what weakens the figure."""

    stack: str
    resource: str
    kind: str
    what: str
    amounts: Amounts
    usd: str
    unit: str
    source: str
    as_of: date
    note: str = ""


@dataclass(frozen=True, slots=True)
class Costs:
    """The estimate of a month. `unpriced` are resources with what the table has no price for; `assumed` is the use."""

    lines: tuple[CostLine, ...]
    unpriced: tuple[tuple[str, str], ...]
    assumed: str

    @property
    def total(self) -> Amounts:
        """All lines together."""
        return sum((line.amounts for line in self.lines), Amounts())

    def by_kind(self) -> Mapping[str, Amounts]:
        """Sums by type of resource, the dearest first."""
        sums: dict[str, Amounts] = {}
        for line in self.lines:
            sums[line.kind] = sums.get(line.kind, Amounts()) + line.amounts
        return dict(sorted(sums.items(), key=lambda item: (-item[1].expected, item[0])))


def estimate(stacks: Iterable[StackState], *, production: bool, running: Decimal = Decimal(1)) -> Costs:
    """The estimate over stacks; `running` is the share of the month in which tasks and instances are not stopped."""
    prices, states = table(), tuple(stacks)
    usage = prices.usages["production" if production else "other"]
    counts = counted({f"{stack.part}/{name}": item for stack in states for name, item in stack.resources.items()})
    lines: list[CostLine] = []
    unpriced: list[tuple[str, str]] = []
    for stack in states:
        setting = Setting(stack, usage, running, counts)
        for name, kind, charge in _charges(stack, setting, prices):
            if isinstance(charge, Charge):
                lines.append(_line(stack, name, kind, charge, prices))
            else:
                unpriced.append((f"{stack.part}/{name}", charge))
    return Costs(tuple(lines), tuple(unpriced), _assumed(usage, running))


def _charges(stack: StackState, setting: Setting, prices: Table) -> Iterator[tuple[str, str, Charge | str]]:
    """Each charge of each resource; a text is what has no price."""
    for name, resource in stack.resources.items():
        kind = resource["Type"]
        rule = RULES.get(kind)
        if rule is not None:
            for charge in rule(name, {"Properties": {}, **resource}, setting):
                yield name, kind, charge if charge.price in prices.prices else charge.price
        elif kind not in prices.free:
            yield name, kind, kind


def _line(stack: StackState, name: str, kind: str, charge: Charge, prices: Table) -> CostLine:
    price = prices.prices[charge.price]
    elsewhere = stack.region not in prices.regions
    return CostLine(
        stack=stack.part,
        resource=name,
        kind=kind,
        what=charge.what,
        amounts=_amounts(charge.quantity, price.usd),
        usd=f"{price.usd:f}",
        unit=price.unit,
        source=price.source,
        as_of=prices.as_of,
        note=f"no price of {stack.region}: us-east-1's" if elsewhere else "",
    )


def _amounts(quantity: Range, usd: Decimal) -> Amounts:
    return Amounts(
        _micros(quantity.floor * usd),
        _micros(quantity.low * usd),
        _micros(quantity.expected * usd),
        _micros(quantity.high * usd),
    )


def _micros(usd: Decimal) -> int:
    return int((usd * 1_000_000).to_integral_value(rounding=ROUND_HALF_UP))


def _assumed(usage: Usage, running: Decimal) -> str:
    """The assumptions in a sentence, for whoever reads the figures."""
    said = [
        f"{_three(usage.requests_millions)} million requests",
        f"{_three(usage.stored_gb)} GB in databases",
        f"{_three(usage.objects_gb)} GB of objects",
        f"{_three(usage.logs_gb)} GB of logs",
        f"{_three(usage.out_gb)} GB to the internet",
        f"{_three(usage.users)} users",
        f"what scales at {_three(usage.load.times(100))} % of the way from its least to its most",
    ]
    stopped = "" if running == 1 else f"; tasks run {running * 100:.0f} % of the month"
    return f"{', '.join(said)}{stopped} (low / expected / high)"


def _three(used: Range) -> str:
    return " / ".join(f"{value.normalize():f}" for value in (used.low, used.expected, used.high))
