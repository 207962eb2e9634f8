"""What every stack is built from: the manifest of one environment, the inputs, and what follows from both."""

from dataclasses import dataclass

from slipway.base.errors import Misconfigured
from slipway.infra.inputs import Inputs
from slipway.infra.naming import Names, names_of
from slipway.infra.topology import Topology, topology_of
from slipway.manifest.schema import Manifest


@dataclass(frozen=True, slots=True)
class Site:
    """One environment of one platform, ready to be synthesized."""

    manifest: Manifest
    environment: str
    inputs: Inputs
    names: Names
    topology: Topology
    region: str

    @property
    def lasting(self) -> bool:
        """Whether what holds data outlives a deletion: everywhere but in previews."""
        return not self.manifest.template

    @property
    def production(self) -> bool:
        """Whether mistakes cost most here: stacks that hold data are protected from deletion."""
        return self.environment in ("prod", "production")


def site_of(manifest: Manifest, environment: str, inputs: Inputs) -> Site:
    """The site; raises Misconfigured without a region, and InvalidRequest for inputs that do not fit."""
    if manifest.region is None:
        raise Misconfigured(f"{environment} has no region: write one like us-east-1 under environments.{environment}.")
    return Site(
        manifest, environment, inputs, names_of(manifest, environment, inputs), topology_of(manifest), manifest.region
    )
