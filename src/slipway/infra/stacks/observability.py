"""What is watched and who is told: topics, alarms, burn rates, one dashboard, the synthetic check, the first response,
costs. The last stack: it looks at all others and none needs it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from aws_cdk import App, Aws, aws_events

from slipway.infra.constructs.alarms import Alarms, AlarmSpec, Metric
from slipway.infra.constructs.burn_rate import BurnRateAlarms
from slipway.infra.constructs.cost_alerts import CostAlerts
from slipway.infra.constructs.dashboard import Dashboard, Graph, Section
from slipway.infra.constructs.failover import namespace
from slipway.infra.constructs.function import Function, FunctionHome, FunctionProps
from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.log_metrics import AUTH_FAILURES, DATABASE_FAILURES, SESSIONS, LogMetrics
from slipway.infra.constructs.notifications import Notifications
from slipway.infra.constructs.retention import keep
from slipway.infra.site import Site
from slipway.infra.stacks.data import DataStack
from slipway.infra.stacks.edge import EdgeStack
from slipway.infra.stacks.entrance import Entrance
from slipway.infra.stacks.functions import Ground, place_of
from slipway.infra.stacks.platform import PlatformStack
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.watched import (
    COST_MICROS,
    Kubernetes,
    Watched,
    alarm_specs,
    aurora_connections,
    failures,
    requests,
)

_BYTES_OF_MIB: Final = 2**20
_SECTIONS: Final = ("API", "Services", "Database", "Business", "Security")


class Pods(Protocol):
    """What runs on Kubernetes, where it does."""

    @property
    def watched(self) -> Kubernetes:
        """The cluster, as its metrics name it."""

    @property
    def target_groups(self) -> Mapping[str, str]:
        """Full names of those that the load balancer reaches, by workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """The stacks that are looked at; None where the site has none."""

    ground: Ground
    entrance: Entrance | None
    data: DataStack
    platform: PlatformStack | None
    edge: EdgeStack | None
    kubernetes: Pods | None = None


