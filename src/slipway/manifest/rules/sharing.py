"""Environments that stand in another one's network and behind its load balancer fit what that one has.

Called by `loading`, which knows both; `name` is what the other one, the host, is called. Who shares makes no subnet, no
endpoint, no listener and no certificate: what its manifest says of them has to be what the host makes.
"""

from collections.abc import Iterator
from typing import Any, Final

from slipway.manifest.problems import Finding
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.network import FREE_ENDPOINTS

# Rules that each preview has on its host's listener: `infra` numbers them in blocks of this size.
RULES_EACH: Final = 45
_SAME: Final = ("vpc", "subnets", "cidr", "azs", "tiers")


def fits(manifest: Manifest, host: Manifest, name: str) -> Iterator[Finding]:
    """What the environment `manifest` says otherwise than its host has it."""
    if None not in (manifest.region, host.region) and manifest.region != host.region:
        yield Finding(
            ("region",), f"`{name}` lies in {host.region}, and a network is shared in its own region: write that"
        )
    yield from _network(manifest, host, name)
    yield from _way_in(manifest, host, name)
    routed = _routed(manifest, "public") + _routed(manifest, "internal")
    if routed > RULES_EACH:
        yield Finding(
            ("services",),
            f"{routed} parts have routes, and each preview has {RULES_EACH} rules on the listener of `{name}`: remove "
            f"{routed - RULES_EACH} routes",
        )


def _network(manifest: Manifest, host: Manifest, name: str) -> Iterator[Finding]:
    own, shared = manifest.network, host.network
    for key in _SAME:
        if getattr(own, key) != getattr(shared, key):
            yield Finding(
                ("network", key),
                f"this is {_written(getattr(own, key))}, and the network of `{name}`, which is used here, has "
                f"{_written(getattr(shared, key))}: write the same here and there",
            )
    if (own.nat == "none") != (shared.nat == "none"):
        yield Finding(
            ("network", "nat"),
            f"this is {own.nat}, and `{name}`, whose way out is used here, has nat: {shared.nat}: write that",
        )
    missing = [each for each in own.endpoints if each not in shared.endpoints and each not in FREE_ENDPOINTS]
    if missing:
        yield Finding(
            ("network", "endpoints"),
            f"`{name}` makes the endpoints that are used here, and has none of {', '.join(missing)}: add them there, "
            "or remove them here",
        )


def _way_in(manifest: Manifest, host: Manifest, name: str) -> Iterator[Finding]:
    own, shared = manifest.edge, host.edge
    for exposure in ("public", "internal"):
        if _routed(manifest, exposure) and not _routed(host, exposure):
            yield Finding(
                ("share",),
                f"parts here have {exposure} routes, and `{name}` has none and so no load balancer for them: share an "
                "environment that has one",
            )
    if own.api_gateway != shared.api_gateway:
        where = "behind API Gateway" if shared.api_gateway else "on the internet"
        yield Finding(
            ("edge", "api_gateway"),
            f"the load balancer of `{name}` stands {where}: write api_gateway: {str(shared.api_gateway).lower()}",
        )
    mine, theirs = (None if edge.domain is None else edge.domain.name for edge in (own, shared))
    if mine != theirs:
        instead = "leave domain out" if theirs is None else f"write domain: {{name: {theirs}, …}}"
        yield Finding(
            ("edge", "domain"),
            f"previews answer below the domain of `{name}`, which its certificate is for, and that is "
            f"{theirs or 'none'}, not {mine or 'none'}: {instead}",
        )


def _routed(manifest: Manifest, exposure: str) -> int:
    """How many parts have routes of that exposure; all components have public ones."""
    services = [each for each in manifest.services.values() if each.route is not None and each.exposure == exposure]
    return len(services) + (len(manifest.component_order()) if exposure == "public" else 0)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)
