"""Quantities as people write them, each with its unit: durations, sizes, money, percentages, counts, times
of day.

The sections use them as field types; whoever reads a manifest takes the integer (`.seconds`, `.bytes`,
`.usd_micros` …). A bare number is refused wherever a unit is due: `30` says neither seconds nor days.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from slipway.base.errors import InvalidRequest
from slipway.base.money import USD_MICROS, format_usd, parse_usd_micros

_S_MS = 1_000
_DURATION_MS = {
    "y": 365 * 86_400 * _S_MS,
    "w": 7 * 86_400 * _S_MS,
    "d": 86_400 * _S_MS,
    "h": 3_600 * _S_MS,
    "m": 60 * _S_MS,
    "s": _S_MS,
    "ms": 1,
}
_SIZE_BYTES = {
    "TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10,
    "TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "B": 1,
}  # fmt: skip
_COUNT = {"B": 10**9, "M": 10**6, "k": 10**3, "": 1}


class Quantity(ABC):
    """What every quantity shares: it is written as text, checked once, and writes itself back the same."""

    __slots__ = ()
    PATTERN: ClassVar[str]
    EXAMPLES: ClassVar[tuple[str, ...]]
    NOUN: ClassVar[str]

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """The quantity that `text` states; raises InvalidRequest with what to write instead."""

    @classmethod
    def refusal(cls, given: object) -> InvalidRequest:
        return InvalidRequest(f"{given!r} is not {cls.NOUN}: write {_listed(cls.EXAMPLES)}")

    @classmethod
    def _validate(cls, given: object) -> Self:
        if isinstance(given, cls):
            return given
        try:
            if isinstance(given, str):
                return cls.parse(given)
            raise cls._without_unit(given)
        except InvalidRequest as error:
            raise PydanticCustomError("quantity", "{reason}", {"reason": error.public}) from error

    @classmethod
    def _without_unit(cls, given: object) -> InvalidRequest:
        if isinstance(given, int | float) and not isinstance(given, bool):
            return InvalidRequest(f"{given} lacks its unit: write {cls.NOUN} like {_listed(cls.EXAMPLES)}")
        return cls.refusal(given)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": cls.PATTERN, "examples": list(cls.EXAMPLES)}


@dataclass(frozen=True, slots=True, order=True)
class Duration(Quantity):
    """A length of time, at most 100 years; a year is 365 days."""

    PATTERN = r"^[0-9]{1,13}(ms|s|m|h|d|w|y)$"
    EXAMPLES = ("30s", "5m", "4h", "7d", "1y")
    NOUN = "a duration"

    milliseconds: int

    @property
    def seconds(self) -> int:
        """Whole seconds, rounded up: a deadline or a retention is never shorter than what was written."""
        return -(-self.milliseconds // _S_MS)

    @property
    def days(self) -> int:
        """Whole days, rounded up."""
        return -(-self.milliseconds // _DURATION_MS["d"])

    @classmethod
    def parse(cls, text: str) -> Self:
        number, unit = _split(cls, text)
        milliseconds = int(number) * _DURATION_MS[unit]
        if milliseconds > 100 * _DURATION_MS["y"]:
            raise InvalidRequest(f"{text!r} is more than 100 years")
        return cls(milliseconds)

    @classmethod
    def of(cls, *, minutes: int = 0, hours: int = 0, days: int = 0) -> Self:
        return cls(((days * 24 + hours) * 60 + minutes) * 60 * _S_MS)

    def __str__(self) -> str:
        for unit in ("y", "d", "h", "m", "s"):
            if self.milliseconds and self.milliseconds % _DURATION_MS[unit] == 0:
                return f"{self.milliseconds // _DURATION_MS[unit]}{unit}"
        return f"{self.milliseconds}ms" if self.milliseconds else "0s"


@dataclass(frozen=True, slots=True, order=True)
class Size(Quantity):
    """An amount of bytes, binary (MiB) or decimal (MB)."""

    PATTERN = r"^[0-9]{1,9}(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$"
    EXAMPLES = ("512MiB", "20GiB", "100MB")
    NOUN = "a size"

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Self:
        number, unit = _split(cls, text)
        return cls(int(number) * _SIZE_BYTES[unit])

    def __str__(self) -> str:
        for unit, value in _SIZE_BYTES.items():
            if self.bytes % value == 0 and 0 < self.bytes // value < 10**9:
                return f"{self.bytes // value}{unit}"
        return f"{self.bytes}B"


@dataclass(frozen=True, slots=True, order=True)
class Money(Quantity):
    """US dollars, held as micro-dollars."""

    PATTERN = r"^\$ ?[0-9][0-9,_]*(\.[0-9]{1,6})?$"
    EXAMPLES = ("$5", "$0.05", "$1,200")
    NOUN = "an amount of money"

    usd_micros: int

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(parse_usd_micros(text))

    def __str__(self) -> str:
        text = format_usd(self.usd_micros)
        return text.removesuffix(".00") if self.usd_micros % USD_MICROS == 0 else text


@dataclass(frozen=True, slots=True, order=True)
class Percent(Quantity):
    """A share of a hundred, held in basis points (1 % = 100) so that 99.95% stays exact. At most 1000%."""

    PATTERN = r"^[0-9]{1,4}(\.[0-9]{1,2})?%$"
    EXAMPLES = ("80%", "99.9%")
    NOUN = "a percentage"

    basis_points: int

    @classmethod
    def parse(cls, text: str) -> Self:
        number, _ = _split(cls, text, unit="%")
        points = int(Decimal(number) * 100)
        if points > 100_000:
            raise InvalidRequest(f"{text!r} is more than 1000%")
        return cls(points)

    def __str__(self) -> str:
        return f"{(Decimal(self.basis_points) / 100).normalize():f}%"


@dataclass(frozen=True, slots=True, order=True)
class Count(Quantity):
    """A number of things, plain or in thousands (k), millions (M) or billions (B)."""

    PATTERN = r"^[0-9]{1,15}[kMB]?$"
    EXAMPLES = ("250", "10k", "1M")
    NOUN = "a count"

    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        number, unit = _split(cls, text)
        return cls(int(number) * _COUNT[unit])

    @classmethod
    def _validate(cls, given: object) -> Self:
        if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
            return cls(given)
        # Zero-argument super() does not work in a dataclass with slots: the class is made twice.
        return super(Count, cls)._validate(given)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": cls.PATTERN}],
            "examples": list(cls.EXAMPLES),
        }

    def __str__(self) -> str:
        for unit, value in _COUNT.items():
            if self.count and self.count % value == 0:
                return f"{self.count // value}{unit}"
        return "0"


@dataclass(frozen=True, slots=True)
class TimeOfDay(Quantity):
    """A minute of the day in UTC, every day or on weekdays."""

    PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9] UTC( weekdays)?$"
    EXAMPLES = ("22:00 UTC", "07:00 UTC weekdays")
    NOUN = "a time of day in UTC"

    hour: int
    minute: int
    weekdays_only: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        if re.fullmatch(cls.PATTERN, text.strip()) is None:
            raise cls.refusal(text)
        hour, minute = text.strip()[:5].split(":")
        return cls(int(hour), int(minute), text.strip().endswith("weekdays"))

    def __str__(self) -> str:
        return f"{self.hour:02d}:{self.minute:02d} UTC{' weekdays' if self.weekdays_only else ''}"


def _split(kind: type[Quantity], text: str, unit: str | None = None) -> tuple[str, str]:
    """The number and the unit of `text`, once it has the form that `kind` asks for."""
    stripped = text.strip()
    if re.fullmatch(kind.PATTERN, stripped, re.ASCII) is None:
        raise kind.refusal(text)
    number = stripped[: -len(unit)] if unit else stripped.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return number, stripped[len(number) :]


def _listed(examples: tuple[str, ...]) -> str:
    return f"{', '.join(examples[:-1])} or {examples[-1]}"
