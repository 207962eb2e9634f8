"""The platform stack: what runs. The cluster, a service for each workload, how requests reach them, and when they rest.

On EKS the services are the Kubernetes stack's; here are flags and the hours of rest alone. A site that shares another
environment's network and load balancer takes them from that environment's exports, and has rules of its own there.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from aws_cdk import App, Aws, aws_autoscaling, aws_logs, aws_opensearchserverless
from constructs import Construct

from slipway.infra.constructs.capacity import Capacity, CapacityProps
from slipway.infra.constructs.cluster import FARGATE, FARGATE_SPOT, Cluster
from slipway.infra.constructs.discovery import DiscoveredName
from slipway.infra.constructs.environment import environment_of, migrator
from slipway.infra.constructs.feature_flags import FeatureFlags
from slipway.infra.constructs.grants import grants_of
from slipway.infra.constructs.routing import Route, RouteProps, by_precision
from slipway.infra.constructs.scaling import Scaling, ScalingProps
from slipway.infra.constructs.schedule import Nightly, unix_cron
from slipway.infra.constructs.service import RollbackProps, Service, ServiceProps
from slipway.infra.constructs.task import Logs, Task, TaskProps, Telemetry
from slipway.infra.site import Site
from slipway.infra.stacks import workloads as read
from slipway.infra.stacks.handed import Handed, rests
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.stacks.store_props import bounded
from slipway.infra.topology import Workload
from slipway.manifest.rules.sharing import RULES_EACH

_SHARED_RULES: Final = 100  # rules of those who share a listener come first: they ask for a host name as well
_SHARERS: Final = 1000  # numbers of pull requests, from where they begin anew
_OWN_RULES: Final = 46_000  # ELB has priorities up to 50,000
_GIB: Final = 2**30
_POLICY_NAME: Final = 32  # characters that OpenSearch Serverless takes


class PlatformStack(SiteStack):
    """What runs.

    `services`, `service_names`, `log_groups` and `target_groups` (full names) are by workload; `cluster_name` is ""
    and they are empty on EKS. `entrance` is the load balancer.
    """

    def __init__(self, scope: App, site: Site, handed: Handed) -> None:
        super().__init__(scope, site, "platform", description=f"What runs of {site.names.prefix}.")
        self._handed = handed
        self.entrance = handed.entrance
        self.services: dict[str, Service] = {}
        self.log_groups: dict[str, str] = {}
        self.target_groups: dict[str, str] = {}
        self.roles: dict[str, str] = {}
        self.cluster_name = ""
        self._capacity: Capacity | None = None
        manifest = site.manifest
        self.flags = self._flags() if manifest.features else None
        if manifest.schedule is not None and handed.databases:
            Nightly(
                self,
                "Nightly",
                stop=manifest.schedule.stop,
                start=manifest.schedule.start,
                clusters=handed.databases,
            )
        if manifest.compute != "eks":
            self._run()

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether there is anything to make: on EKS there may be nothing."""
        manifest = site.manifest
        return manifest.compute != "eks" or bool(manifest.features) or rests(site)

    @property
    def service_names(self) -> Mapping[str, str]:
        """Services by workload, as ECS names them."""
        return {workload: service.name for workload, service in self.services.items()}

    @property
    def instances_group(self) -> str | None:
        """The auto scaling group of the cluster's instances, where there are some."""
        return None if self._capacity is None else self._capacity.group.ref

    def _run(self) -> None:
        site = self.site
        cluster = Cluster(self, "Cluster", name=site.names.prefix, insights=site.manifest.monitoring.container_insights)
        self.cluster_name = cluster.name
        self._capacity = self._instances(cluster) if site.manifest.compute == "ec2" else None
        if self._capacity is None:
            providers = cluster.provide((FARGATE, FARGATE_SPOT), FARGATE)
        else:
            providers = cluster.provide((self._capacity.name,), self._capacity.name)
        self._metrics = self._metrics_group() if site.manifest.monitoring.tracing else None
        self._around = read.surroundings_of(site, self._handed.stores, read.addresses_of(self._handed), self.flags)
        order = sorted((w for w in site.topology.workloads if w.routes), key=lambda w: (by_precision(w.routes), w.name))
        priorities = {workload.name: _first_priority(site) + index for index, workload in enumerate(order)}
        first = migrator(site.topology.workloads)
        for workload in site.topology.workloads:
            service = self._serve(Part(self, site.names.construct(workload.name)), workload, priorities)
            service.resource.add_resource_dependency(providers)
            if first in self.services and workload.kind == "component":
                service.after(self.services[first])
            self.services[workload.name] = service
        self._let_search()
        self._publish_digests()

    def _serve(self, scope: Construct, workload: Workload, priorities: Mapping[str, int]) -> Service:
        site, name = self.site, f"{self.site.names.prefix}-{workload.name}"
        task = Task(scope, "Task", self._task(workload, name))
        self.log_groups[workload.name] = site.names.log_group(workload.name)
        self.roles[workload.name] = task.role.attr_arn
        route = self._route(scope, workload, priorities)
        if route is not None:
            self.target_groups[workload.name] = route.full_name
        service = Service(
            scope,
            "Service",
            ServiceProps(
                name=name,
                cluster=self.cluster_name,
                desired=read.desired_of(site, workload),
                subnet_ids=self._subnets(),
                security_group_ids=[self._handed.ground.security_group(workload.name)],
                discovery=None if read.switches(site, workload) else self._name(scope, workload),
                strategy="blue-green" if read.switches(site, workload) else "rolling",
                alone=read.alone(site, workload),
                spot=_spot(site, workload),
                provider=None if self._capacity is None else self._capacity.name,
            ),
            task=task,
            route=route,
            rollback=self._rollback(workload),
        )
        self._scale(scope, workload, service, route)
        return service

    def _name(self, scope: Construct, workload: Workload) -> DiscoveredName:
        return DiscoveredName(
            scope,
            "Name",
            name=read.discovery_name(self.site, workload),
            namespace_id=self._handed.ground.namespace_id,
        )

    def _task(self, workload: Workload, name: str) -> TaskProps:
        site, stores = self.site, self._handed.stores
        metrics = self._metrics
        environment = environment_of(workload, self._around)
        return TaskProps(
            family=name,
            workload=workload.name,
            image=read.image_of(site, workload),
            command=read.command_of(site, workload),
            port=workload.port,
            cpu=workload.cpu,
            memory_mib=workload.memory_mib,
            user=read.user_of(site, workload),
            launch="FARGATE" if self._capacity is None else "EC2",
            logs=Logs(group=site.names.log_group(workload.name), days=site.manifest.monitoring.log_retention.days),
            environment=environment.plain,
            secrets=environment.secrets,
            secrets_key_arns=stores.secrets_key_arns,
            statements=grants_of(
                workload,
                stores,
                read.bedrock_models(site),
                metrics=None if metrics is None else _arn_of(metrics),
                flags=None if self.flags is None else self.flags.arn,
            ),
            folders=tuple(read.folders_of(site, workload, stores)),
            probe=read.probe_of(workload),
            telemetry=None if metrics is None else self._telemetry(workload, metrics),
        )

    def _telemetry(self, workload: Workload, metrics: aws_logs.CfnLogGroup) -> Telemetry:
        return Telemetry(
            namespace=f"Slipway/{self.site.names.prefix}",
            group=self.site.names.log_group("metrics"),
            group_arn=_arn_of(metrics),
            region=self.site.region,
            scraped_port=workload.port if workload.kind == "component" else None,
        )

    def _metrics_group(self) -> aws_logs.CfnLogGroup:
        return aws_logs.CfnLogGroup(
            self,
            "Metrics",
            log_group_name=self.site.names.log_group("metrics"),
            retention_in_days=self.site.manifest.monitoring.log_retention.days,
        )

    def _route(self, scope: Construct, workload: Workload, priorities: Mapping[str, int]) -> Route | None:
        entrance = self._handed.entrance
        if not workload.routes or entrance is None:
            return None
        listener = entrance.listener_arn if workload.exposure == "public" else entrance.internal_listener_arn
        if listener is None:
            return None
        return Route(
            scope,
            "Route",
            RouteProps(
                port=workload.port,
                routes=workload.routes,
                health=workload.health,
                vpc_id=self._handed.ground.vpc_id,
                listener_arn=listener,
                priority=priorities[workload.name],
                host=host_of(self.site),
                twin=read.switches(self.site, workload),
            ),
        )

    def _scale(self, scope: Construct, workload: Workload, service: Service, route: Route | None) -> None:
        """A service that never changes has no bounds to watch."""
        scale, manifest, balancer = workload.scale, self.site.manifest, self._balancer(workload)
        changes = tuple(read.changes_of(manifest, scale))
        if scale.min == scale.max and not changes:
            return
        routed = None
        if route is not None and balancer is not None:
            routed = {"LoadBalancer": balancer, "TargetGroup": route.full_name}
        scaling = Scaling(
            scope,
            "Scaling",
            ScalingProps(
                cluster=self.cluster_name,
                service=service.name,
                least=scale.min,
                most=scale.max,
                minutes=scale.sustained.seconds // 60,
                reasons=tuple(read.reasons_of(scale, cluster=self.cluster_name, service=service.name, routed=routed)),
                changes=changes,
                predicted_cpu=scale.cpu.basis_points / 100 if scale.predictive and scale.cpu is not None else None,
            ),
        )
        scaling.target.add_resource_dependency(service.resource)

    def _instances(self, cluster: Cluster) -> Capacity:
        capacity, schedule = self.site.manifest.capacity, self.site.manifest.schedule
        made = Capacity(
            self,
            "Instances",
            CapacityProps(
                instance=capacity.instance,
                least=capacity.min,
                most=capacity.max,
                target=capacity.target.basis_points // 100,
                disk_gib=-(-capacity.disk.bytes // _GIB),
                subnet_ids=self._subnets(),
                security_group_ids=[self._handed.ground.security_group("instances")],
                host_folders=read.host_folders(self.site),
                files=any(workload.files for workload in self.site.topology.workloads),
            ),
            cluster,
        )
        if schedule is not None:  # ECS takes instances away once no task is left; only the least number is in its way
            times = [("Stop", schedule.stop, 0)]
            times += [("Start", schedule.start, capacity.min)] if schedule.start is not None else []
            for verb, time, least in times:
                aws_autoscaling.CfnScheduledAction(
                    made,
                    verb,
                    auto_scaling_group_name=made.group.ref,
                    recurrence=unix_cron(time),
                    time_zone="Etc/UTC",
                    min_size=least,
                )
        return made

    def _subnets(self) -> Sequence[str]:
        """Subnets of the zones that things run in; the others only stand there."""
        network = self.site.manifest.network
        subnets = self._handed.ground.private_subnet_ids
        return subnets if network.vpc is not None else subnets[: network.azs]

    def _balancer(self, workload: Workload) -> str | None:
        """The load balancer that leads to a workload, as metrics name it."""
        entrance = self._handed.entrance
        if entrance is None:
            return None
        return entrance.full_name if workload.exposure == "public" else entrance.internal_full_name

    def _rollback(self, workload: Workload) -> RollbackProps | None:
        balancer = self._balancer(workload)
        if balancer is None:
            return None
        percent = self.site.manifest.monitoring.alarms.error_rate.basis_points / 100
        return RollbackProps(load_balancer=balancer, error_percent=percent)

    def _flags(self) -> FeatureFlags:
        site = self.site
        return FeatureFlags(
            self,
            "Features",
            name=site.names.prefix,
            environment=site.names.environment,
            flags=site.manifest.features,
        )

    def _let_search(self) -> None:
        """OpenSearch Serverless asks for a policy of its own beside the roles' rights."""
        collection = self._handed.stores.opensearch
        askers = [self.roles[workload.name] for workload in self.site.topology.needing("opensearch")]
        if collection is None or not askers:
            return
        rules = [
            {
                "ResourceType": "index",
                "Resource": [f"index/{collection.name}/*"],
                "Permission": [
                    f"aoss:{action}"
                    for action in ("CreateIndex", "DescribeIndex", "UpdateIndex", "ReadDocument", "WriteDocument")
                ],
            },
            {
                "ResourceType": "collection",
                "Resource": [f"collection/{collection.name}"],
                "Permission": ["aoss:DescribeCollectionItems"],
            },
        ]
        aws_opensearchserverless.CfnAccessPolicy(
            self,
            "Search",
            name=bounded(f"{self.site.names.prefix}-tasks", _POLICY_NAME),
            type="data",
            description="Tasks that need the collection",
            policy=self.to_json_string([{"Rules": rules, "Principal": askers}]),
        )

    def _publish_digests(self) -> None:
        """What must be running once a deployment has ended: compared with what ECS says."""
        for workload in self.site.topology.workloads:
            digest = read.image_of(self.site, workload).uri.rpartition("@")[2]
            self.publish(
                f"Digest{self.site.names.construct(workload.name)}", digest, f"The image that {workload.name} runs"
            )


class Part(Construct):
    """What belongs to one workload."""


def _spot(site: Site, workload: Workload) -> Literal["none", "some", "all"]:
    if not read.spot_of(site, workload):
        return "none"
    return "some" if workload.scale.min > 1 else "all"


def _first_priority(site: Site) -> int:
    """The number of the first rule of a site: apart from those of others on the same listener, and before its owner's,
    which ask for no host name."""
    number = site.inputs.pull_request
    return _OWN_RULES if number is None else _SHARED_RULES + number % _SHARERS * RULES_EACH


def host_of(site: Site) -> str | None:
    """The host name that requests of a preview are for; None where the whole load balancer is the site's own.

    Without a domain only the preview's API Gateway asks, which takes the name from its integration's address.
    """
    number, domain = site.inputs.pull_request, site.manifest.edge.domain
    if number is None:
        return None
    return f"{site.names.prefix}.internal" if domain is None else f"pr-{number}.{domain.name}"


def _arn_of(group: aws_logs.CfnLogGroup) -> str:
    """Its ARN without the wildcard that CloudFormation puts behind it."""
    return f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:{group.ref}"
