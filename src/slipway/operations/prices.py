"""The table of prices and of assumed use: `prices.toml`, read once.

Used by `charges` and `costs`. A price has its unit, its page and the day on which it was looked at.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Price:
    """A list price in US dollars per unit."""

    usd: Decimal
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Range:
    """A quantity that nobody knows before: with nothing asked, with little use, as expected, and with much."""

    floor: Decimal
    low: Decimal
    expected: Decimal
    high: Decimal

    @classmethod
    def fixed(cls, value: Decimal | int) -> "Range":
        """The same whatever is asked."""
        number = Decimal(value)
        return cls(number, number, number, number)

    @classmethod
    def used(cls, low: Any, expected: Any, high: Any) -> "Range":
        """Nothing while nothing is asked."""
        return cls(Decimal(0), Decimal(str(low)), Decimal(str(expected)), Decimal(str(high)))

    def times(self, factor: Decimal | int | str) -> "Range":
        """Each of the four times a number."""
        number = Decimal(factor)
        return Range(self.floor * number, self.low * number, self.expected * number, self.high * number)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a month is assumed to bring; `load` is how far what scales goes from its least to its most."""

    load: Range
    requests_millions: Range
    stored_gb: Range
    objects_gb: Range
    logs_gb: Range
    out_gb: Range
    nat_gb: Range
    users: Range

    def between(self, least: Decimal, most: Decimal) -> Range:
        """How much of something that scales runs on average."""
        room = most - least
        load = self.load
        return Range(least, least + room * load.low, least + room * load.expected, least + room * load.high)


@dataclass(frozen=True, slots=True)
class Table:
    """All prices, the regions and the day for which they hold, and the types that cost nothing of their own."""

    prices: Mapping[str, Price]
    regions: frozenset[str]
    as_of: date
    hours: Decimal
    free: frozenset[str]
    usages: Mapping[str, Usage]


@cache
def table() -> Table:
    """The table as this version of Slipway carries it."""
    data = tomllib.loads(files("slipway.operations").joinpath("prices.toml").read_text("utf-8"))
    return Table(
        prices={key: Price(Decimal(row["usd"]), row["unit"], row["source"]) for key, row in data["price"].items()},
        regions=frozenset(data["regions"]),
        as_of=data["as_of"],
        hours=Decimal(data["hours_per_month"]),
        free=frozenset(data["free"]["types"]),
        usages={
            name: Usage(**{key: Range.used(*triple) for key, triple in row.items()})
            for name, row in data["usage"].items()
        },
    )
