"""The data stack of a blueprint alone, on a ground of plain texts: fast, and without the stacks of others."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from aws_cdk.assertions import Template

from slipway.infra.app import Resource, new_app
from slipway.infra.site import Site, site_of
from slipway.infra.stacks.data import DataStack
from slipway.infra.stacks.recovery import RecoveryStack
from slipway.infra.stacks.recovery_targets import RecoveryTargetsStack
from slipway.infra.stacks.stack import SiteStack
from tests.infra.alterations import seen
from tests.infra.synthesis import INPUTS, PREVIEW_INPUTS, manifest_of


class PlainGround:
    """A foundation whose handles say what they are."""

    data_subnet_ids = ("subnet-data-1", "subnet-data-2")
    private_subnet_ids = ("subnet-private-1", "subnet-private-2")
    vpc_id = "vpc-1"
    log_bucket = "access-logs"

    def security_group(self, name: str) -> str:
        return f"sg-{name}"

    def key(self, store: str) -> str:
        return f"arn:aws:kms:us-east-1:123456789012:key/{store}"


def site(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> Site:
    manifest = manifest_of(blueprint, environment, changes)
    return site_of(manifest, environment, PREVIEW_INPUTS if manifest.template else INPUTS)


def data(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> dict[str, Resource]:
    """The resources of the data stack, by logical id."""
    return stacks(blueprint, environment, changes)["data"]


def targets(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> dict[str, Resource]:
    """The resources of the stack that copies are sent to, by logical id."""
    return stacks(blueprint, environment, changes)["recovery-targets"]


def stacks(
    blueprint: str, environment: str, changes: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Resource]]:
    """The resources of each stack that this area makes, by part and logical id."""
    found = _stacks(blueprint, environment, json.dumps(changes))
    return {part: seen(resources) for part, resources in found.items()}


@cache
def _stacks(blueprint: str, environment: str, changes: str) -> dict[str, dict[str, Resource]]:
    return made(site(blueprint, environment, json.loads(changes)))


def made(whose: Site) -> dict[str, dict[str, Resource]]:
    """The same, of any site."""
    app = new_app()
    elsewhere = RecoveryTargetsStack(app, whose) if RecoveryTargetsStack.is_needed(whose) else None
    stores = DataStack(app, whose, foundation=PlainGround(), targets=elsewhere)
    found: list[SiteStack] = [stores]
    if elsewhere is not None:
        found.append(elsewhere)
        if RecoveryStack.is_needed(whose):
            found.append(RecoveryStack(app, whose, data=stores, targets=elsewhere))
    return {stack.part: Template.from_stack(stack).to_json()["Resources"] for stack in found}
