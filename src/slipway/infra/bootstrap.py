"""Bootstrap's own synthesis: the environments of one account in; a template for each region that they need out.

Called by `operations` before the first deploy. It has its own entry since it belongs to no environment.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slipway.base.errors import Misconfigured
from slipway.infra.app import Assembly, StackTemplate, Synthesis, new_app, template_of
from slipway.infra.inputs import Inputs
from slipway.infra.naming import Names
from slipway.infra.site import Site
from slipway.infra.stacks.bootstrap import BootstrapStack, Ground
from slipway.infra.topology import topology_of
from slipway.manifest.schema import Manifest

SHARED: Final = "shared"  # stands for the environment in names and tags of what several of them use


def synthesize_bootstrap(environments: Mapping[str, Manifest]) -> tuple[StackTemplate, ...]:
    """One template a region, the home region's first: that of the first environment.

    Raises Misconfigured when an environment has no region, or when they live in different accounts.
    """
    return tuple(synthesis.assembly.stacks[0] for synthesis in synthesize_bootstrap_trees(environments))


def synthesize_bootstrap_trees(environments: Mapping[str, Manifest]) -> tuple[Synthesis, ...]:
    """The same with the trees that they were made from, for the gates of `checks`."""
    accounts = {manifest.delivery.account for manifest in environments.values()}
    if len(accounts) != 1:
        raise Misconfigured("Each account has a bootstrap of its own: name environments of one account.")
    regions = _regions(environments)
    first = next(iter(environments.values()))
    made = []
    for region in regions:
        site = Site(first, SHARED, Inputs(), Names(first.name, SHARED), topology_of(first), region)
        with tempfile.TemporaryDirectory(prefix="slipway-synth-") as folder:
            app = new_app(folder)
            stack = BootstrapStack(app, site, Ground(environments, region == regions[0], regions))
            app.synth()
            made.append(Synthesis(app, Assembly(site, (template_of(stack, Path(folder)),))))
    return tuple(made)


def _regions(environments: Mapping[str, Manifest]) -> tuple[str, ...]:
    """Regions where images and templates are needed: those of environments, then those for their recovery."""
    for name, manifest in environments.items():
        if manifest.region is None:
            raise Misconfigured(f"{name} has no region: write one like us-east-1 under environments.{name}.")
    homes = [manifest.region for manifest in environments.values()]
    others = [manifest.recovery.region for manifest in environments.values()]
    return tuple(dict.fromkeys(region for region in (*homes, *others) if region is not None))
