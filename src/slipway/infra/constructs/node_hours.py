"""Takes the nodes of an environment away at a time and brings them back at another: without nodes no pod runs.

A node group has no scheduled bounds that CloudFormation could state, so EventBridge Scheduler calls EKS. Who adds nodes
for pods that wait runs on a node itself and ends with the last one; in between it may bring one back, and no more.
"""

from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, CfnDeletionPolicy, Stack, aws_scheduler, aws_sqs
from constructs import Construct

from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.roles import role
from slipway.infra.constructs.schedule import cron
from slipway.infra.reasons import accept
from slipway.manifest.units import TimeOfDay

_KEPT_S: Final = 14 * 24 * 3600  # the longest that SQS keeps a message
_AN_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHoursProps:
    """A group's name and ARN, its own bounds, and when it rests; without `start` it is brought back by hand."""

    cluster: str
    group: str
    group_arn: str
    least: int
    most: int
    stop: TimeOfDay
    start: TimeOfDay | None


class NodeHours(Construct):
    """The schedules, and the role that they have."""

    def __init__(self, scope: Construct, construct_id: str, props: NodeHoursProps) -> None:
        super().__init__(scope, construct_id)
        self._props = props
        self._queue = aws_sqs.CfnQueue(self, "Failed", sqs_managed_sse_enabled=True, message_retention_period=_KEPT_S)
        self._queue.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        self._queue.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        accept(
            self._queue,
            {
                "AwsSolutions-SQS3": "This is the queue for what failed; nothing reads it that could fail.",
                "AwsSolutions-SQS4": "Only Scheduler's role sends to it, by AWS's API, which speaks TLS.",
            },
        )
        self._role = role(
            self,
            "Role",
            service="scheduler.amazonaws.com",
            description="Stops and starts the nodes of an environment by the clock",
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            statements=(
                Statement("Resize", ("eks:UpdateNodegroupConfig",), (props.group_arn,)),
                Statement("Failed", ("sqs:SendMessage",), (self._queue.attr_arn,)),
            ),
        )
        self._call("Stop", props.stop, {"MinSize": 0, "MaxSize": 1, "DesiredSize": 0})
        if props.start is not None:
            bounds = {"MinSize": props.least, "MaxSize": props.most, "DesiredSize": props.least}
            self._call("Start", props.start, bounds)

    def _call(self, verb: str, when: TimeOfDay, bounds: dict[str, int]) -> None:
        schedule = aws_scheduler.CfnSchedule
        request = {"ClusterName": self._props.cluster, "NodegroupName": self._props.group, "ScalingConfig": bounds}
        schedule(
            self,
            verb,
            description=f"Nodes: {verb.lower()}",
            # Nodes come a quarter of an hour before the hour, with the databases.
            schedule_expression=cron(when, earlier=verb == "Start"),
            schedule_expression_timezone="UTC",
            flexible_time_window=schedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=schedule.TargetProperty(
                arn=f"arn:{Aws.PARTITION}:scheduler:::aws-sdk:eks:updateNodegroupConfig",
                role_arn=self._role.attr_arn,
                input=Stack.of(self).to_json_string(request),
                retry_policy=schedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=_AN_HOUR_S, maximum_retry_attempts=10
                ),
                dead_letter_config=schedule.DeadLetterConfigProperty(arn=self._queue.attr_arn),
            ),
        )
