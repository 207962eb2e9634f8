"""A state machine: its typed states, the document that they make, and what stands around it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slipway.infra.app import Assembly, Resource, Synthesis, new_app, template_of
from slipway.infra.checks import check, lint
from slipway.infra.constructs.notifications import Notifications
from slipway.infra.constructs.state_machine import StateMachine, StateMachineProps
from slipway.infra.constructs.states import Call, Case, Choose, Definition, Fail, Pause, Retry, State, Succeed, Tell
from slipway.infra.stacks.stack import SiteStack
from tests.infra.synthesis import of_type, only, synthesized
from tests.infra.templates import assembled, site, tags

MACHINE = "AWS::StepFunctions::StateMachine"
ALARM = "AWS::CloudWatch::Alarm"
RULE = "AWS::Events::Rule"
KEY = "arn:aws:kms:us-east-1:123456789012:key/executions"
WORKER = "arn:aws:lambda:us-east-1:123456789012:function:worker"
STATES: dict[str, State] = {
    "Look": Call(
        function="Worker",
        payload={"step": "look", "key.$": "$.key"},
        answers=("state",),
        timeout_s=60,
        retries=(Retry(attempts=3, first_s=2, factor=2, longest_s=30),),
        caught="Undo",
        next="Any?",
    ),
    "Any?": Choose(cases=(Case("$.work.state", "none", "Done"),), otherwise="Rest"),
    "Rest": Pause(seconds=5, next="Done"),
    "Done": Succeed(),
    "Undo": Call(function="Worker", payload={"step": "undo"}, timeout_s=30, caught="Say", next="Say"),
    "Say": Tell(
        topic="People", subject="It failed", message="{}: {}", fields=("$.key", "$.error.Error"), next="Failed"
    ),
    "Failed": Fail(error="WorkFailed", cause="A step failed."),
}
WHOLE = Definition(comment="A test", start="Look", limit_s=900, states=STATES)


def props(scope: Any, **changes: Any) -> StateMachineProps:
    notifications = Notifications(scope, "Notifications", prefix="x-prod", addresses={}, pager_secret_prefix="/x")
    given: dict[str, Any] = {
        "name": "work",
        "prefix": "x-prod",
        "definition": WHOLE,
        "functions": {"Worker": WORKER},
        "topics": {"People": notifications.arn("warning")},
        "log_group": "/slipway/prod/x/logs/workflows/work",
        "log_days": 7,
        "log_key_arn": "arn:aws:kms:us-east-1:123456789012:key/logs",
        "key_arn": KEY,
        "notifications": notifications,
        **changes,
    }
    return StateMachineProps(**given)


def made(then: Callable[[StateMachine], object] = lambda _: None, **changes: Any) -> dict[str, Resource]:
    return synthesized(lambda scope: then(StateMachine(scope, "Work", props(scope, **changes))))


def machine(resources: dict[str, Resource]) -> dict[str, Any]:
    properties: dict[str, Any] = only(resources, MACHINE)["Properties"]
    return properties


def rights(resources: dict[str, Resource], service: str) -> dict[str, dict[str, Any]]:
    [found] = [
        each["Properties"]
        for each in of_type(resources, "AWS::IAM::Role")
        if each["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": service}
    ]
    return {each["Sid"]: each for each in found["Policies"][0]["PolicyDocument"]["Statement"]}


@pytest.mark.parametrize("limit_s", [900, 7200])
def test_an_execution_ends_when_its_time_is_over(limit_s: int) -> None:
    definition = json.loads(machine(made(definition=replace(WHOLE, limit_s=limit_s)))["DefinitionString"])
    assert definition["TimeoutSeconds"] == limit_s


@pytest.mark.parametrize(("attempts", "first_s", "factor", "longest_s"), [(3, 2, 2.0, 30), (5, 1, 1.5, 60)])
def test_a_call_is_tried_again_as_often_and_as_late_as_its_retry_says(
    attempts: int, first_s: int, factor: float, longest_s: int
) -> None:
    retry = Retry(attempts=attempts, first_s=first_s, factor=factor, longest_s=longest_s)
    call = replace(STATES["Look"], retries=(retry,))  # type: ignore[type-var]
    assert call.document()["Retry"] == [
        {
            "ErrorEquals": ["States.ALL"],
            "IntervalSeconds": first_s,
            "BackoffRate": factor,
            "MaxAttempts": attempts - 1,  # Step Functions counts those after the first
            "MaxDelaySeconds": longest_s,
            "JitterStrategy": "FULL",
        }
    ]


def test_what_no_retry_mends_is_undone_and_told() -> None:
    states = json.loads(machine(made())["DefinitionString"])["States"]
    caught = {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error"}
    assert states["Look"]["Catch"] == [{**caught, "Next": "Undo"}]
    assert states["Undo"]["Catch"] == [{**caught, "Next": "Say"}]
    assert states["Say"]["Parameters"] == {
        "TopicArn": "${People}",
        "Subject": "It failed",
        "Message.$": "States.Format('{}: {}', $.key, $.error.Error)",
    }
    assert (states["Say"]["Next"], states["Failed"]["Type"]) == ("Failed", "Fail")


def test_a_call_keeps_only_the_fields_that_are_named() -> None:
    states = WHOLE.document()["States"]
    assert (states["Look"]["ResultSelector"], states["Look"]["ResultPath"]) == (
        {"state.$": "$.Payload.state"},
        "$.work",
    )
    assert "ResultSelector" not in states["Undo"]
    assert states["Undo"]["ResultPath"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "Nowhere"}, "there is no state 'Nowhere'"),
        ({"states": {**STATES, "Done": Pause(seconds=1, next="Gone")}}, "there is no state 'Gone'"),
        ({"states": {**STATES, "Lonely": Succeed()}}, "nothing leads to Lonely"),
        ({"states": {"Look": Pause(seconds=1, next="Look")}}, "no state ends it"),
        ({"states": {"Look": Pause(seconds=1, next="a" * 81), "a" * 81: Succeed()}}, "no name of a state"),
        ({"limit_s": 0}, "from a second to a year"),
    ],
)
def test_a_definition_that_cannot_run_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(WHOLE, **changes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Retry(attempts=0), "1 or more"),
        (lambda: Retry(attempts=2, first_s=90), "the longest pause is the longest"),
        (lambda: Retry(attempts=2, errors=("States.ALL", "Unavailable")), "States.ALL alone"),
        (lambda: Call(function="F", payload={}, timeout_s=0, next="N"), "a second or more"),
        (lambda: Tell(topic="T", subject="", message="m", next="N"), "1 to 100"),
        (lambda: Tell(topic="T", subject="s", message="{}", next="N"), "as many places"),
        (lambda: Tell(topic="T", subject="s", message="it's", next="N"), "a quote"),
    ],
)
def test_a_state_that_step_functions_would_refuse_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"functions": {}}, "names Worker, which it is not given"),
        ({"topics": {}}, "names People, which it is not given"),
        ({"functions": {"Worker": WORKER, "Other": WORKER}}, "does not use Other"),
        ({"name": "w" * 80}, "80 characters at most"),
    ],
)
def test_a_machine_has_what_its_definition_names_and_nothing_else(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**changes)


def test_its_log_has_no_data_of_executions_and_its_data_a_key_of_ours() -> None:
    found = made()
    logging = machine(found)["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)
    log = only(found, "AWS::Logs::LogGroup")["Properties"]
    assert (log["RetentionInDays"], log["KmsKeyId"]) == (7, "arn:aws:kms:us-east-1:123456789012:key/logs")
    assert machine(found)["EncryptionConfiguration"] == {
        "Type": "CUSTOMER_MANAGED_KMS_KEY",
        "KmsKeyId": KEY,
        "KmsDataKeyReusePeriodSeconds": 300,
    }


@pytest.mark.parametrize("tracing", [True, False])
def test_it_is_traced_when_the_platform_is(tracing: bool) -> None:
    found = made(tracing=tracing)
    assert machine(found)["TracingConfiguration"] == {"Enabled": tracing}
    assert ("Trace" in rights(found, "states.amazonaws.com")) == tracing


def test_it_may_call_its_functions_tell_its_topics_and_nothing_else() -> None:
    found = made()
    have = rights(found, "states.amazonaws.com")
    assert set(have) == {"Call", "Tell", "TellEncrypted", "Key", "KeyOfLogs", "Log", "Trace"}
    assert (have["Call"]["Action"], have["Call"]["Resource"]) == (["lambda:InvokeFunction"], [WORKER])
    [topic] = have["Tell"]["Resource"]
    assert topic == machine(found)["DefinitionSubstitutions"]["People"]
    assert have["Key"]["Resource"] == [KEY]
    [arn] = have["Key"]["Condition"]["StringEquals"].values()
    assert str(arn).endswith(":stateMachine:x-prod-work']]}")


def test_an_event_starts_it_and_what_could_not_start_it_is_kept() -> None:
    pattern = {"source": ["aws.s3"]}
    found = made(lambda work: work.start_when("Came", description="Something came", pattern=pattern))
    rule = only(found, RULE)["Properties"]
    [target] = rule["Targets"]
    assert rule["EventPattern"] == pattern
    assert found[target["Arn"]["Fn::GetAtt"][0]]["Type"] == MACHINE
    queue = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
    assert found[queue]["Properties"] == {"MessageRetentionPeriod": 1209600, "SqsManagedSseEnabled": True}
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 10}
    allowed = only(found, "AWS::SQS::QueuePolicy")["Properties"]["PolicyDocument"]["Statement"][1]
    [name] = [name for name, each in found.items() if each["Type"] == RULE]
    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": [{"Fn::GetAtt": [name, "Arn"]}]}}
    starts = rights(found, "events.amazonaws.com")
    assert starts["Start"]["Resource"] == [target["Arn"]]


def test_a_schedule_starts_it() -> None:
    found = made(lambda work: work.start_at("Weekly", description="d", schedule="rate(7 days)", event='{"a":1}'))
    rule = only(found, RULE)["Properties"]
    assert rule["ScheduleExpression"] == "rate(7 days)"
    assert rule["Targets"][0]["Input"] == '{"a":1}'


def test_somebody_is_told_when_it_fails_is_late_throttled_or_not_started() -> None:
    found = made(tier="critical")
    alarms = {each["Properties"]["AlarmName"]: each["Properties"] for each in of_type(found, ALARM)}
    assert {name: (each["Namespace"], each["MetricName"]) for name, each in alarms.items()} == {
        "x-prod-workflow-work-failed": ("AWS/States", "ExecutionsFailed"),
        "x-prod-workflow-work-timed-out": ("AWS/States", "ExecutionsTimedOut"),
        "x-prod-workflow-work-throttled": ("AWS/States", "ExecutionThrottled"),
        "x-prod-workflow-work-undelivered": ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
    }
    for name, alarm in alarms.items():
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
        tier = "[warning]" if name.endswith("throttled") else "[critical]"
        assert alarm["AlarmDescription"].startswith(tier)


def test_no_gate_finds_anything_in_it(tmp_path: Any) -> None:
    app = new_app(str(tmp_path))
    stack = SiteStack(app, site(), "workflows", description="A stack of a test.")
    work = StateMachine(stack, "Work", props(stack))
    work.start_when("Came", description="Something came", pattern={"source": ["aws.s3"]})
    app.synth()
    found = check(Synthesis(app, Assembly(site(), (template_of(stack, tmp_path),))))
    of_others = {each.place for each in found if "/Notifications" in each.place}
    assert [each for each in found if each.refused and each.place not in of_others] == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"StartAt": "Nowhere"}, "Nowhere"),
        ({"TimeoutSeconds": "soon"}, "soon"),
        ({"States": {"Look": {"Type": "Task", "Next": "Done"}, "Done": {"Type": "Succeed"}}}, "Resource"),
        ({"States": {"Look": {"Type": "Job"}}}, "Job"),
    ],
)
def test_cfn_lint_reads_the_definition_of_a_machine(fault: dict[str, Any], said: str) -> None:
    """The definition is plain text in the template, which the gate parses: a fault in it stops a plan."""
    properties = {
        "StateMachineName": "x",
        "RoleArn": "arn:aws:iam::123456789012:role/x",
        "DefinitionSubstitutions": dict.fromkeys(WHOLE.placeholders(), WORKER),
        "Tags": tags(),
    }

    def linted(document: dict[str, Any]) -> list[str]:
        text = json.dumps(document)
        template = assembled(Work={"Type": MACHINE, "Properties": {**properties, "DefinitionString": text}})
        return [each.message for each in lint(template) if each.rule == "E3601"]

    assert linted(WHOLE.document()) == []
    assert said in " ".join(linted({**WHOLE.document(), **fault}))
