"""What is watched of one environment, and which alarms follow from it and from the manifest's numbers.

Made by the observability stack. No CDK resources here: specifications are values that the dashboard shows too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from slipway.infra.constructs.alarms import AlarmSpec, Metric
from slipway.infra.constructs.log_metrics import AUTH_FAILURES, DATABASE_FAILURES, SESSIONS
from slipway.infra.constructs.notifications import Tier
from slipway.manifest.sections.monitoring import Alarms
from slipway.manifest.units import Percent

_FIVE_MINUTES_S: Final = 300
_MICROS: Final = 1_000_000
COPY_LAG_MS: Final = 300_000  # what `manifest.rules.reach` counts for the copy
COST_MICROS: Final = "slipway_gateway_cost_usd_micros_total"  # as the collector beside each task scrapes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Names as CloudWatch's dimensions want them; what an environment does not have is None or empty.

    `services` has the ECS service of each workload, `target_groups` the full name of those that the load balancer
    reaches, `functions` the name of each Lambda function.
    """

    namespace: str
    region: str
    account: str
    cluster: str | None = None
    services: Mapping[str, str] = field(default_factory=dict)
    load_balancer: str | None = None
    internal_load_balancer: str | None = None
    target_groups: Mapping[str, str] = field(default_factory=dict)
    api: str | None = None
    web_acl: str | None = None
    database: str | None = None
    database_connections: int = 0
    redis_nodes: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    graph: str | None = None
    file_systems: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    log_domain: str | None = None
    log_disk_mib: int = 0
    backups: bool = False
    instances: str | None = None
    kubernetes: "Kubernetes | None" = None
    canary: str | None = None
    copies: bool = False
    knowledge_schedule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """A cluster of EKS. `insights` says whether its nodes and pods are measured; `unrouted` has the Service of each
    workload that no load balancer asks whether it is well."""

    cluster: str
    namespace: str
    insights: bool
    unrouted: Mapping[str, str] = field(default_factory=dict)


def aurora_connections(max_acu: float, min_acu: float) -> int:
    """`max_connections` of an Aurora PostgreSQL Serverless v2 instance.

    A line through the table in the Aurora User Guide ("Maximum connections for Aurora Serverless v2"): 189 at 1 ACU,
    823 at 4, 1,669 at 8, 3,360 at 16, never above 5,000, and 2,000 at most while min_acu is 0 or 0.5.
    """
    most = 2000 if min_acu <= 0.5 else 5000
    return min(most, round(211.4 * max_acu - 22.4))


def alarm_specs(watched: Watched, limits: Alarms) -> tuple[AlarmSpec, ...]:
    """Every alarm, in the order of the dashboard's sections."""
    return (
        *_api(watched, limits),
        *_services(watched, limits),
        *(_kubernetes(watched.kubernetes, limits) if watched.kubernetes is not None else ()),
        *_stores(watched, limits),
        *_business(watched, limits),
        *_security(watched, limits),
    )


def requests(watched: Watched) -> Metric:
    """Requests that reached the platform."""
    return Metric(
        namespace="AWS/ApplicationELB",
        name="RequestCount",
        dimensions={"LoadBalancer": watched.load_balancer or ""},
        statistic="Sum",
    )


def failures(watched: Watched) -> Metric:
    """Those that it answered with 5xx."""
    return Metric(
        namespace="AWS/ApplicationELB",
        name="HTTPCode_Target_5XX_Count",
        dimensions={"LoadBalancer": watched.load_balancer or ""},
        statistic="Sum",
    )


