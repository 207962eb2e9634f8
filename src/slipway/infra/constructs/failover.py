"""What brings a platform back in another region by itself: an alarm, and the state machine that it starts.

The machine decides the order and waits; each step is one call of the function `failover`, which begins a piece of work,
or looks how far it is, and answers `{"done": …, "state": …}`. A step that is not done is called again with its state.
Everything stands in the recovery region: what watches the first region must not be lost with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Aws, CfnDeletionPolicy, Stack, aws_cloudwatch, aws_events, aws_logs, aws_stepfunctions
from constructs import Construct

from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.roles import role
from slipway.infra.constructs.state_machine import record_rights

METRIC: Final = "Reachable"
PROBED_EVERY_MINUTES: Final = 1
LOOKED_AFTER_S: Final = 30  # between two looks at a piece of work
_ENDS_AFTER_S: Final = 24 * 3600  # nothing that still runs after a day will end by itself
_TRIES: Final = 5

State = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverProps:
    """`stores` are restored side by side. `lost_after_minutes` is how long nobody must have been reached.

    `topic_arn` is told of the end, good or bad; `topic_key_arn` encrypts it.
    """

    prefix: str
    stores: Sequence[str]
    function_arn: str
    topic_arn: str
    topic_key_arn: str
    lost_after_minutes: int
    log_group: str
    log_days: int
    log_key_arn: str


class Failover(Construct):
    """The machine, `alarm` that starts it, and the rule between the two."""

    def __init__(self, scope: Construct, construct_id: str, props: FailoverProps) -> None:
        super().__init__(scope, construct_id)
        self._props = props
        self.machine = self._machine()
        self.alarm = aws_cloudwatch.CfnAlarm(
            self,
            "Lost",
            alarm_name=f"{props.prefix}-failover",
            alarm_description=f"[critical] Nobody reaches {props.prefix} in its first region: it is restored here",
            namespace=namespace(props.prefix),
            metric_name=METRIC,
            statistic="Maximum",
            period=60 * PROBED_EVERY_MINUTES,
            evaluation_periods=props.lost_after_minutes // PROBED_EVERY_MINUTES,
            datapoints_to_alarm=props.lost_after_minutes // PROBED_EVERY_MINUTES,
            threshold=1,
            comparison_operator="LessThanThreshold",
            treat_missing_data="notBreaching",  # a probe that did not run knows nothing
            alarm_actions=[props.topic_arn],
            ok_actions=[props.topic_arn],
        )
        aws_cloudwatch.CfnAlarm(
            self,
            "Failing",
            alarm_name=f"{props.prefix}-failover-failed",
            alarm_description=f"[critical] A failover of {props.prefix} ended without bringing it back",
            namespace="AWS/States",
            metric_name="ExecutionsFailed",
            dimensions=[aws_cloudwatch.CfnAlarm.DimensionProperty(name="StateMachineArn", value=self.machine.attr_arn)],
            statistic="Sum",
            period=60,
            evaluation_periods=1,
            threshold=0,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[props.topic_arn],
        )
        self._start()

    def _start(self) -> None:
        starter = role(
            self,
            "Starter",
            service="events.amazonaws.com",
            description="Starts the failover",
            statements=(Statement("Start", ("states:StartExecution",), (self.machine.attr_arn,)),),
        )
        aws_events.CfnRule(
            self,
            "WhenLost",
            description="The first region cannot be reached",
            event_pattern={
                "source": ["aws.cloudwatch"],
                "detail-type": ["CloudWatch Alarm State Change"],
                "resources": [self.alarm.attr_arn],
                "detail": {"state": {"value": ["ALARM"]}},
            },
            targets=[
                aws_events.CfnRule.TargetProperty(
                    id="failover", arn=self.machine.attr_arn, role_arn=starter.attr_arn, input="{}"
                )
            ],
        )

    def _machine(self) -> aws_stepfunctions.CfnStateMachine:
        props = self._props
        log = aws_logs.CfnLogGroup(
            self, "Log", log_group_name=props.log_group, retention_in_days=props.log_days, kms_key_id=props.log_key_arn
        )
        log.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        log.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        runner = role(
            self,
            "Runner",
            service="states.amazonaws.com",
            description="Leads the failover",
            statements=_rights(props),
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        )
        machine = aws_stepfunctions.CfnStateMachine
        return machine(
            self,
            "Machine",
            state_machine_name=f"{props.prefix}-failover",
            state_machine_type="STANDARD",
            role_arn=runner.attr_arn,
            definition_string=Stack.of(self).to_json_string(definition(props)),
            logging_configuration=machine.LoggingConfigurationProperty(
                level="ALL",
                include_execution_data=True,
                destinations=[
                    machine.LogDestinationProperty(
                        cloud_watch_logs_log_group=machine.CloudWatchLogsLogGroupProperty(log_group_arn=log.attr_arn)
                    )
                ],
            ),
            tracing_configuration=machine.TracingConfigurationProperty(enabled=True),
        )


def namespace(prefix: str) -> str:
    """Where the platform's own metrics stand."""
    return f"Slipway/{prefix}"


