"""Which stacks a site has, in the order in which they deploy, and what each hands to those behind it.

Called by `app`. What the manifest does not ask for is not built, and its stack not imported.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aws_cdk import App

from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack

if TYPE_CHECKING:
    from slipway.infra.stacks.foundation import FoundationStack
    from slipway.infra.stacks.handed import Handed
    from slipway.infra.stacks.kubernetes import KubernetesStack
    from slipway.infra.stacks.platform import PlatformStack


def compose(app: App, site: Site) -> tuple[SiteStack, ...]:
    """The stacks of a site, each after those that it needs."""
    return tuple(_stacks(app, site))


def _stacks(app: App, site: Site) -> Iterator[SiteStack]:
    from slipway.infra.stacks.access import AccessStack
    from slipway.infra.stacks.data import DataStack
    from slipway.infra.stacks.edge import EdgeStack
    from slipway.infra.stacks.edge_global import EdgeGlobalStack
    from slipway.infra.stacks.edge_recovery import EdgeRecoveryStack
    from slipway.infra.stacks.entrance import EntranceStack, shared_entrance
    from slipway.infra.stacks.foundation import FoundationStack
    from slipway.infra.stacks.handed import Handed, databases_of, public_url_of
    from slipway.infra.stacks.observability import ObservabilityStack, Others
    from slipway.infra.stacks.platform import PlatformStack
    from slipway.infra.stacks.recovery import RecoveryStack
    from slipway.infra.stacks.recovery_targets import RecoveryTargetsStack

    foundation = FoundationStack(app, site)
    yield foundation
    edge_global = EdgeGlobalStack(app, site) if EdgeGlobalStack.is_needed(site) else None
    if edge_global is not None:
        yield edge_global
    access_stack = (
        AccessStack(app, site, foundation=foundation, edge_global=edge_global) if AccessStack.is_needed(site) else None
    )
    if access_stack is not None:
        yield access_stack
    access = AccessStack.without(site) if access_stack is None else access_stack.access
    entrance_stack = (
        EntranceStack(app, site, foundation=foundation, certificate_arn=access.certificate_arn)
        if EntranceStack.is_needed(site)
        else None
    )
    if entrance_stack is not None:
        yield entrance_stack
    targets = RecoveryTargetsStack(app, site) if RecoveryTargetsStack.is_needed(site) else None
    if targets is not None:
        yield targets
    data = DataStack(app, site, foundation=foundation, targets=targets)
    yield data
    entrance = shared_entrance(site) if site.manifest.share is not None else None
    if entrance_stack is not None:
        entrance = entrance_stack.entrance
    edge = None
    if entrance is not None and EdgeStack.is_needed(site):
        edge = EdgeStack(app, site, foundation=foundation, access=access, front_door=entrance)
        yield edge
    handed = Handed(
        ground=foundation,
        stores=data.stores,
        entrance=entrance,
        public_url=public_url_of(edge, entrance),
        sign_in=access,
        databases=databases_of(site, data),
    )
    platform = PlatformStack(app, site, handed) if PlatformStack.is_needed(site) else None
    if platform is not None:
        yield platform
    kubernetes = _kubernetes(app, site, foundation, handed, platform)
    yield from _on_instances(app, site, foundation, kubernetes)
    if EdgeRecoveryStack.is_needed(site):
        yield EdgeRecoveryStack(app, site)
    if targets is not None and RecoveryStack.is_needed(site):
        yield RecoveryStack(app, site, data=data, targets=targets)
    if site.lasting:
        yield ObservabilityStack(
            app,
            site,
            Others(
                ground=foundation, entrance=entrance, data=data, platform=platform, edge=edge, kubernetes=kubernetes
            ),
        )


def _kubernetes(
    app: App, site: Site, foundation: "FoundationStack", handed: "Handed", platform: "PlatformStack | None"
) -> "KubernetesStack | None":
    """Where containers run on it."""
    if site.manifest.compute != "eks":
        return None
    from slipway.infra.stacks.kubernetes import KubernetesStack

    flags = None if platform is None else platform.flags
    return KubernetesStack(app, site, handed, foundation=foundation, flags=flags)


def _on_instances(
    app: App, site: Site, foundation: "FoundationStack", kubernetes: "KubernetesStack | None"
) -> Iterator[SiteStack]:
    """Kubernetes, where there is one, and the instance of operators."""
    if kubernetes is not None:
        yield kubernetes
    if site.manifest.bastion is not None:
        from slipway.infra.stacks.bastion import BastionStack

        cluster = None if kubernetes is None else kubernetes.cluster
        yield BastionStack(app, site, foundation=foundation, cluster=cluster)
