"""The foundation: network, keys, security groups, private names, and what AWS records. Everything else stands on it.

It is protected from deletion in production: what its keys encrypt could not be read without them.
"""

from collections.abc import Sequence

from aws_cdk import App, Fn

from slipway.base.errors import InvalidRequest
from slipway.infra.addressing import subnet_ranges
from slipway.infra.constructs.flow_logs import FlowLogs, FlowLogsProps
from slipway.infra.constructs.keys import Key, KeyProps, KeyUser, logs_user
from slipway.infra.constructs.log_bucket import LogBucket, LogBucketProps
from slipway.infra.constructs.namespace import Namespace
from slipway.infra.constructs.nat import Nat, NatProps
from slipway.infra.constructs.security_groups import SecurityGroups, SecurityGroupsProps
from slipway.infra.constructs.vpc import Vpc, VpcProps
from slipway.infra.passages import passages_of
from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack


class FoundationStack(SiteStack):
    """What the other stacks stand on.

    `vpc_id`; `public_subnet_ids`, `private_subnet_ids`, `data_subnet_ids` (isolated where there are, else private), one
    a zone with subnets; `task_subnet_ids`, those of the zones that things run in. `security_group(name)` is the group
    of a workload, store or other node of the topology. `key(name)` is the ARN of the key of a store, or of `logs`,
    `secrets` or `files`. `log_bucket` takes access logs.
    """

    def __init__(self, scope: App, site: Site) -> None:
        super().__init__(
            scope, site, "foundation", description=f"Network, keys and records of {site.names.prefix}.", stateful=True
        )
        self._keys = self._make_keys()
        self._log_bucket = LogBucket(
            self,
            "AccessLogs",
            LogBucketProps(keep_days=site.manifest.audit.keep.days, lasting=site.lasting),
        )
        self.log_bucket = self._log_bucket.name
        self.log_bucket_arn = self._log_bucket.arn
        self._make_network()
        self.namespace = Namespace(self, "Namespace", name=site.names.namespace, vpc_id=self.vpc_id)
        self.namespace_id, self.namespace_arn = self.namespace.id, self.namespace.arn
        self._passages = passages_of(site)
        self._groups = SecurityGroups(
            self,
            "Groups",
            SecurityGroupsProps(
                name=site.names.prefix,
                vpc_id=self.vpc_id,
                own=self._passages.groups,
                passages=self._passages.passages,
            ),
        )

    def security_group(self, name: str) -> str:
        """The id of the group that a node of the topology is in; raises KeyError for none."""
        return self._groups.id(self._passages.group_of(name))

    def key(self, store: str) -> str:
        """The ARN of the key of a store, by its name; raises KeyError for none."""
        return self._keys[store].arn

    def _make_keys(self) -> dict[str, Key]:
        users: dict[str, Sequence[KeyUser]] = {"logs": [logs_user()], "secrets": []}
        users |= {store: [] for store in self.site.topology.stores}
        if any(workload.files for workload in self.site.topology.workloads):
            users["files"] = []
        rotate_days = self.site.manifest.data.keys.rotate_every.days
        prefix = self.site.names.prefix
        return {
            name: Key(
                self,
                f"{self.site.names.construct(name)}Key",
                KeyProps(
                    alias=f"{prefix}/{name}",
                    description=f"Encrypts {name} of {prefix}",
                    rotate_days=rotate_days,
                    lasting=self.site.lasting,
                    users=allowed,
                ),
            )
            for name, allowed in users.items()
        }

    def _make_network(self) -> None:
        network = self.site.manifest.network
        if network.vpc is not None and network.subnets is not None:
            self.vpc_id = network.vpc
            self._take_subnets(network.subnets.public, network.subnets.private, network.subnets.isolated)
            return
        vpc = Vpc(
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
        self.vpc_id = vpc.id
        self._take_subnets(vpc.ids("public"), vpc.ids("private"), vpc.ids("isolated"))
        if network.nat != "none":
            count = network.azs if network.nat == "per-az" else 1
            Nat(
                self,
                "Nat",
                NatProps(
                    name=self.site.names.prefix,
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

    def _take_subnets(self, public: Sequence[str], private: Sequence[str], isolated: Sequence[str]) -> None:
        running = self.site.manifest.network.azs if self.site.manifest.network.vpc is None else len(private)
        self.public_subnet_ids: Sequence[str] = tuple(public)
        self.private_subnet_ids: Sequence[str] = tuple(private)
        self.data_subnet_ids: Sequence[str] = tuple(isolated or private)
        self.task_subnet_ids: Sequence[str] = tuple(private[:running])

    def _zones(self, count: int) -> tuple[str, ...]:
        named = self.site.inputs.zones
        if not named:
            return tuple(Fn.select(index, Fn.get_azs()) for index in range(count))
        if len(named) < count:
            raise InvalidRequest(f"{count} zones have subnets, and {len(named)} are named: name {count} of the region.")
        return named[:count]