def _api(watched: Watched, limits: Alarms) -> Iterator[AlarmSpec]:
    balancer = {"LoadBalancer": watched.load_balancer or ""}
    seconds = limits.latency.milliseconds / 1000
    if watched.load_balancer is not None:
        yield _one(
            "api-latency", "critical", f"answers take longer than {limits.latency} (p95)", seconds,
            Metric(namespace="AWS/ApplicationELB", name="TargetResponseTime", dimensions=balancer, statistic="p95"),
            periods=5,
        )  # fmt: skip
        yield AlarmSpec(
            name="api-errors",
            tier="critical",
            what=f"more than {limits.error_rate} of all requests fail",
            metrics={"part": failures(watched), "whole": requests(watched)},
            expression="IF(whole > 0, 100 * FILL(part, 0) / whole, 0)",
            threshold=limits.error_rate.basis_points / 100,
            periods=5,
        )
        if watched.internal_load_balancer is not None:
            inside = {"LoadBalancer": watched.internal_load_balancer}
            failed = _count("AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", **inside)
            yield _one("internal-errors", "warning", "requests inside the network fail", 10, failed)
        rejected = Metric(
            namespace="AWS/ApplicationELB", name="RejectedConnectionCount", dimensions=balancer, statistic="Sum"
        )
        yield _one("api-rejected", "warning", "the load balancer refuses connections", 0, rejected)
    if watched.api is not None:
        stage = {"ApiName": watched.api}
        yield _one(
            "gateway-errors", "critical", f"API Gateway fails more than {limits.error_rate} of all requests",
            limits.error_rate.basis_points / 10_000,
            Metric(namespace="AWS/ApiGateway", name="5XXError", dimensions=stage, period_s=_FIVE_MINUTES_S),
        )  # fmt: skip
        yield _one(
            "gateway-latency", "warning", f"API Gateway takes longer than {limits.latency} (p95)", seconds * 1000,
            Metric(namespace="AWS/ApiGateway", name="Latency", dimensions=stage, statistic="p95"), periods=5,
        )  # fmt: skip
    if watched.canary is not None:
        errors = _count("AWS/Lambda", "Errors", FunctionName=watched.canary)
        yield _one("synthetic-check", "critical", "the synthetic check fails: users do too", 0, errors)


def _services(watched: Watched, limits: Alarms) -> Iterator[AlarmSpec]:
    for workload, service in watched.services.items():
        dimensions = {"ClusterName": watched.cluster or "", "ServiceName": service}
        cpu = Metric(namespace="AWS/ECS", name="CPUUtilization", dimensions=dimensions)
        memory = Metric(namespace="AWS/ECS", name="MemoryUtilization", dimensions=dimensions)
        yield _share(f"{workload}-cpu", f"{workload} uses much of its CPU", limits.cpu, cpu)
        yield _share(f"{workload}-memory", f"{workload} uses much of its memory", limits.memory, memory)
    for workload, group in watched.target_groups.items():
        healthy = Metric(
            namespace="AWS/ApplicationELB",
            name="HealthyHostCount",
            dimensions={"LoadBalancer": watched.load_balancer or "", "TargetGroup": group},
            statistic="Minimum",
        )
        yield AlarmSpec(
            name=f"{workload}-unavailable",
            tier="critical",
            what=f"no copy of {workload} is healthy",
            metrics={"healthy": healthy},
            threshold=1,
            comparison="below",
            missing="breaching",
        )
    for name, function in watched.functions.items():
        errors = _count("AWS/Lambda", "Errors", FunctionName=function)
        yield _one(f"function-{name}", "warning", f"the function {name} fails", 0, errors, periods=1)
    if watched.instances is not None:
        instances = {"AutoScalingGroupName": watched.instances}
        cpu = Metric(namespace="AWS/EC2", name="CPUUtilization", dimensions=instances)
        yield _share("instances-cpu", "the cluster's instances use much of their CPU", limits.cpu, cpu)
        disk = Metric(namespace=watched.namespace, name="disk_used_percent", dimensions=instances, statistic="Maximum")
        yield _share("instances-disk", "the disk of an instance is nearly full", limits.disk, disk)


