"""Ranges of IPv4 addresses as sections use them."""

import ipaddress
from collections.abc import Iterable

from pydantic_core import PydanticCustomError


def ip_range(text: str) -> str:
    """`text`, when it is a range; a refusal otherwise."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        raise PydanticCustomError(
            "ip_range",
            "this is not a range of IPv4 addresses: write one like 10.0.1.0/24, whose last bits are 0",
        ) from error
    return text


def overlapping(ranges: Iterable[str]) -> tuple[str, str] | None:
    """The first two of `ranges` that share an address."""
    seen: list[ipaddress.IPv4Network] = []
    for text in ranges:
        network = ipaddress.IPv4Network(text)
        other = next((each for each in seen if each.overlaps(network)), None)
        if other is not None:
            return str(other), text
        seen.append(network)
    return None
