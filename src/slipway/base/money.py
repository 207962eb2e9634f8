"""Money as whole micro-dollars (1 USD = 1,000,000). A cost is rounded up: never less than what it stands for."""

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Final

from slipway.base.errors import InvalidRequest

USD_MICROS: Final = 1_000_000
_AMOUNT: Final = re.compile(r"^\$\s?(\d[\d,_]*(?:\.\d{1,6})?)$")


def parse_usd_micros(text: str) -> int:
    """Micro-dollars of a text like `$5`, `$0.05` or `$1,200`.

    Raises InvalidRequest when the dollar sign is missing or the amount has more than six decimals.
    """
    match = _AMOUNT.match(text.strip())
    if match is None:
        raise InvalidRequest(f"{text!r} is not an amount of money: write it in US dollars, like $5 or $0.05")
    try:
        return int(Decimal(re.sub("[,_]", "", match[1])) * USD_MICROS)
    except InvalidOperation as error:
        raise InvalidRequest(f"{text!r} is not an amount of money") from error


def format_usd(micros: int) -> str:
    """A text like `$1.50` or `$0.000023`: two decimals at least, and no digit lost."""
    sign, whole = ("-", -micros) if micros < 0 else ("", micros)
    fraction = f"{whole % USD_MICROS:06d}"
    return f"{sign}${whole // USD_MICROS:,}.{fraction[:2]}{fraction[2:].rstrip('0')}"


def cost_usd_micros(tokens: int, usd_micros_per_million: int) -> int:
    """What `tokens` cost at a price per million tokens, rounded up to the next micro-dollar."""
    cost = Decimal(tokens) * Decimal(usd_micros_per_million) / Decimal(1_000_000)
    return int(cost.to_integral_value(rounding=ROUND_CEILING))
