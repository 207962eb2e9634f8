"""Which subnets a VPC has: those that the manifest states, or its range shared out.

Read by the rules, which count addresses, and by `infra`. The share of a tier in a zone depends on neither how many
tiers nor how many zones there are: adding a zone or a tier later moves no subnet, and so replaces nothing in one.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final

from slipway.base.errors import Misconfigured
from slipway.manifest.sections.network import Network, Tier

TIERS: Final[tuple[Tier, ...]] = ("public", "private", "isolated")
_TIER_BITS: Final = 2  # a quarter of the range for each tier; the fourth quarter stays free
_ZONE_BITS: Final = 3  # an eighth of a tier's quarter for each zone: a region has six at most
_SMALLEST: Final = 28  # AWS makes no smaller subnet


def subnet_ranges(network: Network) -> Mapping[Tier, tuple[str, ...]]:
    """The ranges of a VPC that is made, one a zone, in the zones' order.

    Raises Misconfigured when the VPC is too small for its zones.
    """
    if network.subnets is not None:
        return network.subnets.tiers()
    whole = ipaddress.IPv4Network(network.cidr)
    quarters = list(whole.subnets(prefixlen_diff=_TIER_BITS))
    prefix = min(whole.prefixlen + _TIER_BITS + _ZONE_BITS, _SMALLEST)
    shares: dict[Tier, tuple[str, ...]] = {}
    for quarter, tier in zip(quarters, TIERS, strict=False):
        if tier not in network.tiers:
            continue
        parts = [str(part) for part in quarter.subnets(new_prefix=prefix)]
        if len(parts) < network.subnet_zones:
            raise Misconfigured(
                f"{network.cidr} has room for {len(parts)} zones, and {network.subnet_zones} are asked for: write a "
                f"larger network.cidr, or fewer azs."
            )
        shares[tier] = tuple(parts[: network.subnet_zones])
    return shares
