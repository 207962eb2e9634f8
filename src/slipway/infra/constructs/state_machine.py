"""A Step Functions machine with everything around it: role, log, key, alarms, and what starts it.

Stacks give it a `Definition` of typed states, the functions and topics that it names, and say what starts it. Its log
has no data of executions: what a machine works on may be somebody's document.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aws_cdk import Aws, aws_events, aws_logs, aws_sqs, aws_stepfunctions
from constructs import Construct

from slipway.infra.constructs.alarms import Alarms, AlarmSpec, Metric
from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.notifications import Notifications, Tier
from slipway.infra.constructs.retention import keep
from slipway.infra.constructs.roles import role
from slipway.infra.constructs.states import SERVICES, Definition
from slipway.infra.reasons import accept

_DATA_KEY_REUSED_S: Final = 300  # a call of KMS for each five minutes, not for each state
_QUEUE_KEEPS_S: Final = 14 * 24 * 3600  # the longest that SQS keeps a message
_STARTS_WITHIN_S: Final = 3600  # a start that is later than this is no use: somebody has to look
_START_ATTEMPTS: Final = 10
_FIVE_MINUTES_S: Final = 300
_BY_ACCOUNT: Final = "Step Functions has no resources for these that a policy could name."


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMachineProps:
    """`name` is what the machine is called within `prefix`. `functions` and `topics` are what its definition names.

    `key_arn` encrypts the executions' data, `log_key_arn` the log. `notifications` has the topics and their key; its
    `tier` is told of executions that failed.
    """

    name: str
    prefix: str
    definition: Definition
    functions: Mapping[str, str]
    log_group: str
    log_days: int
    log_key_arn: str
    key_arn: str
    notifications: Notifications
    topics: Mapping[str, str] = field(default_factory=dict)
    tracing: bool = True
    tier: Tier = "warning"

    def __post_init__(self) -> None:
        given, named = {*self.functions, *self.topics}, self.definition.placeholders() - SERVICES.keys()
        if missing := sorted(named - given):
            raise ValueError(f"the definition of {self.name} names {', '.join(missing)}, which it is not given")
        if spare := sorted(given - named):
            raise ValueError(f"the definition of {self.name} does not use {', '.join(spare)}")
        if len(self.full_name) > 80:
            raise ValueError(f"{self.full_name}: the name of a machine has 80 characters at most")

    @property
    def full_name(self) -> str:
        """The machine's name in the account."""
        return f"{self.prefix}-{self.name}"

    @property
    def arn(self) -> str:
        """The machine's ARN, from its name: for its own role."""
        return f"arn:{Aws.PARTITION}:states:{Aws.REGION}:{Aws.ACCOUNT_ID}:stateMachine:{self.full_name}"


class StateMachine(Construct):
    """A standard machine by its `arn` and `name`; `undelivered` is the queue for starts that came to nothing."""

    def __init__(self, scope: Construct, construct_id: str, props: StateMachineProps) -> None:
        super().__init__(scope, construct_id)
        self._props = props
        self.resource = self._machine()
        self.arn = self.resource.attr_arn
        self.name = props.full_name
        self._starters: list[aws_events.CfnRule] = []
        self.undelivered = self._queue()
        self.specs = tuple(alarm_specs(props.name, self.arn, self.undelivered.attr_queue_name, props.tier))
        Alarms(self, "Alarms", prefix=props.prefix, specs=self.specs, notifications=props.notifications)
        self._starter = role(
            self,
            "Starter",
            service="events.amazonaws.com",
            description=f"Starts {props.full_name}",
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            statements=(
                Statement("Start", ("states:StartExecution",), (self.arn,)),
                _of_key(props),
            ),
        )

    def start_when(self, construct_id: str, *, description: str, pattern: Mapping[str, Any]) -> aws_events.CfnRule:
        """Starts an execution with each event that matches `pattern`; its input is the event."""
        return self._start(construct_id, description=description, event_pattern=pattern)

    def start_at(self, construct_id: str, *, description: str, schedule: str, event: str = "{}") -> aws_events.CfnRule:
        """Starts an execution by a schedule (`rate(…)` or `cron(…)`, UTC) with the JSON `event` as its input."""
        return self._start(construct_id, event=event, description=description, schedule_expression=schedule)

    def _start(self, construct_id: str, *, event: str | None = None, **rule: Any) -> aws_events.CfnRule:
        target = aws_events.CfnRule
        made = target(
            self,
            construct_id,
            targets=[
                target.TargetProperty(
                    id="machine",
                    arn=self.arn,
                    role_arn=self._starter.attr_arn,
                    input=event,
                    dead_letter_config=target.DeadLetterConfigProperty(arn=self.undelivered.attr_arn),
                    retry_policy=target.RetryPolicyProperty(
                        maximum_event_age_in_seconds=_STARTS_WITHIN_S, maximum_retry_attempts=_START_ATTEMPTS
                    ),
                )
            ],
            **rule,
        )
        self._starters.append(made)
        self._queue_policy.policy_document = _queue_policy(
            self.undelivered.attr_arn, [starter.attr_arn for starter in self._starters]
        )
        return made

    def _machine(self) -> aws_stepfunctions.CfnStateMachine:
        props = self._props
        log = aws_logs.CfnLogGroup(
            self, "Log", log_group_name=props.log_group, retention_in_days=props.log_days, kms_key_id=props.log_key_arn
        )
        keep(log, lasting=False)
        runner = role(
            self,
            "Runner",
            service="states.amazonaws.com",
            description=f"Runs {props.full_name}",
            conditions={
                "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                "ArnLike": {"aws:SourceArn": props.arn},
            },
            statements=tuple(_rights(props)),
        )
        machine = aws_stepfunctions.CfnStateMachine
        return machine(
            self,
            "Machine",
            state_machine_name=props.full_name,
            state_machine_type="STANDARD",
            role_arn=runner.attr_arn,
            definition_string=json.dumps(props.definition.document(), separators=(",", ":")),
            definition_substitutions=_substitutions(props),
            encryption_configuration=machine.EncryptionConfigurationProperty(
                type="CUSTOMER_MANAGED_KMS_KEY",
                kms_key_id=props.key_arn,
                kms_data_key_reuse_period_seconds=_DATA_KEY_REUSED_S,
            ),
            logging_configuration=machine.LoggingConfigurationProperty(
                level="ALL",
                include_execution_data=False,
                destinations=[
                    machine.LogDestinationProperty(
                        cloud_watch_logs_log_group=machine.CloudWatchLogsLogGroupProperty(log_group_arn=log.attr_arn)
                    )
                ],
            ),
            tracing_configuration=machine.TracingConfigurationProperty(enabled=props.tracing),
        )

    def _queue(self) -> aws_sqs.CfnQueue:
        queue = aws_sqs.CfnQueue(
            self, "Undelivered", sqs_managed_sse_enabled=True, message_retention_period=_QUEUE_KEEPS_S
        )
        keep(queue, lasting=False)
        accept(queue, {"AwsSolutions-SQS3": "It is itself where starts that came to nothing end."})
        self._queue_policy = aws_sqs.CfnQueuePolicy(
            self,
            "UndeliveredPolicy",
            queues=[queue.ref],
            policy_document=_queue_policy(queue.attr_arn, []),
        )
        return queue