def _kubernetes(found: Kubernetes, limits: Alarms) -> Iterator[AlarmSpec]:
    """The control plane by what EKS measures itself (namespace AWS/EKS), nodes and pods by Container Insights.

    Metrics: EKS User Guide, Monitor cluster data with Amazon CloudWatch; CloudWatch User Guide, Container Insights
    metrics of EKS. Pods behind the load balancer are watched there, by their own probes.
    """
    cluster = {"ClusterName": found.cluster}

    def control_plane(name: str) -> Metric:
        return Metric(namespace="AWS/EKS", name=name, dimensions=cluster, statistic="Sum")

    def measured(name: str, statistic: str = "Average", **more: str) -> Metric:
        return Metric(namespace="ContainerInsights", name=name, dimensions={**cluster, **more}, statistic=statistic)

    yield AlarmSpec(
        name="cluster-api-errors",
        tier="critical",
        what=f"the API of the cluster fails more than {limits.error_rate} of all requests",
        metrics={
            "part": control_plane("apiserver_request_total_5XX"),
            "whole": control_plane("apiserver_request_total"),
        },
        expression="IF(whole > 0, 100 * FILL(part, 0) / whole, 0)",
        threshold=limits.error_rate.basis_points / 100,
        periods=5,
    )
    unplaced = control_plane("scheduler_pending_pods_UNSCHEDULABLE")
    yield _one("pods-unplaced", "critical", "pods find no node for 10 minutes", 0, unplaced, periods=10)
    if not found.insights:
        return
    failed = measured("cluster_failed_node_count", "Maximum")
    yield _one("nodes-failed", "critical", "a node of the cluster is not well", 0, failed, periods=5)
    for part, limit in (("cpu", limits.cpu), ("memory", limits.memory), ("filesystem", limits.disk)):
        used = measured(f"node_{part}_utilization", "Maximum")
        yield _share(f"nodes-{part}", f"a node of the cluster uses much of its {part}", limit, used)
    for workload, service in found.unrouted.items():
        running = measured("service_number_of_running_pods", "Minimum", Service=service, Namespace=found.namespace)
        yield AlarmSpec(
            name=f"{workload}-unavailable",
            tier="critical",
            what=f"no pod of {workload} runs",
            metrics={"running": running},
            threshold=1,
            comparison="below",
            missing="breaching",
        )


def _stores(watched: Watched, limits: Alarms) -> Iterator[AlarmSpec]:
    if watched.database is not None:
        yield from _database(watched, watched.database, limits)
    for index, node in enumerate(watched.redis_nodes, start=1):
        dimensions = {"CacheClusterId": node}
        cpu = Metric(namespace="AWS/ElastiCache", name="EngineCPUUtilization", dimensions=dimensions)
        memory = Metric(namespace="AWS/ElastiCache", name="DatabaseMemoryUsagePercentage", dimensions=dimensions)
        yield _share(f"redis-{index}-cpu", f"node {index} of Redis uses much of its CPU", limits.cpu, cpu)
        yield _share(f"redis-{index}-memory", f"node {index} of Redis uses much of its memory", limits.memory, memory)
    for name, table in watched.tables.items():
        throttled = _count("AWS/DynamoDB", "ThrottledRequests", TableName=table)
        yield _one(f"table-{name}-throttled", "warning", f"DynamoDB throttles the table {name}", 0, throttled)
    if watched.graph is not None:
        cpu = Metric(namespace="AWS/Neptune", name="CPUUtilization", dimensions={"DBClusterIdentifier": watched.graph})
        yield _share("graph-cpu", "Neptune uses much of its CPU", limits.cpu, cpu)
    for workload, file_system in watched.file_systems.items():
        used = Metric(
            namespace="AWS/EFS", name="PercentIOLimit", dimensions={"FileSystemId": file_system}, statistic="Maximum"
        )
        yield _share(f"{workload}-files", f"the files of {workload} are near the limit of their use", limits.disk, used)
    if watched.log_domain is not None:
        free = Metric(
            namespace="AWS/ES",
            name="FreeStorageSpace",
            dimensions={"DomainName": watched.log_domain, "ClientId": watched.account},
            statistic="Minimum",
        )
        yield AlarmSpec(
            name="log-domain-disk",
            tier="warning",
            what=f"a disk of the log domain is used more than {limits.disk}",
            metrics={"free": free},
            threshold=watched.log_disk_mib * (10_000 - limits.disk.basis_points) / 10_000,
            comparison="below",
            periods=5,
        )
    if watched.knowledge_schedule is not None:
        failed = _count("AWS/Scheduler", "TargetErrorCount", ScheduleGroup=watched.knowledge_schedule)
        yield _one(
            "knowledge-base-refresh", "warning", "the knowledge base does not look for changed documents", 0, failed
        )
    if watched.backups:
        failed = _count("AWS/Backup", "NumberOfBackupJobsFailed")
        yield _one("backup-failed", "critical", "a backup failed", 0, failed, periods=1)
        if watched.copies:
            failed = _count("AWS/Backup", "NumberOfCopyJobsFailed")
            yield _one("copy-failed", "critical", "the copy of a backup failed", 0, failed, periods=1)


