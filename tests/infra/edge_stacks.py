"""The edge's stacks alone, on a network and a load balancer that are names: for tests of what stands in front."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from slipway.infra.app import Assembly, Resource, Synthesis, new_app, template_of
from slipway.infra.site import site_of
from slipway.infra.stacks.access import AccessStack
from slipway.infra.stacks.edge import EdgeStack
from slipway.infra.stacks.edge_global import EdgeGlobalStack
from slipway.infra.stacks.edge_recovery import EdgeRecoveryStack
from slipway.infra.stacks.entrance import Entrance
from slipway.infra.stacks.stack import SiteStack
from tests.infra.alterations import seen_assembly
from tests.infra.synthesis import INPUTS, PREVIEW_INPUTS, manifest_of

ACCOUNT = "arn:aws:{}:us-east-1:123456789012:{}"
BALANCER = ACCOUNT.format("elasticloadbalancing", "loadbalancer/app/front/0123456789abcdef")
ENTRANCE = Entrance(
    arn=BALANCER,
    full_name="app/front/0123456789abcdef",
    dns_name="front.us-east-1.elb.amazonaws.com",
    zone_id="Z35SXDOTRQ7X7K",
    listener_arn=ACCOUNT.format("elasticloadbalancing", "listener/app/front/0123456789abcdef/0123456789abcdef"),
)
SUBNETS = ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1")


class Ground:
    """A network of two zones."""

    private_subnet_ids = SUBNETS

    def __init__(self) -> None:
        self.groups = {"functions": "sg-0123456789abcdef0", "vpc-link": "sg-0123456789abcdef1"}

    def security_group(self, name: str) -> str:
        return self.groups[name]

    def key(self, store: str) -> str:
        return ACCOUNT.format("kms", f"key/00000000-0000-0000-0000-{len(store):012d}")


def blueprint(name: str, environment: str) -> Synthesis:
    """A blueprint's edge, as it stands."""
    return changed(name, environment, {})


def changed(name: str, environment: str, changes: Mapping[str, Any]) -> Synthesis:
    """Its edge with other numbers in the manifest."""
    found = _synthesized(name, environment, json.dumps(changes))
    return replace(found, assembly=seen_assembly(found.assembly))


@cache
def _synthesized(name: str, environment: str, changes: str) -> Synthesis:
    manifest = manifest_of(name, environment, json.loads(changes))
    site = site_of(manifest, environment, PREVIEW_INPUTS if manifest.template else INPUTS)
    ground = Ground()
    stacks: list[SiteStack] = []
    with tempfile.TemporaryDirectory() as folder:
        app = new_app(folder)
        console = EdgeGlobalStack(app, site) if EdgeGlobalStack.is_needed(site) else None
        access = AccessStack.without(site)
        if console is not None:
            stacks.append(console)
        if AccessStack.is_needed(site):
            made = AccessStack(app, site, foundation=ground, edge_global=console)
            stacks.append(made)
            access = made.access
        if EdgeStack.is_needed(site):
            stacks.append(EdgeStack(app, site, foundation=ground, access=access, front_door=ENTRANCE))
        if EdgeRecoveryStack.is_needed(site):
            stacks.append(EdgeRecoveryStack(app, site))
        app.synth()
        return Synthesis(app, Assembly(site, tuple(template_of(stack, Path(folder)) for stack in stacks)))


def resources(name: str, environment: str, part: str, changes: Mapping[str, Any] | None = None) -> dict[str, Resource]:
    """The resources of one stack of a blueprint's edge."""
    synthesis = blueprint(name, environment) if changes is None else changed(name, environment, changes)
    return synthesis.assembly.stack(part).resources()
