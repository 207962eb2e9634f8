"""A service: so many copies of a task, spread over zones, replaced one by one or all at once, and back when that fails.

A deployment goes back by itself when new tasks do not become well (circuit breaker) or when the workload's own alarms
fire. Called by the platform stack for each workload.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aws_cdk import Aws, aws_cloudwatch, aws_ecs, aws_iam
from constructs import Construct

from slipway.infra.constructs.cluster import FARGATE, FARGATE_SPOT
from slipway.infra.constructs.discovery import DiscoveredName
from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.roles import role
from slipway.infra.constructs.routing import Route
from slipway.infra.constructs.task import Task

Definition = aws_ecs.CfnService
_BAKE_MINUTES: Final = 5  # the old tasks stay as long, so that a switch back takes seconds
_GRACE_S: Final = 90  # a part is ready within 60 s, its migrations included
_ENOUGH_REQUESTS: Final = 20  # a minute; of fewer, one failure is no rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProps:
    """How tasks run. `desired` is None where scaling decides; `alone` says that two copies must never run at once, as
    with a disk of their own; `provider` is the capacity provider of instances, None on Fargate."""

    name: str
    cluster: str
    desired: int | None
    subnet_ids: Sequence[str]
    security_group_ids: Sequence[str]
    discovery: DiscoveredName | None
    strategy: Literal["rolling", "blue-green"] = "rolling"
    alone: bool = False
    spot: Literal["none", "some", "all"] = "none"
    provider: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackProps:
    """What takes a deployment back: the share of failures among answers (percent), and of which load balancer."""

    load_balancer: str
    error_percent: float


class Service(Construct):
    """A service of ECS with its alarms. `name` is the name in ECS."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        props: ServiceProps,
        *,
        task: Task,
        route: Route | None = None,
        rollback: RollbackProps | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = props.name
        alarms = _alarms(self, props.name, route, rollback) if route is not None and rollback is not None else []
        switched = props.strategy == "blue-green" and route is not None and route.other_target_group is not None
        self.resource = Definition(
            self,
            "Service",
            service_name=props.name,
            cluster=props.cluster,
            task_definition=task.arn,
            desired_count=props.desired,
            scheduling_strategy="REPLICA",
            capacity_provider_strategy=_capacity(props),
            # Fargate spreads by itself. On instances: over zones first, then as few instances as there is room on.
            placement_strategies=None if props.provider is None else _placement(),
            availability_zone_rebalancing="DISABLED" if props.alone else "ENABLED",
            network_configuration=Definition.NetworkConfigurationProperty(
                awsvpc_configuration=Definition.AwsVpcConfigurationProperty(
                    subnets=list(props.subnet_ids),
                    security_groups=list(props.security_group_ids),
                    assign_public_ip=None if props.provider else "DISABLED",
                )
            ),
            deployment_controller=Definition.DeploymentControllerProperty(type="ECS"),
            deployment_configuration=_deployment(props, alarms, switched=switched),
            load_balancers=None if route is None else [_targets(self, task, route, switched=switched)],
            health_check_grace_period_seconds=_GRACE_S if route is not None else None,
            service_registries=None
            if props.discovery is None
            else [Definition.ServiceRegistryProperty(registry_arn=props.discovery.arn)],
            enable_ecs_managed_tags=True,
            propagate_tags="SERVICE",
            # Nobody opens a shell in a task: what is done there is in no log, and the next task does not have it.
            enable_execute_command=False,
        )
        if route is not None and not switched:  # who switches the rule refers to it
            self.resource.add_resource_dependency(route.rule)

    def after(self, other: "Service") -> None:
        """Starts, and changes, only once `other` is steady."""
        self.resource.add_resource_dependency(other.resource)


def _targets(scope: Construct, task: Task, route: Route, *, switched: bool) -> Definition.LoadBalancerProperty:
    advanced = None
    if switched and route.other_target_group is not None:
        advanced = Definition.AdvancedConfigurationProperty(
            alternate_target_group_arn=route.other_target_group.ref,
            production_listener_rule=route.rule.ref,
            role_arn=_switching_role(scope, route).attr_arn,
        )
    return Definition.LoadBalancerProperty(
        container_name=task.container,
        container_port=task.port,
        target_group_arn=route.target_group.ref,
        advanced_configuration=advanced,
    )


def _alarms(scope: Construct, service: str, route: Route, rollback: RollbackProps) -> list[str]:
    """The alarms that take a deployment back, by name: too many failures, and tasks that do not answer their probe."""
    names = [f"{service}-rollback-failures", f"{service}-rollback-unwell"]
    _failures_alarm(scope, names[0], route, rollback)
    aws_cloudwatch.CfnAlarm(
        scope,
        "Unwell",
        alarm_name=names[1],
        alarm_description=f"Tasks of {service} do not answer their probe: a deployment under way goes back",
        namespace="AWS/ApplicationELB",
        metric_name="UnHealthyHostCount",
        dimensions=_dimensions(route, rollback),
        statistic="Maximum",
        period=60,
        evaluation_periods=3,
        datapoints_to_alarm=3,
        threshold=0,
        comparison_operator="GreaterThanThreshold",
        treat_missing_data="notBreaching",
    )
    return names


