"""When more or fewer copies of a service run: past a limit, at a time of day, or ahead of what is coming.

Copies are added when one reason is past its limit for the whole time stated, and taken away one by one when all of
them are below half of it for a while. Own alarms and steps instead of target tracking: that one adds only after three
minutes, and takes no two reasons into account when it removes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, aws_applicationautoscaling, aws_cloudwatch
from constructs import Construct

_PERIOD_S: Final = 60
_QUIET_PERIODS: Final = 15  # arbitrary: a quarter of an hour below half before a copy goes
_OUT_COOLDOWN_S: Final = 60  # a task is ready within a minute
_IN_COOLDOWN_S: Final = 120
_GROWTH: Final = 50  # percent: 3 become 5; one at least
_AHEAD_S: Final = 300

Policy = aws_applicationautoscaling.CfnScalingPolicy
Target = aws_applicationautoscaling.CfnScalableTarget
Alarm = aws_cloudwatch.CfnAlarm


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One metric of CloudWatch and the limit past which copies are added. `silent` says that it has no values while
    nothing happens, which then count as nought."""

    name: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    statistic: str
    limit: float
    silent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Other bounds from a time on, in CloudWatch's cron."""

    name: str
    cron: str
    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingProps:
    """Bounds of one service, reasons for more within them, and changes of the bounds. `minutes` is how long a metric
    must be past its limit; `predicted_cpu` the percentage to have copies ahead for, None for no forecast."""

    cluster: str
    service: str
    least: int
    most: int
    minutes: int
    reasons: Sequence[Reason] = ()
    changes: Sequence[Change] = ()
    predicted_cpu: float | None = None


class Scaling(Construct):
    """The scalable target of a service with its policies and alarms."""

    def __init__(self, scope: Construct, construct_id: str, props: ScalingProps) -> None:
        super().__init__(scope, construct_id)
        self.target = Target(
            self,
            "Target",
            service_namespace="ecs",
            scalable_dimension="ecs:service:DesiredCount",
            resource_id=f"service/{props.cluster}/{props.service}",
            min_capacity=props.least,
            max_capacity=props.most,
            role_arn=f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/aws-service-role/"
            "ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService",
            scheduled_actions=[
                Target.ScheduledActionProperty(
                    scheduled_action_name=change.name,
                    schedule=change.cron,
                    timezone="UTC",
                    scalable_target_action=Target.ScalableTargetActionProperty(
                        min_capacity=change.least, max_capacity=change.most
                    ),
                )
                for change in props.changes
            ]
            or None,
        )
        if props.most > props.least:
            for reason in props.reasons:
                self._more(props, reason)
            if props.reasons:
                self._fewer(props)
            if props.predicted_cpu is not None:
                self._ahead(props.predicted_cpu)

    def _more(self, props: ScalingProps, reason: Reason) -> None:
        policy = self._steps(
            f"More{reason.name}",
            Policy.StepScalingPolicyConfigurationProperty(
                adjustment_type="PercentChangeInCapacity",
                min_adjustment_magnitude=1,
                cooldown=_OUT_COOLDOWN_S,
                metric_aggregation_type="Average",
                step_adjustments=[
                    Policy.StepAdjustmentProperty(metric_interval_lower_bound=0, scaling_adjustment=_GROWTH)
                ],
            ),
        )
        Alarm(
            self,
            f"High{reason.name}",
            alarm_description=f"{props.service} gets more copies: {reason.metric} is past {reason.limit:g}",
            namespace=reason.namespace,
            metric_name=reason.metric,
            dimensions=_dimensions(reason),
            statistic=reason.statistic,
            period=_PERIOD_S,
            evaluation_periods=props.minutes,
            datapoints_to_alarm=props.minutes,
            threshold=reason.limit,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[policy.ref],
        )

    def _fewer(self, props: ScalingProps) -> None:
        policy = self._steps(
            "Fewer",
            Policy.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity",
                cooldown=_IN_COOLDOWN_S,
                metric_aggregation_type="Average",
                step_adjustments=[Policy.StepAdjustmentProperty(metric_interval_lower_bound=0, scaling_adjustment=-1)],
            ),
        )
        quiet = " AND ".join(f"{_value(reason)} < {reason.limit / 2:g}" for reason in props.reasons)
        Alarm(
            self,
            "Quiet",
            alarm_description=f"{props.service} gets fewer copies: all that it is scaled by is below half its limit",
            metrics=[
                Alarm.MetricDataQueryProperty(
                    id="quiet", expression=f"IF({quiet}, 1, 0)", label="quiet", return_data=True
                ),
                *(
                    Alarm.MetricDataQueryProperty(
                        id=reason.name.lower(),
                        metric_stat=Alarm.MetricStatProperty(
                            metric=Alarm.MetricProperty(
                                namespace=reason.namespace, metric_name=reason.metric, dimensions=_dimensions(reason)
                            ),
                            period=_PERIOD_S,
                            stat=reason.statistic,
                        ),
                        return_data=False,
                    )
                    for reason in props.reasons
                ),
            ],
            evaluation_periods=_QUIET_PERIODS,
            datapoints_to_alarm=_QUIET_PERIODS,
            threshold=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[policy.ref],
        )

    def _ahead(self, cpu: float) -> None:
        Policy(
            self,
            "Ahead",
            policy_name="ahead",
            policy_type="PredictiveScaling",
            scaling_target_id=self.target.ref,
            predictive_scaling_policy_configuration=Policy.PredictiveScalingPolicyConfigurationProperty(
                mode="ForecastAndScale",
                scheduling_buffer_time=_AHEAD_S,
                max_capacity_breach_behavior="HonorMaxCapacity",
                metric_specifications=[
                    Policy.PredictiveScalingMetricSpecificationProperty(
                        target_value=cpu,
                        predefined_metric_pair_specification=Policy.PredictiveScalingPredefinedMetricPairProperty(
                            predefined_metric_type="ECSServiceCPUUtilization"
                        ),
                    )
                ],
            ),
        )

    def _steps(self, name: str, configuration: Policy.StepScalingPolicyConfigurationProperty) -> Policy:
        return Policy(
            self,
            name,
            policy_name=name.lower(),
            policy_type="StepScaling",
            scaling_target_id=self.target.ref,
            step_scaling_policy_configuration=configuration,
        )


def _value(reason: Reason) -> str:
    """Its values in an expression. Without a value of the CPU nothing is decided: it may only be late."""
    return f"FILL({reason.name.lower()}, 0)" if reason.silent else reason.name.lower()


def _dimensions(reason: Reason) -> list[Alarm.DimensionProperty]:
    return [Alarm.DimensionProperty(name=name, value=value) for name, value in sorted(reason.dimensions.items())]
