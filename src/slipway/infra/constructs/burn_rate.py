"""Alarms on how fast the errors that an objective allows are used up, over a long and a short window together.

Google's Site Reliability Workbook, "Alerting on SLOs": a long window so that little is not taken for much, a short one
so that the alarm ends soon after its cause. 2 % of the allowance in an hour wakes somebody, 5 % in six hours too, 10 %
in three days is a warning.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aws_cdk import aws_cloudwatch
from constructs import Construct

from slipway.infra.constructs.alarms import Metric, dimensions
from slipway.infra.constructs.notifications import Notifications, Tier


@dataclass(frozen=True, slots=True)
class Window:
    """`part` of the allowance is gone after `long_s` at the rate that is alarmed on."""

    name: str
    tier: Tier
    part: Decimal
    long_s: int
    short_s: int


WINDOWS: Final = (
    Window("fast", "critical", Decimal("0.02"), 3600, 300),
    Window("slow", "critical", Decimal("0.05"), 6 * 3600, 1800),
    Window("creeping", "warning", Decimal("0.10"), 72 * 3600, 6 * 3600),
)
_LONGEST_PERIOD_S: Final = 86_400  # of an alarm in CloudWatch; three days are three periods in a row


def burn_rate(window: Window, objective_window_s: int) -> Decimal:
    """How many times faster than evenly the allowance is used up when the alarm fires: 14.4 for 2 % in 1 h of 30 d."""
    return window.part * objective_window_s / window.long_s


class BurnRateAlarms(Construct):
    """For each window a composite alarm over two quiet ones, which tell nobody by themselves."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        availability: Decimal,
        objective_window_s: int,
        requests: Metric,
        failures: Metric,
        notifications: Notifications,
    ) -> None:
        """`availability` is the promised share of requests, like 0.999."""
        super().__init__(scope, construct_id)
        self._prefix, self._requests, self._failures = prefix, requests, failures
        for window in WINDOWS:
            threshold = burn_rate(window, objective_window_s) * (1 - availability) * 100
            long, short = (
                self._quiet(window, kind, length_s, threshold)
                for kind, length_s in (("long", window.long_s), ("short", window.short_s))
            )
            topic_arn = notifications.arn(window.tier)
            composite = aws_cloudwatch.CfnCompositeAlarm(
                self,
                window.name.title(),
                alarm_name=f"{prefix}-burn-{window.name}",
                alarm_description=f"[{window.tier}] {window.part:.0%} of the errors that the objective allows are used "
                f"up in {window.long_s // 3600} h",
                alarm_rule=f'ALARM("{long.alarm_name}") AND ALARM("{short.alarm_name}")',
                alarm_actions=[topic_arn],
                ok_actions=[topic_arn],
            )
            for quiet in (long, short):
                composite.add_resource_dependency(quiet)

    def _quiet(self, window: Window, kind: str, length_s: int, threshold: Decimal) -> aws_cloudwatch.CfnAlarm:
        period_s = min(length_s, _LONGEST_PERIOD_S)
        queries = [
            aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
                id=name,
                return_data=False,
                metric_stat=aws_cloudwatch.CfnAlarm.MetricStatProperty(
                    metric=aws_cloudwatch.CfnAlarm.MetricProperty(
                        namespace=metric.namespace, metric_name=metric.name, dimensions=dimensions(metric)
                    ),
                    period=period_s,
                    stat="Sum",
                ),
            )
            for name, metric in (("failures", self._failures), ("requests", self._requests))
        ]
        ratio = aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
            id="ratio",
            expression="IF(requests > 0, 100 * FILL(failures, 0) / requests, 0)",
            label="percent failed",
            return_data=True,
        )
        return aws_cloudwatch.CfnAlarm(
            self,
            f"{window.name.title()}{kind.title()}",
            alarm_name=f"{self._prefix}-burn-{window.name}-{kind}",
            alarm_description=f"Part of {self._prefix}-burn-{window.name}: tells nobody by itself",
            comparison_operator="GreaterThanThreshold",
            threshold=float(threshold),
            evaluation_periods=length_s // period_s,
            treat_missing_data="notBreaching",
            metrics=[*queries, ratio],
        )
