"""The foundation: network, keys, security groups, private names, and what AWS records. Everything else stands on it.

It is protected from deletion in production: what its keys encrypt could not be read without them.
"""

from collections.abc import Sequence
from typing import Final

from aws_cdk import App, Fn

from slipway.base.errors import InvalidRequest
from slipway.infra.constructs.audit import ThreatDetector, Trail, TrailProps, trail_arn
from slipway.infra.constructs.default_group import DefaultGroup
from slipway.infra.constructs.endpoints import Endpoints, EndpointsProps
from slipway.infra.constructs.flow_logs import FlowLogs, FlowLogsProps
from slipway.infra.constructs.keys import Key, KeyProps, KeyUser, logs_user, trail_user
from slipway.infra.constructs.knowledge_base import index_user
from slipway.infra.constructs.log_bucket import LogBucket, LogBucketProps
from slipway.infra.constructs.namespace import Namespace
from slipway.infra.constructs.nat import Nat, NatProps
from slipway.infra.constructs.network_acl import NetworkAclProps, NetworkAcls
from slipway.infra.constructs.security_groups import SecurityGroups, SecurityGroupsProps
from slipway.infra.constructs.vpc import Vpc, VpcProps
from slipway.infra.passages import ENDPOINTS, has_interfaces, passages_of
from slipway.infra.site import Site
from slipway.infra.stacks.network import Network, export_network, given_network, shared_groups
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.topology import INTERNET, LOG_DOMAIN, files_of
from slipway.manifest.addressing import subnet_ranges
from slipway.manifest.catalog import Need

_DETECTED: Final = {"eks": "EKS_AUDIT_LOGS", "postgres": "RDS_LOGIN_EVENTS", "objects": "S3_DATA_EVENTS"}


