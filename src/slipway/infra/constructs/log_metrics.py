"""Metrics counted from the JSON lines that components log: refused sign-ins, lost databases, sessions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_logs
from constructs import Construct


@dataclass(frozen=True, slots=True)
class LogMetric:
    """Lines that match `pattern` (CloudWatch's filter syntax for JSON) count one each."""

    name: str
    pattern: str


AUTH_FAILURES: Final = LogMetric("AuthFailures", '{ $.logger = "slipway.access" && $.status = 401 }')
# What the pool of connections logs for each attempt that failed.
DATABASE_FAILURES: Final = LogMetric(
    "DatabaseFailures", '{ $.logger = "psycopg.pool" && $.message = "error connecting*" }'
)
SESSIONS: Final = LogMetric("Sessions", '{ $.route = "/v1/sessions" && $.method = "POST" && $.status = 201 }')


class LogMetrics(Construct):
    """Filters over log groups, each counting into one metric of the platform's own namespace."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        namespace: str,
        log_groups: Mapping[str, str],
        metrics: tuple[LogMetric, ...],
    ) -> None:
        """`log_groups` has the name of each workload's group. Values of a metric add up over all of them."""
        super().__init__(scope, construct_id)
        for workload, group in log_groups.items():
            for metric in metrics:
                aws_logs.CfnMetricFilter(
                    self,
                    f"{metric.name}{''.join(word.title() for word in workload.split('-'))}",
                    log_group_name=group,
                    filter_pattern=metric.pattern,
                    metric_transformations=[
                        aws_logs.CfnMetricFilter.MetricTransformationProperty(
                            metric_namespace=namespace, metric_name=metric.name, metric_value="1", default_value=0
                        )
                    ],
                )
