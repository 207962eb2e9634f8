"""Where the functions of a stack run: the same for every stack that has some."""

from collections.abc import Sequence
from typing import Protocol

from slipway.infra.constructs.function import FunctionPlace, platform_image
from slipway.infra.site import Site
from slipway.infra.topology import FUNCTIONS


class Ground(Protocol):
    """What the foundation has for functions."""

    @property
    def private_subnet_ids(self) -> Sequence[str]:
        """Subnets that the internet does not reach."""

    def security_group(self, name: str) -> str:
        """The id of a group, by the name of what stands in it."""

    def key(self, store: str) -> str:
        """The ARN of a key, by the name of what it encrypts."""


def place_of(site: Site, foundation: Ground) -> FunctionPlace:
    """Functions run from the platform's image in private subnets, and keep their logs as long as everything does."""
    monitoring = site.manifest.monitoring
    return FunctionPlace(
        image_uri=platform_image(site.names.platform, site.inputs.image_digest),
        subnet_ids=foundation.private_subnet_ids,
        security_group_ids=(foundation.security_group(FUNCTIONS),),
        log_prefix=site.names.log_group("functions"),
        log_days=monitoring.log_retention.days,
        tracing=monitoring.tracing,
        log_key_arn=foundation.key("logs"),
    )
