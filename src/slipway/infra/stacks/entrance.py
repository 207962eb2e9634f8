"""The way in for requests: the load balancer, and a second one that only the inside reaches.

Before the platform's stack, whose services register at its listeners. An environment that shares another's takes that
one's from its exports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aws_cdk import App, Fn

from slipway.infra.constructs.load_balancer import LoadBalancer, LoadBalancerProps, OldestTls, Tls
from slipway.infra.naming import Names
from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.topology import INTERNAL_LOAD_BALANCER, INTERNET, LOAD_BALANCER

_EXPORTS: Final = ("arn", "full_name", "dns_name", "zone_id", "listener_arn")


class Ground(Protocol):
    """What a load balancer stands on: the foundation's network."""

    @property
    def public_subnet_ids(self) -> Sequence[str]:
        """Subnets that the internet reaches."""

    @property
    def private_subnet_ids(self) -> Sequence[str]:
        """Subnets that it does not."""

    @property
    def log_bucket(self) -> str:
        """Where access logs go."""

    def security_group(self, name: str) -> str:
        """The id of a group, by the name of what stands in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """The load balancer as others need to know it. `internal_listener_arn` is None when no route is internal."""

    arn: str
    full_name: str
    dns_name: str
    zone_id: str
    listener_arn: str
    internal_listener_arn: str | None = None
    internal_dns_name: str | None = None
    internal_full_name: str | None = None


class EntranceStack(SiteStack):
    """The load balancers; `entrance` is for the stacks behind."""

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether there is anything to make: something has a route, and no other environment's is shared."""
        return site.manifest.share is None and any(workload.routes for workload in site.topology.workloads)

    def __init__(self, scope: App, site: Site, *, foundation: Ground, certificate_arn: str | None) -> None:
        super().__init__(scope, site, "entrance", description=f"Load balancers of {site.names.prefix}.")
        self._ground, self._certificate_arn = foundation, certificate_arn
        public = any(edge.source == INTERNET for edge in site.topology.edges_to(LOAD_BALANCER))
        front = self._make("LoadBalancer", LOAD_BALANCER, public=public, oldest=oldest_tls(site))
        inside = any(edge.source == INTERNAL_LOAD_BALANCER for edge in site.topology.edges)
        internal = (
            self._make("Internal", INTERNAL_LOAD_BALANCER, public=False, oldest=site.manifest.edge.tls)
            if inside
            else None
        )
        self.entrance = Entrance(
            arn=front.arn,
            full_name=front.full_name,
            dns_name=front.dns_name,
            zone_id=front.zone_id,
            listener_arn=front.listener_arn,
            internal_listener_arn=None if internal is None else internal.listener_arn,
            internal_dns_name=None if internal is None else internal.dns_name,
            internal_full_name=None if internal is None else internal.full_name,
        )
        self._export("internal_listener_arn", self.entrance.internal_listener_arn)
        for name in _EXPORTS:
            self._export(name, getattr(self.entrance, name))

    def _make(self, construct_id: str, group: str, *, public: bool, oldest: OldestTls) -> LoadBalancer:
        edge, ground = self.site.manifest.edge, self._ground
        return LoadBalancer(
            self,
            construct_id,
            LoadBalancerProps(
                public=public,
                subnet_ids=ground.public_subnet_ids if public else ground.private_subnet_ids,
                security_group_id=ground.security_group(group),
                tls=None
                if self._certificate_arn is None
                else Tls(certificate_arn=self._certificate_arn, oldest=oldest),
                log_bucket=ground.log_bucket if edge.access_logs else None,
                protected=self.site.production,
            ),
        )

    def _export(self, name: str, value: str | None) -> None:
        if value is not None:
            output = self.publish(self.site.names.construct(name), value, "For environments that share it.")
            output.export_name = _export_name(self.site.names, name)


def shared_entrance(site: Site) -> Entrance:
    """The entrance of the environment that this one shares, by that one's exports."""
    if site.manifest.share is None:
        raise ValueError(f"{site.environment} shares no environment's entrance.")
    names = Names(site.manifest.name, site.manifest.share)
    internal = any(workload.routes and workload.exposure == "internal" for workload in site.topology.workloads)
    arn, full_name, dns_name, zone_id, listener_arn = (Fn.import_value(_export_name(names, name)) for name in _EXPORTS)
    return Entrance(
        arn=arn,
        full_name=full_name,
        dns_name=dns_name,
        zone_id=zone_id,
        listener_arn=listener_arn,
        internal_listener_arn=Fn.import_value(_export_name(names, "internal_listener_arn")) if internal else None,
    )


def oldest_tls(site: Site) -> OldestTls:
    """The oldest version of the first load balancer's listener: the manifest's, but 1.2 for two of AWS's own callers.

    API Gateway: AWS does not say which versions it speaks towards what it calls, and nobody else reaches the listener
    behind it. Route 53: its health checks, by which a failover is decided, speak 1.2 at most.
    """
    manifest = site.manifest
    return "1.2" if manifest.edge.api_gateway or manifest.recovery.failover else manifest.edge.tls


def _export_name(names: Names, name: str) -> str:
    return f"{names.prefix}-entrance-{name.replace('_', '-')}"
