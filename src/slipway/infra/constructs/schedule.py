"""Times of day as AWS writes them, and what stops and starts the databases of an environment at them.

Services and instances have their own scheduled bounds (`scaling`, `capacity`); clusters of databases have none, so
EventBridge Scheduler calls RDS and Neptune directly. No code of ours runs for it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, CfnDeletionPolicy, aws_scheduler, aws_sqs
from constructs import Construct

from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.roles import role
from slipway.infra.reasons import accept
from slipway.manifest.units import TimeOfDay

_EARLIER_MINUTES: Final = 15  # a stopped Aurora cluster answers after some ten minutes
_KEPT_S: Final = 14 * 24 * 3600  # the longest that SQS keeps a message
_AN_HOUR_S: Final = 3600  # a database that could not be stopped for an hour is in use


def cron(time: TimeOfDay, *, earlier: bool = False) -> str:
    """A time as EventBridge and Application Auto Scaling write it (UTC). `earlier` is a quarter of an hour before, on
    the same day."""
    minutes = time.hour * 60 + time.minute
    if earlier:
        minutes = max(0, minutes - _EARLIER_MINUTES)
    days = "MON-FRI" if time.weekdays_only else "*"
    return f"cron({minutes % 60} {minutes // 60} ? * {days} *)"


def unix_cron(time: TimeOfDay) -> str:
    """A time as EC2 Auto Scaling writes it (UTC)."""
    return f"{time.minute} {time.hour} * * {'1-5' if time.weekdays_only else '*'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseCluster:
    """A cluster that can be stopped; `service` is `rds` or `neptune`, which calls the same API by its own name."""

    name: str
    service: str
    identifier: str
    arn: str


class Nightly(Construct):
    """Stops clusters of databases at a time and starts them at another, a little before the services."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stop: TimeOfDay,
        start: TimeOfDay | None,
        clusters: Sequence[DatabaseCluster],
    ) -> None:
        super().__init__(scope, construct_id)
        queue = aws_sqs.CfnQueue(self, "Failed", sqs_managed_sse_enabled=True, message_retention_period=_KEPT_S)
        queue.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        queue.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        accept(
            queue,
            {
                "AwsSolutions-SQS3": "This is the queue for what failed; nothing reads it that could fail.",
                "AwsSolutions-SQS4": "Only Scheduler's role sends to it, by AWS's API, which speaks TLS.",
            },
        )
        self.role = role(
            self,
            "Role",
            service="scheduler.amazonaws.com",
            description="Stops and starts the databases of an environment by the clock",
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            statements=(
                # Neptune's rights are RDS's: the two share an API.
                Statement(
                    "StopStart",
                    ("rds:StopDBCluster", "rds:StartDBCluster"),
                    tuple(cluster.arn for cluster in clusters),
                ),
                Statement("Failed", ("sqs:SendMessage",), (queue.attr_arn,)),
            ),
        )
        for cluster in clusters:
            self._call(cluster, "stop", cron(stop), queue)
            if start is not None:
                self._call(cluster, "start", cron(start, earlier=True), queue)

    def _call(self, cluster: DatabaseCluster, verb: str, when: str, queue: aws_sqs.CfnQueue) -> None:
        schedule = aws_scheduler.CfnSchedule
        schedule(
            self,
            f"{verb.capitalize()}{cluster.name.capitalize()}",
            description=f"{cluster.name}: {verb}",
            schedule_expression=when,
            schedule_expression_timezone="UTC",
            flexible_time_window=schedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=schedule.TargetProperty(
                arn=f"arn:{Aws.PARTITION}:scheduler:::aws-sdk:{cluster.service}:{verb}DBCluster",
                role_arn=self.role.attr_arn,
                input=json.dumps({"DbClusterIdentifier": cluster.identifier}),
                retry_policy=schedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=_AN_HOUR_S, maximum_retry_attempts=10
                ),
                dead_letter_config=schedule.DeadLetterConfigProperty(arn=queue.attr_arn),
            ),
        )