def _failures_alarm(scope: Construct, name: str, route: Route, rollback: RollbackProps) -> None:
    alarm = aws_cloudwatch.CfnAlarm

    def measured(identifier: str, metric: str) -> aws_cloudwatch.CfnAlarm.MetricDataQueryProperty:
        return alarm.MetricDataQueryProperty(
            id=identifier,
            return_data=False,
            metric_stat=alarm.MetricStatProperty(
                period=60,
                stat="Sum",
                metric=alarm.MetricProperty(
                    namespace="AWS/ApplicationELB", metric_name=metric, dimensions=_dimensions(route, rollback)
                ),
            ),
        )

    alarm(
        scope,
        "Failures",
        alarm_name=name,
        alarm_description="Too many answers of the workload are 5xx: a deployment under way goes back",
        metrics=[
            alarm.MetricDataQueryProperty(
                id="share",
                label="share of failures",
                expression=f"IF(requests >= {_ENOUGH_REQUESTS}, 100 * FILL(failures, 0) / requests, 0)",
                return_data=True,
            ),
            measured("failures", "HTTPCode_Target_5XX_Count"),
            measured("requests", "RequestCount"),
        ],
        evaluation_periods=2,
        datapoints_to_alarm=2,
        threshold=rollback.error_percent,
        comparison_operator="GreaterThanThreshold",
        treat_missing_data="notBreaching",
    )


def _dimensions(route: Route, rollback: RollbackProps) -> list[aws_cloudwatch.CfnAlarm.DimensionProperty]:
    dimension = aws_cloudwatch.CfnAlarm.DimensionProperty
    return [
        dimension(name="LoadBalancer", value=rollback.load_balancer),
        dimension(name="TargetGroup", value=route.full_name),
    ]


def _capacity(props: ServiceProps) -> list[Definition.CapacityProviderStrategyItemProperty]:
    item = Definition.CapacityProviderStrategyItemProperty
    if props.provider is not None:
        return [item(capacity_provider=props.provider, base=0, weight=1)]
    if props.spot == "all":
        return [item(capacity_provider=FARGATE_SPOT, base=0, weight=1)]
    if props.spot == "some":  # one copy stays when AWS takes the others back
        return [
            item(capacity_provider=FARGATE, base=1, weight=0),
            item(capacity_provider=FARGATE_SPOT, base=0, weight=1),
        ]
    return [item(capacity_provider=FARGATE, base=0, weight=1)]


def _placement() -> list[Definition.PlacementStrategyProperty]:
    return [
        Definition.PlacementStrategyProperty(type="spread", field="attribute:ecs.availability-zone"),
        Definition.PlacementStrategyProperty(type="binpack", field="memory"),
    ]


def _deployment(
    props: ServiceProps, alarms: Sequence[str], *, switched: bool
) -> Definition.DeploymentConfigurationProperty:
    return Definition.DeploymentConfigurationProperty(
        strategy="BLUE_GREEN" if switched else "ROLLING",
        bake_time_in_minutes=_BAKE_MINUTES if switched else None,
        minimum_healthy_percent=0 if props.alone else 100,
        maximum_percent=100 if props.alone else 200,
        # ECS has the breaker for rolling deployments alone; a switch goes back by its alarms.
        deployment_circuit_breaker=None
        if switched
        else Definition.DeploymentCircuitBreakerProperty(enable=True, rollback=True),
        alarms=Definition.DeploymentAlarmsProperty(alarm_names=list(alarms), enable=True, rollback=True)
        if alarms
        else None,
    )


def _switching_role(scope: Construct, route: Route) -> aws_iam.CfnRole:
    """What ECS may do to switch between the two target groups of one rule, and of no other."""
    groups = tuple(group.ref for group in (route.target_group, route.other_target_group) if group is not None)
    return role(
        scope,
        "SwitchingRole",
        service="ecs.amazonaws.com",
        description="Switches a blue-green deployment: ECS moves a rule from one target group to the other",
        conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        statements=(
            Statement("Switch", ("elasticloadbalancing:ModifyRule",), (route.rule.ref,)),
            Statement(
                "Targets", ("elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"), groups
            ),
            Statement(
                "Look",
                (
                    "elasticloadbalancing:DescribeListeners",
                    "elasticloadbalancing:DescribeRules",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                ),
                ("*",),
                reason="Elastic Load Balancing's Describe calls know no resources.",
            ),
        ),
    )
