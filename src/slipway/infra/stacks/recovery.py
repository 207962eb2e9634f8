"""The recovery region, ready for a loss: a network, the copy of PostgreSQL, and what brings the platform back there.

Nothing here runs until then but a probe each minute, a check each week and, where no API Gateway answers, a load
balancer that the domain's second record leads to: Route 53 answers with it by itself as soon as something healthy
stands behind it and the first region is not. So a failover changes no record, which could not be changed while
us-east-1 is lost. Behind an API Gateway that second record is `edge_recovery`'s.
"""

import json
from typing import Any, Final

from aws_cdk import App, Fn, aws_events

from slipway.infra.constructs import aurora as pg
from slipway.infra.constructs.certificate import Certificate
from slipway.infra.constructs.default_group import DefaultGroup
from slipway.infra.constructs.dns import Alias, Target
from slipway.infra.constructs.failover import PROBED_EVERY_MINUTES, Failover, FailoverProps, namespace
from slipway.infra.constructs.flow_logs import FlowLogs, FlowLogsProps
from slipway.infra.constructs.function import Function, FunctionHome, FunctionPlace, FunctionProps, platform_image
from slipway.infra.constructs.global_cluster import SecondCluster, SecondClusterProps
from slipway.infra.constructs.load_balancer import LoadBalancer, LoadBalancerProps, Tls
from slipway.infra.constructs.notifications import Notifications
from slipway.infra.constructs.retention import keep
from slipway.infra.constructs.security_groups import SecurityGroups, SecurityGroupsProps
from slipway.infra.constructs.vpc import Vpc, VpcProps
from slipway.infra.passages import passages_of
from slipway.infra.reasons import accept
from slipway.infra.site import Site
from slipway.infra.stacks import store_props as wanted
from slipway.infra.stacks.bootstrap import key_alias, template_bucket_name
from slipway.infra.stacks.data import DataStack
from slipway.infra.stacks.recovery_rights import Means, failover_rights, readiness_rights, stack_role_arn
from slipway.infra.stacks.recovery_targets import RecoveryTargetsStack, region_of
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.topology import LOAD_BALANCER
from slipway.manifest.addressing import subnet_ranges
from slipway.manifest.rules.reach import GLOBAL_COPY_RPO
from slipway.manifest.sections.network import Network, Tier

# A loss is no blip: deploys, restarts and Route 53's own checks are over in this time, and it is a small part of any
# recovery time that can be reached at all.
LOST_AFTER_MINUTES: Final = 10
_WEEKLY: Final = "cron(0 6 ? * MON *)"
_ALL_TIERS: Final[tuple[Tier, ...]] = ("public", "private", "isolated")