def alarm_specs(name: str, machine_arn: str, queue: str, tier: Tier) -> Iterator[AlarmSpec]:
    """The alarms of a machine: executions that failed, ran out of time or were throttled, and starts that were lost."""
    dimensions = {"StateMachineArn": machine_arn}
    for short, metric, what, told in (
        ("failed", "ExecutionsFailed", "an execution failed", tier),
        ("timed-out", "ExecutionsTimedOut", "an execution ran out of time", tier),
        ("throttled", "ExecutionThrottled", "Step Functions throttles it", "warning"),
    ):
        yield _above_none(f"workflow-{name}-{short}", told, f"{name}: {what}", "AWS/States", metric, dimensions)
    yield _above_none(
        f"workflow-{name}-undelivered",
        tier,
        f"{name}: an event could not start it, see its queue",
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
        {"QueueName": queue},
        "Maximum",
    )


def _above_none(
    name: str, tier: Tier, what: str, namespace: str, metric: str, dimensions: Mapping[str, str], statistic: str = "Sum"
) -> AlarmSpec:
    value = Metric(
        namespace=namespace, name=metric, dimensions=dimensions, statistic=statistic, period_s=_FIVE_MINUTES_S
    )
    return AlarmSpec(name=name, tier=tier, what=what, metrics={"value": value}, threshold=0, periods=1)


def _rights(props: StateMachineProps) -> Iterator[Statement]:
    if props.functions:
        yield Statement("Call", ("lambda:InvokeFunction",), tuple(props.functions.values()))
    if props.topics:
        yield Statement("Tell", ("sns:Publish",), tuple(props.topics.values()))
        key_arn = props.notifications.key.attr_arn
        yield Statement("TellEncrypted", ("kms:Decrypt", "kms:GenerateDataKey"), (key_arn,))
    yield _of_key(props)
    yield Statement(
        "KeyOfLogs",
        ("kms:GenerateDataKey",),
        (props.key_arn,),
        {
            "StringLike": {
                "kms:EncryptionContext:SourceArn": f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:*"
            }
        },
    )
    yield from record_rights(tracing=props.tracing)


def record_rights(*, tracing: bool) -> Iterator[Statement]:
    """What the role of any machine needs for its log and its traces."""
    yield Statement("Log", _LOGS, ("*",), reason=_BY_ACCOUNT)
    if tracing:
        yield Statement("Trace", _TRACES, ("*",), reason=_BY_ACCOUNT)


_LOGS: Final = (
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
)
_TRACES: Final = (
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)


def _substitutions(props: StateMachineProps) -> dict[str, str]:
    """What the definition's placeholders stand for: those of services only where it uses them."""
    used = props.definition.placeholders()
    services = {name: f"arn:{Aws.PARTITION}:states:::{service}" for name, service in SERVICES.items() if name in used}
    return {**services, **props.functions, **props.topics}


def _of_key(props: StateMachineProps) -> Statement:
    """The key, for the data of this machine's executions alone."""
    return Statement(
        "Key",
        ("kms:Decrypt", "kms:GenerateDataKey"),
        (props.key_arn,),
        {"StringEquals": {"kms:EncryptionContext:aws:states:stateMachineArn": props.arn}},
    )


def _queue_policy(queue_arn: str, rule_arns: list[str]) -> dict[str, Any]:
    """EventBridge sends what it could not deliver, for the rules of this machine, and nobody comes without TLS."""
    statements: list[dict[str, Any]] = [
        {
            "Sid": "EncryptedOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]
    if rule_arns:
        statements.append(
            {
                "Sid": "Undelivered",
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": rule_arns}},
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}
