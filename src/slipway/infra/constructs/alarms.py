"""Alarms from specifications: what is measured, past which value, and which tier is told.

A specification is a value, so that the plan, the dashboard and tests read the same list that the template is made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aws_cdk import aws_cloudwatch
from constructs import Construct

from slipway.infra.constructs.notifications import Notifications, Tier

Comparison = Literal["above", "below"]
Missing = Literal["breaching", "notBreaching", "ignore", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of CloudWatch; `statistic` like Average, Sum or p95, over `period_s`."""

    namespace: str
    name: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    statistic: str = "Average"
    period_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSpec:
    """An alarm on one metric, or on an `expression` over several by their ids.

    It fires when the value is past `threshold` in each of `periods` periods. `missing` says what no data means.
    """

    name: str
    tier: Tier
    what: str
    metrics: Mapping[str, Metric]
    threshold: float
    expression: str | None = None
    comparison: Comparison = "above"
    periods: int = 2
    missing: Missing = "notBreaching"


class Alarms(Construct):
    """The alarms of a list of specifications."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        specs: tuple[AlarmSpec, ...],
        notifications: Notifications,
    ) -> None:
        super().__init__(scope, construct_id)
        self._alarms: dict[str, aws_cloudwatch.CfnAlarm] = {}
        for spec in specs:
            self._alarms[spec.name] = self._alarm(prefix, spec, notifications.arn(spec.tier))

    def arn(self, name: str) -> str:
        """The ARN of an alarm, by its specification's name."""
        return self._alarms[name].attr_arn

    def _alarm(self, prefix: str, spec: AlarmSpec, topic_arn: str) -> aws_cloudwatch.CfnAlarm:
        single = spec.expression is None
        [metric, *_] = spec.metrics.values()
        return aws_cloudwatch.CfnAlarm(
            self,
            "".join(word.title() for word in spec.name.split("-")),
            alarm_name=f"{prefix}-{spec.name}",
            alarm_description=f"[{spec.tier}] {spec.what}",
            comparison_operator="GreaterThanThreshold" if spec.comparison == "above" else "LessThanThreshold",
            threshold=spec.threshold,
            evaluation_periods=spec.periods,
            datapoints_to_alarm=spec.periods,
            treat_missing_data=spec.missing,
            alarm_actions=[topic_arn],
            ok_actions=[topic_arn],
            namespace=metric.namespace if single else None,
            metric_name=metric.name if single else None,
            dimensions=dimensions(metric) if single else None,
            statistic=metric.statistic if single and not metric.statistic.startswith("p") else None,
            extended_statistic=metric.statistic if single and metric.statistic.startswith("p") else None,
            period=metric.period_s if single else None,
            metrics=None if single else _queries(spec),
        )


def dimensions(metric: Metric) -> list[aws_cloudwatch.CfnAlarm.DimensionProperty]:
    """The dimensions of a metric as an alarm wants them."""
    return [
        aws_cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value) for name, value in metric.dimensions.items()
    ]


def _queries(spec: AlarmSpec) -> list[aws_cloudwatch.CfnAlarm.MetricDataQueryProperty]:
    queries = [
        aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
            id=name,
            return_data=False,
            metric_stat=aws_cloudwatch.CfnAlarm.MetricStatProperty(
                metric=aws_cloudwatch.CfnAlarm.MetricProperty(
                    namespace=metric.namespace, metric_name=metric.name, dimensions=dimensions(metric)
                ),
                period=metric.period_s,
                stat=metric.statistic,
            ),
        )
        for name, metric in spec.metrics.items()
    ]
    result = aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
        id="result", expression=spec.expression, label=spec.name, return_data=True
    )
    return [*queries, result]