class FoundationStack(SiteStack):
    """What the other stacks stand on.

    `vpc_id`; `public_subnet_ids`, `private_subnet_ids`, `data_subnet_ids` (isolated where there are, else private), one
    a zone with subnets; `task_subnet_ids`, those of the zones that things run in. `security_group(name)` is the group
    of a workload, store or other node of the topology. `key(name)` is the ARN of the key of a store, or of `logs`,
    `secrets`, `files` or `trail`, where there are such. `log_bucket` takes access logs.
    """

    def __init__(self, scope: App, site: Site) -> None:
        super().__init__(
            scope, site, "foundation", description=f"Network, keys and records of {site.names.prefix}.", stateful=True
        )
        self._keys = self._make_keys()
        self._access_logs = LogBucket(
            self, "AccessLogs", LogBucketProps(keep_days=site.manifest.audit.keep.days, lasting=site.lasting)
        )
        self.log_bucket, self.log_bucket_arn = self._access_logs.name, self._access_logs.arn
        given = given_network(site)
        vpc = self._make_vpc() if given is None else None
        network = given or _network_of(vpc)
        self._stand_on(network)
        self.namespace = Namespace(self, "Namespace", name=site.names.namespace, vpc_id=self.vpc_id)
        self.namespace_id, self.namespace_arn = self.namespace.id, self.namespace.arn
        self._passages = passages_of(site)
        self._groups = self._make_groups(network)
        if vpc is not None:
            self._equip(vpc)
        if site.manifest.share is None:
            export_network(self, network)
        self._record()

    def security_group(self, name: str) -> str:
        """The id of the group that a node of the topology is in; raises KeyError for none."""
        return self._groups.id(self._passages.group_of(name))

    def key(self, store: str) -> str:
        """The ARN of the key of a store, by its name; raises KeyError for none."""
        return self._keys[store].arn

    def _make_keys(self) -> dict[str, Key]:
        prefix, lasting = self.site.names.prefix, self.site.lasting
        rotate_days = self.site.manifest.data.keys.rotate_every.days
        return {
            name: Key(
                self,
                f"{self.site.names.construct(name)}Key",
                KeyProps(
                    alias=f"{prefix}/{name}",
                    description=f"Encrypts {name} of {prefix}",
                    rotate_days=rotate_days,
                    lasting=lasting,
                    users=users,
                ),
            )
            for name, users in self._key_users().items()
        }

    def _key_users(self) -> dict[str, Sequence[KeyUser]]:
        """Which keys there are, and the services that may use each by themselves."""
        manifest, topology = self.site.manifest, self.site.topology
        users: dict[str, Sequence[KeyUser]] = {"logs": [logs_user()], "secrets": []}
        users |= {store: [] for store in topology.stores}
        if Need.KNOWLEDGE_BASE.value in users:
            users[Need.KNOWLEDGE_BASE.value] = [index_user()]
        if any(workload.files for workload in topology.workloads):
            users["files"] = []
        if manifest.audit.trail:
            users["trail"] = [trail_user(trail_arn(self.site.names.prefix))]
        return users

    def _make_vpc(self) -> Vpc:
        network = self.site.manifest.network
        return Vpc(
            self,
            "Network",
            VpcProps(
                name=self.site.names.prefix,
                cidr=network.cidr,
                zones=self._zones(network.subnet_zones),
                subnets=subnet_ranges(network),
                logged=network.flow_logs,
            ),
        )

    def _stand_on(self, network: Network) -> None:
        section = self.site.manifest.network
        running = section.azs if section.vpc is None else len(network.private)
        self.vpc_id = network.vpc_id
        self.public_subnet_ids: Sequence[str] = tuple(network.public)
        self.private_subnet_ids: Sequence[str] = tuple(network.private)
        self.data_subnet_ids: Sequence[str] = tuple(network.isolated or network.private)
        self.task_subnet_ids: Sequence[str] = tuple(network.private[:running])

    def _make_groups(self, network: Network) -> SecurityGroups:
        own = {name: purpose for name, purpose in self._passages.groups.items() if name not in network.groups}
        groups = SecurityGroups(
            self,
            "Groups",
            SecurityGroupsProps(
                name=self.site.names.prefix,
                vpc_id=network.vpc_id,
                own=own,
                passages=self._passages.passages,
                others=network.groups,
            ),
        )
        network.groups.update((name, groups.id(name)) for name in shared_groups(self.site) if name in own)
        return groups

    def _equip(self, vpc: Vpc) -> None:
        """What stands in a VPC of our own, and what watches it."""
        network, name = self.site.manifest.network, self.site.names.prefix
        DefaultGroup(self, "DefaultGroup", group_id=vpc.default_security_group_id, name=f"{name}-default-group")
        if network.nat != "none":
            count = network.azs if network.nat == "per-az" else 1
            Nat(
                self,
                "Nat",
                NatProps(
                    name=name,
                    public=vpc.subnets["public"][:count],
                    private=vpc.subnets["private"],
                    attachment=vpc.attachment,
                ),
            )
        if network.flow_logs:
            FlowLogs(
                self,
                "FlowLogs",
                FlowLogsProps(
                    vpc_id=vpc.id,
                    log_group=self.site.names.log_group("flow"),
                    log_days=self.site.manifest.monitoring.log_retention.days,
                    key_arn=self.key("logs"),
                ),
            )
        if network.endpoints:
            self._make_endpoints(vpc)
        if network.acls:
            self._make_acls(vpc)

    def _make_endpoints(self, vpc: Vpc) -> None:
        network = self.site.manifest.network
        routed = [*vpc.subnets["private"], *vpc.subnets.get("isolated", ())]
        Endpoints(
            self,
            "Endpoints",
            EndpointsProps(
                name=self.site.names.prefix,
                region=self.site.region,
                vpc_id=vpc.id,
                services=network.endpoints,
                routed=routed,
                subnets=vpc.subnets["private"][: network.azs],
                security_group_id=self.security_group(ENDPOINTS) if has_interfaces(self.site.manifest) else None,
            ),
        )

    def _make_acls(self, vpc: Vpc) -> None:
        """What the security groups let through, tier by tier."""
        passages = self._passages.passages
        topology = self.site.topology
        files = (files_of(workload.name) for workload in topology.workloads)
        stores = {*topology.stores, *files, LOG_DOMAIN}
        NetworkAcls(
            self,
            "Acls",
            NetworkAclProps(
                name=self.site.names.prefix,
                vpc_id=vpc.id,
                cidr=vpc.cidr,
                tiers=vpc.subnets,
                public_ports=sorted({edge.port for edge in topology.edges if edge.source == INTERNET}),
                outward_ports=sorted({each.port for each in passages if each.target not in self._passages.groups}),
                store_ports=sorted({each.port for each in passages if each.target in stores}),
            ),
        )

    def _record(self) -> None:
        manifest = self.site.manifest
        if manifest.audit.trail:
            Trail(
                self,
                "Trail",
                TrailProps(
                    name=self.site.names.prefix,
                    key_arn=self.key("trail"),
                    keep_days=manifest.audit.keep.days,
                    log_bucket=self.log_bucket,
                    lasting=self.site.lasting,
                ),
            )
        if manifest.audit.guard_duty:
            present = (*self.site.topology.stores, manifest.compute)
            ThreatDetector(
                self,
                "ThreatDetector",
                features=["LAMBDA_NETWORK_LOGS", *(_DETECTED[name] for name in present if name in _DETECTED)],
            )

    def _zones(self, count: int) -> tuple[str, ...]:
        named = self.site.inputs.zones
        if not named:
            return tuple(Fn.select(index, Fn.get_azs()) for index in range(count))
        if len(named) < count:
            raise InvalidRequest(f"{count} zones have subnets, and {len(named)} are named: name {count} of the region.")
        return named[:count]


def _network_of(vpc: Vpc | None) -> Network:
    if vpc is None:
        raise AssertionError("A site has a network: given or made.")
    return Network(
        vpc_id=vpc.id, public=vpc.ids("public"), private=vpc.ids("private"), isolated=vpc.ids("isolated"), groups={}
    )
