"""The network of a site: its own, one that exists, or that of the environment which it shares.

Read by the foundation, which makes the first, and used by it as one value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Fn

from slipway.infra.naming import Names
from slipway.infra.passages import ENDPOINTS, has_interfaces
from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.topology import LOAD_BALANCER
from slipway.manifest.sections.network import Tier

_TIERS: Final[tuple[Tier, ...]] = ("public", "private", "isolated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A VPC and its subnets, one a zone. `groups` are security groups that it brings along, by name."""

    vpc_id: str
    public: Sequence[str]
    private: Sequence[str]
    isolated: Sequence[str]
    groups: dict[str, str]


def given_network(site: Site) -> Network | None:
    """The network that is not made here; None when it is."""
    network = site.manifest.network
    if site.manifest.share is not None:
        return _shared(site, Names(site.manifest.name, site.manifest.share))
    if network.vpc is None or network.subnets is None:
        return None
    subnets = network.subnets
    return Network(
        vpc_id=network.vpc, public=subnets.public, private=subnets.private, isolated=subnets.isolated, groups={}
    )


def shared_groups(site: Site) -> tuple[str, ...]:
    """Security groups that a network brings along for those who share it: who else stands in it lets them in."""
    endpoints = (ENDPOINTS,) if has_interfaces(site.manifest) else ()
    return (LOAD_BALANCER, *endpoints)


def export_network(stack: SiteStack, network: Network) -> None:
    """Exports a network for environments that share it."""
    values = {
        "vpc": network.vpc_id,
        **{f"{tier}-subnets": ",".join(subnets) for tier, subnets in _by_tier(network) if subnets},
        **{f"{name}-group": group for name, group in network.groups.items()},
    }
    for name, value in values.items():
        output = stack.publish(f"Shared{Names.construct(name)}", value, "For environments that share it.")
        output.export_name = _export(stack.site.names, name)


def _shared(site: Site, names: Names) -> Network:
    """Its zones, tiers and endpoints are those of this environment's manifest: who shares a network says the same."""
    tiers, zones = site.manifest.network.present_tiers, site.manifest.network.subnet_zones
    subnets = {
        tier: [
            Fn.select(index, Fn.split(",", Fn.import_value(_export(names, f"{tier}-subnets"))))
            for index in range(zones)
        ]
        for tier in tiers
    }
    return Network(
        vpc_id=Fn.import_value(_export(names, "vpc")),
        public=subnets.get("public", ()),
        private=subnets["private"],
        isolated=subnets.get("isolated", ()),
        groups={name: Fn.import_value(_export(names, f"{name}-group")) for name in shared_groups(site)},
    )


def _by_tier(network: Network) -> tuple[tuple[Tier, Sequence[str]], ...]:
    return tuple(zip(_TIERS, (network.public, network.private, network.isolated), strict=True))


def _export(names: Names, name: str) -> str:
    return f"{names.prefix}-network-{name}"