class RecoveryStack(SiteStack):
    """`network`, `groups` (security groups by the topology's names), `notifications`, `second_cluster` where
    PostgreSQL is copied, and with a failover `load_balancer` and `failover`. A failover's stacks stand on its exports.
    """

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether something stands ready there: a copy of PostgreSQL, or a failover."""
        return RecoveryTargetsStack.is_needed(site) and (site.manifest.recovery.failover or _copies_postgres(site))

    def __init__(self, scope: App, site: Site, *, data: DataStack, targets: RecoveryTargetsStack) -> None:
        super().__init__(
            scope,
            site,
            "recovery",
            description=f"What stands ready for {site.names.prefix} in the recovery region.",
            region=region_of(site),
            stateful=True,
        )
        self._data, self._targets = data, targets
        self.add_stack_dependency(data)
        self.network = self._network()
        self.groups = self._groups()
        self.notifications = self._notifications()
        self.second_cluster = self._second_cluster() if _copies_postgres(site) else None
        self.load_balancer: LoadBalancer | None = None
        self.failover: Failover | None = None
        if _has_entrance(site):
            self.load_balancer = self._entrance()
        if site.manifest.recovery.failover:
            self._prepare_failover()
        self._publish_ground()

    def _network(self) -> Vpc:
        """Free while nothing runs in it: subnets and no NAT gateway. A failover's stacks add what they need."""
        section = _network_of(self.site)
        name = f"{self.site.names.prefix}-recovery"
        vpc = Vpc(
            self,
            "Network",
            VpcProps(
                name=name,
                cidr=section.cidr,
                zones=tuple(Fn.select(index, Fn.get_azs()) for index in range(section.subnet_zones)),
                subnets=subnet_ranges(section),
                logged=section.flow_logs,
            ),
        )
        DefaultGroup(self, "DefaultGroup", group_id=vpc.default_security_group_id, name=f"{name}-default-group")
        if section.flow_logs:
            FlowLogs(
                self,
                "FlowLogs",
                FlowLogsProps(
                    vpc_id=vpc.id,
                    log_group=self.site.names.log_group("recovery", "flow"),
                    log_days=self._log_days,
                    key_arn=self._targets.keys["logs"].arn,
                ),
            )
        return vpc

    def _groups(self) -> SecurityGroups:
        """The same groups and passages as in the first region."""
        found = passages_of(self.site)
        return SecurityGroups(
            self,
            "Groups",
            SecurityGroupsProps(
                name=f"{self.site.names.prefix}-recovery",
                vpc_id=self.network.id,
                own=found.groups,
                passages=found.passages,
            ),
        )

    def _notifications(self) -> Notifications:
        """Topics of this region's own, for the same people: those of the first may be lost with it."""
        notify = self.site.manifest.monitoring.notify
        notifications = Notifications(
            self,
            "Notifications",
            prefix=f"{self.site.names.prefix}-recovery",
            addresses={"critical": notify.critical, "warning": notify.warning},
            pager_secret_prefix=self.site.names.parameter("secrets"),
        )
        keep(notifications.key, self.site.lasting)
        notifications.key.rotation_period_in_days = self.site.manifest.data.keys.rotate_every.days
        return notifications

    def _second_cluster(self) -> SecondCluster | None:
        section = self.site.manifest.data.postgres
        if section is None:
            return None
        return SecondCluster(
            self,
            "Postgres",
            SecondClusterProps(
                identifier=wanted.cluster_identifier(self.site, "postgres-recovery"),
                global_identifier=wanted.cluster_identifier(self.site, "postgres-global"),
                capacity=pg.Capacity(min_acu=section.min_acu, max_acu=section.max_acu, readers=0),
                subnet_ids=self.network.ids("isolated") or self.network.ids("private"),
                security_group_id=self.groups.id("postgres"),
                key_arn=self._targets.keys["postgres"].arn,
                iam_auth=section.iam_auth,
                point_in_time_days=section.point_in_time.days,
                lag_ms=GLOBAL_COPY_RPO.milliseconds,
                topic_arn=self.notifications.arn("critical"),
                lasting=self.site.lasting,
            ),
        )

    def _entrance(self) -> LoadBalancer | None:
        domain = self.site.manifest.edge.domain
        if domain is None:
            return None
        certificate = Certificate(self, "Certificate", name=domain.name, zone_id=domain.zone_id)
        balancer = LoadBalancer(
            self,
            "Entrance",
            LoadBalancerProps(
                public=True,
                subnet_ids=self.network.ids("public"),
                security_group_id=self.groups.id(LOAD_BALANCER),
                tls=Tls(certificate_arn=certificate.arn, oldest=self.site.manifest.edge.tls),
                log_bucket=self._targets.log_bucket.name,
                protected=self.site.production,
            ),
        )
        accept(
            balancer.resource,
            {"unalarmed": "Nothing stands behind it before a failover, whose stacks bring their alarms along."},
        )
        Alias(
            self,
            "Record",
            name=domain.name,
            zone_id=domain.zone_id,
            target=Target(dns_name=balancer.dns_name, zone_id=balancer.zone_id, evaluate_health=True),
            failover="SECONDARY",
        )
        return balancer

    def _prepare_failover(self) -> None:
        site, targets = self.site, self._targets
        names = site.names
        home = FunctionHome(self, "Functions", self._place())
        stores = self._restored()
        restorer = None
        if self._data.backups is not None:
            restorer = self.take("BackupRoleArn", self._data, "BackupRoleArn", "The role that restores backups.")
        means, environment = self._means(restorer), self._environment(restorer, stores)
        size = {"memory_mib": 512, "timeout_s": 120}
        worker = home.add(
            "Failover",
            FunctionProps(handler="failover", statements=failover_rights(site, means), environment=environment, **size),
        )
        ready = home.add(
            "Readiness",
            FunctionProps(
                handler="readiness", statements=readiness_rights(site, means), environment=environment, **size
            ),
        )
        self.failover = Failover(
            self,
            "Recovery",
            FailoverProps(
                prefix=names.prefix,
                stores=tuple(stores),
                function_arn=worker.arn,
                topic_arn=self.notifications.arn("critical"),
                topic_key_arn=self.notifications.key.attr_arn,
                lost_after_minutes=LOST_AFTER_MINUTES,
                log_group=names.log_group("failover"),
                log_days=self._log_days,
                log_key_arn=targets.keys["logs"].arn,
            ),
        )
        every = "minute" if PROBED_EVERY_MINUTES == 1 else "minutes"
        self._call("Probe", f"rate({PROBED_EVERY_MINUTES} {every})", worker, {"step": "probe"})
        self._call("Weekly", _WEEKLY, ready, {})

    def _place(self) -> FunctionPlace:
        """Outside the network, which has no way out before a loss: they call AWS and the public address alone."""
        monitoring = self.site.manifest.monitoring
        return FunctionPlace(
            image_uri=platform_image(self.site.names.platform, self.site.inputs.image_digest),
            subnet_ids=(),
            security_group_ids=(),
            log_prefix=self.site.names.log_group("functions"),
            log_days=self._log_days,
            tracing=monitoring.tracing,
            log_key_arn=self._targets.keys["logs"].arn,
        )

    def _means(self, restore_role_arn: str | None) -> Means:
        second, names = self.second_cluster, self.site.names
        return Means(
            vault_arn=self._targets.vault.arn,
            restore_role_arn=restore_role_arn,
            plan_bucket_arn=Fn.sub(f"arn:${{AWS::Partition}}:s3:::{self._plan_bucket}"),
            plan_prefix=_plan_prefix(self.site),
            plan_key_alias=key_alias(names.platform),
            metrics=namespace(names.prefix),
            clusters=None
            if second is None
            else (
                wanted.cluster_identifier(self.site, "postgres-recovery"),
                wanted.cluster_identifier(self.site, "postgres-global"),
            ),
        )

    @property
    def _plan_bucket(self) -> str:
        return template_bucket_name(self.site.names.platform, self.region)

    def _environment(self, restore_role_arn: str | None, stores: dict[str, dict[str, Any]]) -> dict[str, str]:
        domain, objectives = self.site.manifest.edge.domain, self.site.manifest.recovery.objectives
        variables = {
            "SLIPWAY_METRICS": namespace(self.site.names.prefix),
            "SLIPWAY_PLAN_BUCKET": Fn.sub(self._plan_bucket),
            "SLIPWAY_PLAN_KEY": f"{_plan_prefix(self.site)}plan.json",
            "SLIPWAY_PUBLIC_URL": f"https://{domain.name}" if domain else "",
            "SLIPWAY_STACK_ROLE": stack_role_arn(self.site),
            "SLIPWAY_STORES": self.to_json_string(stores),
            "SLIPWAY_VAULT": self._targets.vault.name,
        }
        if restore_role_arn is not None:
            variables["SLIPWAY_RESTORE_ROLE"] = restore_role_arn
        if objectives is not None:
            variables["SLIPWAY_RPO_SECONDS"] = str(objectives.rpo.seconds)
            variables["SLIPWAY_RTO_SECONDS"] = str(objectives.rto.seconds)
        return variables

    def _restored(self) -> dict[str, dict[str, Any]]:
        """Each store by name, and by what it is brought back: a copy that is there, or the newest backup."""
        data, manifest = self._data, self.site.manifest
        stores: dict[str, dict[str, Any]] = {}
        if data.aurora is not None:
            stores["postgres"] = {"kind": "postgres", "by": "backup"}
        if self.second_cluster is not None:
            stores["postgres"] = {
                "kind": "postgres",
                "by": "copy",
                "cluster": wanted.cluster_identifier(self.site, "postgres-recovery"),
                "global_cluster": wanted.cluster_identifier(self.site, "postgres-global"),
            }
        if data.tables:
            copied = manifest.data.dynamodb.copy_to_recovery_region
            stores["dynamodb"] = {"kind": "dynamodb", "by": "copy" if copied else "backup"}
        if self._targets.bucket is not None:
            stores["objects"] = {"kind": "objects", "by": "copy", "bucket": self._targets.bucket.name}
        elif data.bucket is not None:
            stores["objects"] = {"kind": "objects", "by": "backup"}
        if data.neptune is not None:
            stores["neptune"] = {"kind": "neptune", "by": "backup"}
        for name in data.files:
            output = f"Files{self.site.names.construct(name)}Arn"
            stores[name] = {
                "kind": "files",
                "by": "backup",
                "source": self.take(output, data, output, f"The file system of {name}."),
            }
        for gap in manifest.recovery.accepted_gaps:
            if gap.store in stores and gap.rpo is not None:
                stores[gap.store]["rpo_seconds"] = gap.rpo.seconds
        return stores

    def _call(self, construct_id: str, schedule: str, function: Function, event: dict[str, str]) -> None:
        rule = aws_events.CfnRule(
            self,
            construct_id,
            description=f"{construct_id} of {self.site.names.prefix}",
            schedule_expression=schedule,
            targets=[aws_events.CfnRule.TargetProperty(id="function", arn=function.arn, input=json.dumps(event))],
        )
        function.called_by(construct_id, "events.amazonaws.com", rule.attr_arn)

    @property
    def _log_days(self) -> int:
        return self.site.manifest.monitoring.log_retention.days

    def _publish_ground(self) -> None:
        """What the stacks of a failover stand on."""
        self.publish("VpcId", self.network.id, "The network of a failover.")
        for tier in self.network.subnets:
            self.publish(f"{tier.title()}SubnetIds", ",".join(self.network.ids(tier)), f"Its {tier} subnets.")
        if self.load_balancer is not None:
            self.publish("ListenerArn", self.load_balancer.listener_arn, "Where services register after a failover.")


def _copies_postgres(site: Site) -> bool:
    section = site.manifest.data.postgres
    return section is not None and section.engine == "aurora" and section.copy_to_recovery_region


def _has_entrance(site: Site) -> bool:
    """Whether the load balancer is the way in there, as it is in the first region."""
    edge = site.manifest.edge
    return site.manifest.recovery.failover and edge.domain is not None and not edge.api_gateway


def _network_of(site: Site) -> Network:
    """The first region's network with all that a failover needs. An existing VPC is not there: one is made."""
    section = site.manifest.network
    if section.vpc is not None:
        return section.model_copy(update={"vpc": None, "subnets": None, "tiers": _ALL_TIERS})
    if "public" in section.tiers:
        return section
    return section.model_copy(update={"subnets": None, "tiers": _ALL_TIERS})


def _plan_prefix(site: Site) -> str:
    return f"recovery/{site.names.prefix}/"