def _database(watched: Watched, cluster: str, limits: Alarms) -> Iterator[AlarmSpec]:
    def metric(name: str, statistic: str = "Average") -> Metric:
        return Metric(namespace="AWS/RDS", name=name, dimensions={"DBClusterIdentifier": cluster}, statistic=statistic)

    yield _one(
        "database-connections",
        "critical",
        f"more than {limits.db_connections} of {watched.database_connections} connections are in use",
        watched.database_connections * limits.db_connections.basis_points / 10_000,
        metric("DatabaseConnections", "Maximum"),
    )
    yield _share("database-cpu", "the database uses much of its CPU", limits.cpu, metric("CPUUtilization"))
    yield _one(
        "database-capacity", "warning", "the database is near its largest capacity", 90, metric("ACUUtilization")
    )
    yield _one(
        "database-unreachable",
        "critical",
        f"more than {limits.db_failures} connections to the database failed in 5 minutes",
        limits.db_failures.count,
        _count(watched.namespace, DATABASE_FAILURES.name),
        periods=1,
    )
    if watched.copies:
        lag = metric("AuroraGlobalDBReplicationLag", "Maximum")
        yield _one(
            "database-copy-lag", "critical", "the copy in the recovery region is 5 minutes behind", COPY_LAG_MS, lag
        )


def _business(watched: Watched, limits: Alarms) -> Iterator[AlarmSpec]:
    if "gateway" not in watched.services or "memory" not in watched.services:
        return
    yield AlarmSpec(
        name="cost-per-session",
        tier="warning",
        what=f"a session costs more than {limits.cost_per_session} in model calls",
        metrics={
            "micros": Metric(
                namespace=watched.namespace,
                name=COST_MICROS,
                dimensions={"Workload": "gateway"},
                statistic="Sum",
                period_s=3600,
            ),
            "sessions": Metric(namespace=watched.namespace, name=SESSIONS.name, statistic="Sum", period_s=3600),
        },
        expression=f"IF(sessions > 0, FILL(micros, 0) / sessions / {_MICROS}, 0)",
        threshold=limits.cost_per_session.usd_micros / _MICROS,
        periods=1,
    )


def _security(watched: Watched, limits: Alarms) -> Iterator[AlarmSpec]:
    yield _one(
        "auth-failures",
        "security",
        f"more than {limits.auth_failures} tokens or keys were refused in 5 minutes",
        limits.auth_failures.count,
        _count(watched.namespace, AUTH_FAILURES.name),
        periods=1,
    )
    if watched.web_acl is not None:
        blocked = _count("AWS/WAFV2", "BlockedRequests", WebACL=watched.web_acl, Rule="ALL", Region=watched.region)
        yield _one("firewall-blocks", "security", "the firewall blocks 1,000 requests in 5 minutes", 1000, blocked)


def _count(namespace: str, name: str, **dimensions: str) -> Metric:
    return Metric(namespace=namespace, name=name, dimensions=dimensions, statistic="Sum", period_s=_FIVE_MINUTES_S)


def _one(name: str, tier: Tier, what: str, threshold: float, metric: Metric, *, periods: int = 2) -> AlarmSpec:
    return AlarmSpec(name=name, tier=tier, what=what, metrics={"value": metric}, threshold=threshold, periods=periods)


def _share(name: str, what: str, limit: Percent, metric: Metric) -> AlarmSpec:
    return _one(name, "warning", f"{what}: more than {limit}", limit.basis_points / 100, metric, periods=5)
