"""The Kubernetes stack, for `compute: eks`: cluster, nodes, add-ons, a role for each workload's pods, manifests.

What is reached, granted and told comes from the same topology as on ECS. The load balancer is the entrance's: its
target groups are made here, and the AWS Load Balancer Controller puts pods into them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from aws_cdk import App, Aws, aws_eks, aws_logs
from constructs import Construct

from slipway.infra.constructs import addons, collector
from slipway.infra.constructs.eks_cluster import EksCluster, EksClusterProps
from slipway.infra.constructs.environment import Environment, environment_of
from slipway.infra.constructs.environment import Surroundings as ContainerSurroundings
from slipway.infra.constructs.feature_flags import FeatureFlags
from slipway.infra.constructs.grants import Statement, grants_of, read_secrets
from slipway.infra.constructs.manifest_applier import (
    AUTOSCALER_ACCOUNT,
    CONTROLLER_ACCOUNT,
    ManifestApplier,
    ManifestApplierProps,
)
from slipway.infra.constructs.node_group import NodeGroup, NodeGroupProps
from slipway.infra.constructs.node_hours import NodeHours, NodeHoursProps
from slipway.infra.constructs.pod_identity import PodIdentity
from slipway.infra.constructs.retention import keep
from slipway.infra.constructs.routing import Route, RouteProps, by_precision
from slipway.infra.kubernetes.application import (
    Application,
    Document,
    PodSecret,
    Scaling,
    Sidecar,
    documents_of,
    namespace,
)
from slipway.infra.kubernetes.policies import Surroundings, policies_of
from slipway.infra.naming import tags_of
from slipway.infra.site import Site
from slipway.infra.stacks import workloads as read
from slipway.infra.stacks.foundation import FoundationStack
from slipway.infra.stacks.handed import Handed
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.topology import INTERNET, Edge, Workload
from slipway.infra.watched import Kubernetes
from slipway.manifest.addressing import subnet_ranges
from slipway.manifest.catalog import Need

NAMESPACE: Final = "slipway"
_GIB: Final = 2**30
_PERCENT: Final = 100
_OWN_RULES: Final = 46_000  # behind the rules of those who share the listener, as on ECS
_INSIGHTS: Final = ("application", "dataplane", "host", "performance")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grounds:
    cluster: EksCluster
    around: ContainerSurroundings
    metrics: aws_logs.CfnLogGroup | None
    flags: FeatureFlags | None


class KubernetesStack(SiteStack):
    """What runs on EKS.

    `cluster`; `roles` of pods and `target_groups` (full names) by workload; `log_groups` by workload are Container
    Insights' one group, when there is one. `documents` are the manifests, with CloudFormation's values as tokens.
    """

    def __init__(
        self,
        scope: App,
        site: Site,
        handed: Handed,
        *,
        foundation: FoundationStack,
        flags: FeatureFlags | None = None,
    ) -> None:
        super().__init__(scope, site, "kubernetes", description=f"Kubernetes of {site.names.prefix}.")
        self._handed, self._foundation = handed, foundation
        self.roles: dict[str, str] = {}
        self.target_groups: dict[str, str] = {}
        self.log_groups: dict[str, str] = {}
        self.cluster = self._make_cluster()
        self._make_nodes()
        grounds = _Grounds(
            cluster=self.cluster,
            around=replace(
                read.surroundings_of(site, handed.stores, read.addresses_of(handed), flags),
                discovery={
                    workload.name: f"{read.discovery_name(site, workload)}.{NAMESPACE}"
                    for workload in site.topology.workloads
                },
            ),
            metrics=self._metrics_group() if site.manifest.monitoring.tracing else None,
            flags=flags,
        )
        self.documents = self._documents(grounds)
        self._identify_controller()
        self._identify_autoscaler()
        self.applier = self._apply()
        self.publish("ClusterName", self.cluster.name, "The cluster, for kubectl from inside the VPC.")

    @property
    def watched(self) -> Kubernetes:
        """The cluster, for alarms."""
        site = self.site
        return Kubernetes(
            cluster=self.cluster.name,
            namespace=NAMESPACE,
            insights=site.manifest.monitoring.container_insights,
            unrouted={
                workload.name: read.discovery_name(site, workload)
                for workload in site.topology.workloads
                if workload.name not in self.target_groups
            },
        )

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether containers run on Kubernetes."""
        return site.manifest.compute == "eks"

    def _make_cluster(self) -> EksCluster:
        site = self.site
        return EksCluster(
            self,
            "Cluster",
            EksClusterProps(
                name=site.names.prefix,
                version=site.manifest.capacity.kubernetes,
                subnet_ids=self._foundation.private_subnet_ids,
                secrets_key_arn=self._foundation.key("secrets"),
                log_days=site.manifest.monitoring.log_retention.days,
                log_key_arn=self._foundation.key("logs"),
                protected=site.production,
            ),
        )

    def _make_nodes(self) -> None:
        capacity, ground = self.site.manifest.capacity, self._foundation
        first = addons.Addons(self, "First", cluster=self.cluster, addons=addons.BEFORE_NODES)
        nodes = NodeGroup(
            self,
            "Nodes",
            self.cluster,
            NodeGroupProps(
                instance=capacity.instance,
                least=capacity.min,
                most=capacity.max,
                disk_gib=-(-capacity.disk.bytes // _GIB),
                version=capacity.kubernetes,
                subnet_ids=ground.task_subnet_ids,
                security_group_ids=[self.cluster.security_group, ground.security_group("nodes")],
            ),
        )
        for addon in first.resources.values():
            nodes.resource.add_resource_dependency(addon)
        hours = self.site.manifest.schedule
        if hours is not None:
            NodeHours(
                self,
                "NodeHours",
                NodeHoursProps(
                    cluster=self.cluster.name,
                    group=nodes.resource.attr_nodegroup_name,
                    group_arn=nodes.resource.attr_arn,
                    least=capacity.min,
                    most=capacity.max,
                    stop=hours.stop,
                    start=hours.start,
                ),
            )
        wanted = list(addons.AFTER_NODES)
        if self.site.manifest.monitoring.container_insights:
            wanted.append(addons.OBSERVABILITY)
            self._insights_groups()
        rest = addons.Addons(self, "Addons", cluster=self.cluster, addons=wanted, after=[nodes.resource])
        addons.Addons(
            self,
            "Telemetry",
            cluster=self.cluster,
            addons=[addons.TELEMETRY],
            after=[rest.resources["cert-manager"]],
        )
        self._ready: list[aws_eks.CfnAddon] = list(rest.resources.values())

    def _insights_groups(self) -> None:
        """Made by the agent they would be kept for ever."""
        for part in _INSIGHTS:
            group = aws_logs.CfnLogGroup(
                self,
                f"Insights{part.capitalize()}",
                log_group_name=f"/aws/containerinsights/{self.cluster.name}/{part}",
                retention_in_days=self.site.manifest.monitoring.log_retention.days,
                kms_key_id=self._foundation.key("logs"),
            )
            keep(group, lasting=False)
        name = f"/aws/containerinsights/{self.cluster.name}/application"
        self.log_groups = {workload.name: name for workload in self.site.topology.workloads}

    def _metrics_group(self) -> aws_logs.CfnLogGroup:
        group = aws_logs.CfnLogGroup(
            self,
            "Metrics",
            log_group_name=self.site.names.log_group("metrics"),
            retention_in_days=self.site.manifest.monitoring.log_retention.days,
            kms_key_id=self._foundation.key("logs"),
        )
        keep(group, lasting=False)
        return group

    def _documents(self, grounds: _Grounds) -> tuple[Document, ...]:
        site = self.site
        order = sorted((w for w in site.topology.workloads if w.routes), key=lambda w: (by_precision(w.routes), w.name))
        priorities = {workload.name: _OWN_RULES + index for index, workload in enumerate(order)}
        found: list[Document] = [namespace(NAMESPACE)]
        found += policies_of(
            self._surroundings(),
            _edges_of(site),
            [workload.name for workload in site.topology.workloads],
        )
        for workload in site.topology.workloads:
            scope = Construct(self, site.names.construct(workload.name))
            route = self._route(scope, workload, priorities)
            found += documents_of(self._application(scope, workload, grounds, route))
        return tuple(found)

    def _surroundings(self) -> Surroundings:
        """Ranges of load balancers and stores: those of their subnets; anywhere in a VPC whose ranges are not known."""
        site, network = self.site, self.site.manifest.network
        tiers = None if network.vpc is not None else subnet_ranges(network)
        inside = () if tiers is None else (*tiers.get("public", ()), *tiers.get("private", ()))
        data = () if tiers is None else tiers.get("isolated") or tiers.get("private", ())
        ranges: dict[str, Sequence[str]] = dict.fromkeys(site.topology.stores, data)
        ranges |= {name: each.cidrs for name, each in site.manifest.dependencies.items()}
        return Surroundings(
            namespace=NAMESPACE,
            workloads=[workload.name for workload in site.topology.workloads],
            entrance=inside or ("0.0.0.0/0",),
            ranges=ranges,
        )

    def _route(self, scope: Construct, workload: Workload, priorities: Mapping[str, int]) -> Route | None:
        entrance = self._handed.entrance
        if not workload.routes or entrance is None:
            return None
        listener = entrance.listener_arn if workload.exposure == "public" else entrance.internal_listener_arn
        if listener is None:
            return None
        route = Route(
            scope,
            "Route",
            RouteProps(
                port=workload.port,
                routes=workload.routes,
                health=workload.health,
                vpc_id=self._foundation.vpc_id,
                listener_arn=listener,
                priority=priorities[workload.name],
            ),
        )
        self.target_groups[workload.name] = route.full_name
        return route

    def _application(self, scope: Construct, workload: Workload, grounds: _Grounds, route: Route | None) -> Application:
        site, stores = self.site, self._handed.stores
        environment = environment_of(workload, grounds.around)
        self._identify(scope, workload, grounds, environment)
        scale, component = workload.scale, workload.kind == "component"
        return Application(
            name=workload.name,
            namespace=NAMESPACE,
            service=read.discovery_name(site, workload),
            image=read.image_of(site, workload).uri,
            port=workload.port,
            cpu=workload.cpu,
            memory_mib=workload.memory_mib,
            user=read.user_of(site, workload),
            region=site.region,
            command=read.command_of(site, workload),
            environment=environment.plain,
            secrets=tuple(
                PodSecret(variable=name, arn=secret.arn, key=secret.key)
                for name, secret in sorted(environment.secrets.items())
            ),
            folders=tuple(folder.path for folder in read.folders_of(site, workload, stores)),
            health="/health" if component else workload.health,
            ready=workload.health,
            target_group_arn=None if route is None else route.target_group.ref,
            sidecar=None if grounds.metrics is None else self._collector(workload, component=component),
            scaling=Scaling(
                least=scale.min,
                most=scale.max,
                cpu=None if scale.cpu is None else scale.cpu.basis_points // _PERCENT,
                memory=None if scale.memory is None else scale.memory.basis_points // _PERCENT,
                sustained_s=scale.sustained.seconds,
            ),
        )

    def _identify(self, scope: Construct, workload: Workload, grounds: _Grounds, environment: Environment) -> None:
        """The pods' role: what ECS's task role may, and to read the secrets that ECS would hand over itself."""
        site, stores = self.site, self._handed.stores
        statements = (
            *grants_of(
                workload,
                stores,
                read.bedrock_models(site),
                metrics=None if grounds.metrics is None else _arn_of(grounds.metrics),
                flags=None if grounds.flags is None else grounds.flags.arn,
            ),
            *read_secrets(
                (environment.secrets[name].arn for name in sorted(environment.secrets)), stores.secrets_key_arns
            ),
        )
        identity = PodIdentity(
            scope,
            "Identity",
            cluster=grounds.cluster,
            namespace=NAMESPACE,
            account=workload.name,
            statements=statements,
        )
        self.roles[workload.name] = identity.role.attr_arn

    def _collector(self, workload: Workload, *, component: bool) -> Sidecar:
        configuration = collector.configuration(
            workload=workload.name,
            namespace=f"Slipway/{self.site.names.prefix}",
            log_group=self.site.names.log_group("metrics"),
            region=self.site.region,
            scraped_port=workload.port if component else None,
            detectors=("env",),
        )
        return Sidecar(
            name=collector.NAME,
            image=collector.IMAGE,
            user=int(collector.USER),
            cpu=collector.CPU,
            memory_mib=collector.MEMORY_MIB,
            environment={"AOT_CONFIG_CONTENT": configuration, "AWS_REGION": self.site.region},
            probe=collector.HEALTH_COMMAND[1:],
        )

    def _identify_controller(self) -> None:
        """The load balancer's controller may put pods into target groups, and nothing else: it makes none."""
        groups = f"arn:{Aws.PARTITION}:elasticloadbalancing:{Aws.REGION}:{Aws.ACCOUNT_ID}:targetgroup/*/*"
        statements = (
            Statement(
                "PutPodsIntoGroups",
                ("elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"),
                (groups,),
                {"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in self._own_tags().items()}},
                reason="This environment's groups, told by their tags: their names are made up when they are made.",
            ),
            Statement(
                "FindGroups",
                (
                    "ec2:DescribeAvailabilityZones",
                    "ec2:DescribeInstances",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVpcs",
                    "elasticloadbalancing:DescribeLoadBalancers",
                    "elasticloadbalancing:DescribeTags",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                ),
                ("*",),
                reason="Descriptions of EC2 and of load balancing name no resource.",
            ),
        )
        PodIdentity(
            self,
            "Controller",
            cluster=self.cluster,
            namespace="kube-system",
            account=CONTROLLER_ACCOUNT,
            statements=statements,
        )

    def _identify_autoscaler(self) -> None:
        """Who adds nodes for pods that wait may change the size of the cluster's own groups."""
        tag = f"aws:ResourceTag/k8s.io/cluster-autoscaler/{self.cluster.name}"
        groups = (
            f"arn:{Aws.PARTITION}:autoscaling:{Aws.REGION}:{Aws.ACCOUNT_ID}:autoScalingGroup:*:autoScalingGroupName/*"
        )
        statements = (
            Statement(
                "ResizeGroups",
                ("autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"),
                (groups,),
                {"StringEquals": {tag: "owned"}},
                reason="EKS makes the group and its name; the tag that it puts there names this cluster.",
            ),
            Statement(
                "FindGroups",
                (
                    "autoscaling:DescribeAutoScalingGroups",
                    "autoscaling:DescribeAutoScalingInstances",
                    "autoscaling:DescribeLaunchConfigurations",
                    "autoscaling:DescribeScalingActivities",
                    "ec2:DescribeImages",
                    "ec2:DescribeInstanceTypes",
                    "ec2:DescribeLaunchTemplateVersions",
                    "ec2:GetInstanceTypesFromInstanceRequirements",
                ),
                ("*",),
                reason="Descriptions of EC2 and of auto scaling name no resource.",
            ),
            Statement(
                "FindNodes",
                ("eks:DescribeNodegroup",),
                (f"arn:{Aws.PARTITION}:eks:{Aws.REGION}:{Aws.ACCOUNT_ID}:nodegroup/{self.cluster.name}/*",),
                reason="EKS makes a part of a node group's name; the cluster is named.",
            ),
        )
        PodIdentity(
            self,
            "Autoscaler",
            cluster=self.cluster,
            namespace="kube-system",
            account=AUTOSCALER_ACCOUNT,
            statements=statements,
        )

    def _own_tags(self) -> Mapping[str, str]:
        tags = tags_of(self.site.manifest, self.site.names, self.site.inputs)
        return {key: tags[key] for key in ("Project", "Environment")}

    def _apply(self) -> ManifestApplier:
        site = self.site
        applier = ManifestApplier(
            self,
            "Manifests",
            self.cluster,
            ManifestApplierProps(
                name=site.names.prefix,
                documents=self.to_json_string({"apiVersion": "v1", "kind": "List", "items": list(self.documents)}),
                namespace=NAMESPACE,
                deployments=[workload.name for workload in site.topology.workloads],
                version=site.manifest.capacity.kubernetes,
                vpc_id=self._foundation.vpc_id,
                subnet_ids=self._foundation.task_subnet_ids,
                key_arn=self._foundation.key("secrets"),
                log_group=site.names.log_group("manifests"),
                log_days=site.manifest.monitoring.log_retention.days,
                log_key_arn=self._foundation.key("logs"),
            ),
        )
        for addon in self._ready:
            applier.project.add_resource_dependency(addon)
        return applier


def _edges_of(site: Site) -> tuple[Edge, ...]:
    """The topology's edges, and those to models that are served outside at another port than HTTPS."""
    ports = {
        url.port or 80
        for model in site.manifest.models.available.values()
        if (url := urlsplit(model.base_url or "")).port not in (None, 443) or url.scheme == "http"
    }
    askers = site.topology.needing(Need.MODELS.value)
    return (*site.topology.edges, *(Edge(asker.name, INTERNET, port) for asker in askers for port in sorted(ports)))


def _arn_of(group: aws_logs.CfnLogGroup) -> str:
    """Its ARN without the wildcard that CloudFormation puts behind it."""
    return f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:{group.ref}"