class ObservabilityStack(SiteStack):
    """`notifications` has the topics, `specs` are all alarms, `dashboard_name` is what people open."""

    def __init__(self, scope: App, site: Site, others: Others) -> None:
        super().__init__(scope, site, "observability", description=f"What is watched of {site.names.prefix}.")
        monitoring = site.manifest.monitoring
        self._others = others
        self._functions: dict[str, Function] = {}
        self.notifications = self._notifications()
        home = FunctionHome(self, "Functions", place_of(site, others.ground))
        if monitoring.synthetic_every is not None and others.entrance is not None:
            self._check(home, monitoring.synthetic_every.seconds // 60)
        self.watched = self._watched()
        self.specs = alarm_specs(self.watched, monitoring.alarms)
        alarms = Alarms(self, "Alarms", prefix=site.names.prefix, specs=self.specs, notifications=self.notifications)
        if monitoring.first_response and self.watched.services:
            self._respond(home)
        self._count_lines()
        if others.entrance is not None:
            objectives = monitoring.objectives
            BurnRateAlarms(
                self,
                "BurnRate",
                prefix=site.names.prefix,
                availability=Decimal(objectives.availability.basis_points) / 10_000,
                objective_window_s=objectives.window.seconds,
                requests=requests(self.watched),
                failures=failures(self.watched),
                notifications=self.notifications,
            )
        self._tell_of_costs()
        self.dashboard_name = site.names.prefix
        Dashboard(self, "Dashboard", name=self.dashboard_name, region=site.region, sections=self._sections(alarms))

    def _notifications(self) -> Notifications:
        site = self.site
        notify = site.manifest.monitoring.notify
        found = Notifications(
            self,
            "Notifications",
            prefix=site.names.prefix,
            addresses={"critical": notify.critical, "warning": notify.warning, "security": notify.security},
            pager_secret_prefix=site.names.parameter("secrets"),
        )
        keep(found.key, site.lasting)
        found.key.rotation_period_in_days = site.manifest.data.keys.rotate_every.days
        found.route(
            "Findings",
            "security",
            description="What GuardDuty finds",
            pattern={"source": ["aws.guardduty"], "detail-type": ["GuardDuty Finding"]},
        )
        found.route(
            "Backups",
            "critical",
            description="Backups, copies and restores that failed",
            pattern={
                "source": ["aws.backup"],
                "detail-type": ["Backup Job State Change", "Copy Job State Change", "Restore Job State Change"],
                "detail": {"$or": [{"state": _FAILED}, {"status": _FAILED}]},
            },
        )
        return found

    def _check(self, home: FunctionHome, every_minutes: int) -> None:
        others = self._others
        url = f"http://{others.entrance.dns_name}" if others.entrance else ""
        if others.edge is not None:
            url = others.edge.api_url
        canary = home.add(
            "Canary",
            FunctionProps(
                handler="canary",
                memory_mib=512,
                timeout_s=60,
                environment={"PLATFORM_URL": url, **self._asked()},
                reserved=None,
            ),
        )
        self._functions["canary"] = canary
        rule = aws_events.CfnRule(
            self,
            "Synthetic",
            description=f"Asks {self.site.names.prefix} as a user does",
            schedule_expression=f"rate({every_minutes} {'minute' if every_minutes == 1 else 'minutes'})",
            targets=[aws_events.CfnRule.TargetProperty(id="canary", arn=canary.arn)],
        )
        canary.called_by("Synthetic", "events.amazonaws.com", rule.attr_arn)

    def _asked(self) -> dict[str, str]:
        """What the check asks, where no part of the platform runs: the public routes of the user's own services."""
        workloads = self.site.topology.workloads
        if any(workload.kind == "component" for workload in workloads):
            return {}
        routes = [route for each in workloads if each.exposure == "public" for route in each.routes]
        return {"CHECKS": self.to_json_string({route.removesuffix("*"): 0 for route in routes})}

    def _respond(self, home: FunctionHome) -> None:
        site, watched = self.site, self.watched
        service_arn = self.format_arn(service="ecs", resource="service", resource_name=f"{watched.cluster}/*")
        responder = home.add(
            "FirstResponse",
            FunctionProps(
                handler="first_response",
                memory_mib=512,
                timeout_s=60,
                environment={
                    "PREFIX": site.names.prefix,
                    "CLUSTER": watched.cluster or "",
                    "SERVICES": self.to_json_string(dict(watched.services)),
                    "TOPIC_ARN": self.notifications.arn("info"),
                },
                statements=(
                    Statement(
                        "ReplaceCopies",
                        ("ecs:DescribeServices", "ecs:UpdateService"),
                        (service_arn,),
                        reason="Every service of this environment's own cluster.",
                    ),
                    Statement("Tell", ("sns:Publish",), (self.notifications.arn("info"),)),
                    Statement(
                        "TellEncrypted",
                        ("kms:Decrypt", "kms:GenerateDataKey"),
                        (self.notifications.key.attr_arn,),
                    ),
                ),
            ),
        )
        self._functions["first-response"] = responder
        rule = aws_events.CfnRule(
            self,
            "WentOff",
            description=f"Alarms of {site.names.prefix} that have a first response",
            event_pattern={
                "source": ["aws.cloudwatch"],
                "detail-type": ["CloudWatch Alarm State Change"],
                "detail": {
                    "state": {"value": ["ALARM"]},
                    "alarmName": [
                        f"{site.names.prefix}-{spec.name}"
                        for spec in self.specs
                        if spec.name.endswith(("-unavailable", "-memory")) and not spec.name.startswith("redis-")
                    ],
                },
            },
            targets=[aws_events.CfnRule.TargetProperty(id="responder", arn=responder.arn)],
        )
        responder.called_by("WentOff", "events.amazonaws.com", rule.attr_arn)

    def _watched(self) -> Watched:
        site, others = self.site, self._others
        data, platform, edge = others.data, others.platform, others.edge
        postgres = site.manifest.data.postgres
        redis = site.manifest.data.redis
        group = None if platform is None else platform.instances_group
        return Watched(
            namespace=namespace(site.names.prefix),
            region=site.region,
            account=Aws.ACCOUNT_ID,
            cluster=platform.cluster_name if platform is not None else None,
            services={} if platform is None else platform.service_names,
            load_balancer=None if others.entrance is None else others.entrance.full_name,
            internal_load_balancer=None if others.entrance is None else others.entrance.internal_full_name,
            target_groups={
                **({} if platform is None else platform.target_groups),
                **({} if others.kubernetes is None else others.kubernetes.target_groups),
            },
            kubernetes=None if others.kubernetes is None else others.kubernetes.watched,
            api=site.names.prefix if edge is not None and edge.rest_api is not None else None,
            web_acl=site.names.prefix if edge is not None and edge.web_acl is not None else None,
            database=None if data.aurora is None else data.aurora.identifier,
            database_connections=0
            if postgres is None
            else aurora_connections(max_acu=postgres.max_acu, min_acu=postgres.min_acu),
            redis_nodes=()
            if data.redis is None or redis is None
            else tuple(f"{data.redis.id}-00{index}" for index in range(1, 3 if redis.multi_az else 2)),
            tables={name: table.name for name, table in data.tables.items()},
            graph=None if data.neptune is None else data.neptune.identifier,
            file_systems={name: files.id for name, files in data.files.items()},
            log_domain=None if data.log_domain is None else data.log_domain.name,
            log_disk_mib=site.manifest.data.log_domain.disk.bytes // _BYTES_OF_MIB,
            functions={name: each.name for name, each in self._functions.items() if name != "canary"},
            canary=self._functions["canary"].name if "canary" in self._functions else None,
            backups=data.backups is not None,
            copies=data.global_cluster is not None,
            knowledge_schedule=None if data.knowledge_base is None else data.knowledge_base.schedule_group,
            instances=group,
        )

    def _count_lines(self) -> None:
        platform = self._others.platform
        if platform is None or not platform.log_groups:
            return
        counted = {
            workload.name: platform.log_groups[workload.name]
            for workload in self.site.topology.workloads
            if workload.kind == "component" and workload.name in platform.log_groups
        }
        metrics = LogMetrics(
            self,
            "Lines",
            namespace=self.watched.namespace,
            log_groups=counted,
            metrics=(AUTH_FAILURES, DATABASE_FAILURES, SESSIONS),
        )
        metrics.node.add_dependency(platform)

    def _tell_of_costs(self) -> None:
        site = self.site
        budget = site.manifest.budget
        CostAlerts(
            self,
            "Costs",
            prefix=site.names.prefix,
            tags=(site.manifest.tags.get("Project", site.manifest.name), site.names.environment),
            per_month_usd=None if budget.per_month is None else Decimal(budget.per_month.usd_micros) / 1_000_000,
            alert_at_percent=[Decimal(share.basis_points) / 100 for share in budget.alert_at],
            anomaly_usd=None if budget.anomaly is None else Decimal(budget.anomaly.usd_micros) / 1_000_000,
            topic_arn=self.notifications.arn("warning"),
        )

    def _sections(self, alarms: Alarms) -> Sequence[Section]:
        parts: Mapping[str, Sequence[Graph]] = {
            "API": tuple(self._api_graphs()),
            "Services": tuple(self._service_graphs()),
            "Database": tuple(self._database_graphs()),
            "Business": tuple(self._business_graphs()),
            "Security": tuple(self._security_graphs()),
        }
        lights: dict[str, list[str]] = {title: [] for title in parts}
        for spec in self.specs:
            lights[section_of(spec)].append(alarms.arn(spec.name))
        return [Section(title, parts[title], lights[title]) for title in _SECTIONS]

    def _api_graphs(self) -> Iterator[Graph]:
        watched = self.watched
        if watched.load_balancer is None:
            return
        balancer = {"LoadBalancer": watched.load_balancer}
        yield Graph("Requests", {"all": requests(watched), "failed (5xx)": failures(watched)})
        yield Graph(
            "Time of an answer",
            {
                each: Metric(
                    namespace="AWS/ApplicationELB",
                    name="TargetResponseTime",
                    dimensions=balancer,
                    statistic=each,
                )
                for each in ("Average", "p95", "p99")
            },
            "seconds",
        )

    def _service_graphs(self) -> Iterator[Graph]:
        watched = self.watched
        for title, name in (("CPU", "CPUUtilization"), ("Memory", "MemoryUtilization")):
            lines = {
                workload: Metric(
                    namespace="AWS/ECS",
                    name=name,
                    dimensions={"ClusterName": watched.cluster or "", "ServiceName": service},
                )
                for workload, service in watched.services.items()
            }
            if lines:
                yield Graph(title, lines, "percent")
        healthy = {
            workload: Metric(
                namespace="AWS/ApplicationELB",
                name="HealthyHostCount",
                dimensions={"LoadBalancer": watched.load_balancer or "", "TargetGroup": group},
                statistic="Minimum",
            )
            for workload, group in watched.target_groups.items()
        }
        if healthy:
            yield Graph("Healthy copies", healthy)

    def _database_graphs(self) -> Iterator[Graph]:
        if self.watched.database is None:
            return
        dimensions = {"DBClusterIdentifier": self.watched.database}
        for title, name, unit in (
            ("Connections", "DatabaseConnections", ""),
            ("Capacity", "ServerlessDatabaseCapacity", "ACU"),
            ("Latency of a commit", "CommitLatency", "milliseconds"),
        ):
            yield Graph(title, {name: Metric(namespace="AWS/RDS", name=name, dimensions=dimensions)}, unit)

    def _business_graphs(self) -> Iterator[Graph]:
        space = self.watched.namespace
        gateway = {"Workload": "gateway"}
        yield Graph("Sessions", {"begun": Metric(namespace=space, name=SESSIONS.name, statistic="Sum", period_s=300)})
        yield Graph(
            "Cost of model calls",
            {
                "micro-dollars": Metric(
                    namespace=space, name=COST_MICROS, dimensions=gateway, statistic="Sum", period_s=300
                )
            },
        )
        yield Graph(
            "Tokens",
            {
                "tokens": Metric(
                    namespace=space,
                    name="slipway_gateway_tokens_total",
                    dimensions=gateway,
                    statistic="Sum",
                    period_s=300,
                )
            },
        )

    def _security_graphs(self) -> Iterator[Graph]:
        watched = self.watched
        refused = Metric(namespace=watched.namespace, name=AUTH_FAILURES.name, statistic="Sum", period_s=300)
        yield Graph("Refused tokens and keys", {"refused": refused})
        if watched.web_acl is not None:
            dimensions = {"WebACL": watched.web_acl, "Rule": "ALL", "Region": watched.region}
            yield Graph(
                "Blocked by the firewall",
                {
                    "blocked": Metric(
                        namespace="AWS/WAFV2", name="BlockedRequests", dimensions=dimensions, statistic="Sum"
                    )
                },
            )


_FAILED: Final = ["ABORTED", "EXPIRED", "FAILED"]
_BEGINNINGS: Final = {
    "Business": ("cost-",),
    "Security": ("auth-", "firewall-"),
    "API": ("api-", "gateway-errors", "gateway-latency", "synthetic-"),
    "Database": ("database-", "redis-", "table-", "graph-", "log-domain", "backup-", "copy-"),
}


def section_of(spec: AlarmSpec) -> str:
    """The section of the dashboard that shows an alarm."""
    for title, beginnings in _BEGINNINGS.items():
        if spec.name.startswith(beginnings):
            return title
    return "Services"