def definition(props: FailoverProps) -> State:
    """The order of a failover, as Step Functions reads it."""
    states: State = {
        "Confirm": {
            **_call(props, {"step": "confirm", "execution.$": "$$.Execution.Id"}),
            "ResultSelector": {"lost.$": "$.Payload.lost"},
            "Catch": _CATCH,
            "Next": "Lost?",
        },
        "Lost?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.lost", "BooleanEquals": True, "Next": "Restore"}],
            "Default": "StillThere",
        },
        "StillThere": {"Type": "Succeed"},
        "Restore": _restore(props),
        **_looped(props, "Services", {"step": "services"}, "Dns"),
        **_looped(props, "Dns", {"step": "dns"}, "Validate"),
        **_looped(props, "Validate", {"step": "validate"}, "TellRecovered"),
        "TellRecovered": {**_tell(props, "was lost in its first region and is recovered here"), "Next": "Recovered"},
        "Recovered": {"Type": "Succeed"},
        "TellFailed": {**_tell(props, "was lost in its first region, and its failover failed"), "Next": "Failed"},
        "Failed": {"Type": "Fail", "Error": "FailoverFailed", "Cause": "A step failed; its execution says which."},
    }
    return {"StartAt": "Confirm", "TimeoutSeconds": _ENDS_AFTER_S, "States": states}


_CATCH: Final[list[State]] = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "TellFailed"}]


def _restore(props: FailoverProps) -> State:
    """All stores side by side: the slowest says how long it takes."""
    if not props.stores:
        return {"Type": "Pass", "Result": {"state": {"restored": []}}, "Next": "Services"}
    return {
        "Type": "Parallel",
        "Branches": [_branch(props, store) for store in props.stores],
        "ResultSelector": {"state": {"restored.$": "$[*].state"}},
        "Catch": _CATCH,
        "Next": "Services",
    }


def _branch(props: FailoverProps, store: str) -> State:
    """One store, restored until it is done."""
    name = f"Restore {store}"
    begin = f"Begin {store}"
    return {
        "StartAt": begin,
        "States": {
            begin: {"Type": "Pass", "Result": {"state": {}}, "Next": name},
            **_looped(props, name, {"step": "restore", "store": store}, f"Restored {store}", catches=False),
            f"Restored {store}": {"Type": "Succeed"},
        },
    }


def _looped(props: FailoverProps, name: str, payload: State, then: str, *, catches: bool = True) -> State:
    """A step that is called until it is done; an error within a branch is caught around the branches."""
    return {
        name: {
            **_call(props, {**payload, "state.$": "$.state"}),
            "ResultSelector": {"done.$": "$.Payload.done", "state.$": "$.Payload.state"},
            **({"Catch": _CATCH} if catches else {}),
            "Next": f"{name} done?",
        },
        f"{name} done?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.done", "BooleanEquals": True, "Next": then}],
            "Default": f"{name} goes on",
        },
        f"{name} goes on": {"Type": "Wait", "Seconds": LOOKED_AFTER_S, "Next": name},
    }


def _call(props: FailoverProps, payload: State) -> State:
    return {
        "Type": "Task",
        "Resource": f"arn:{Aws.PARTITION}:states:::lambda:invoke",
        "Parameters": {"FunctionName": props.function_arn, "Payload": payload},
        "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5, "BackoffRate": 2, "MaxAttempts": _TRIES}],
    }


def _tell(props: FailoverProps, what: str) -> State:
    return {
        "Type": "Task",
        "Resource": f"arn:{Aws.PARTITION}:states:::sns:publish",
        "Parameters": {
            "TopicArn": props.topic_arn,
            "Subject": f"{props.prefix[:60]}: failover",
            "Message.$": f"States.Format('{props.prefix} {what}. {{}}', States.JsonToString($))",
        },
        "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5, "BackoffRate": 2, "MaxAttempts": _TRIES}],
    }


def _rights(props: FailoverProps) -> tuple[Statement, ...]:
    return (
        Statement("Steps", ("lambda:InvokeFunction",), (props.function_arn,)),
        Statement("Tell", ("sns:Publish",), (props.topic_arn,)),
        Statement("TellEncrypted", ("kms:Decrypt", "kms:GenerateDataKey"), (props.topic_key_arn,)),
        *record_rights(tracing=True),
    )


def steps_of(machine: Mapping[str, Any]) -> list[str]:
    """The steps of a definition that goes well, in order: for the plan, and for people."""
    states, name, found = machine["States"], machine["StartAt"], []
    while True:
        state = states[name]
        if state["Type"] in ("Task", "Parallel"):
            found.append(name)
        if state["Type"] in ("Succeed", "Fail"):
            return found
        name = state["Choices"][0]["Next"] if state["Type"] == "Choice" else state["Next"]
