"""Lambda functions: where they run, how large and for how long, and what they may do."""

from importlib import import_module
from typing import Any

import pytest

from slipway.infra.app import Resource
from slipway.infra.checks import check, refused
from slipway.infra.constructs.function import HANDLERS, FunctionHome, FunctionPlace, FunctionProps
from slipway.infra.constructs.grants import Statement
from tests.infra.edge_stacks import SUBNETS, blueprint, resources
from tests.infra.synthesis import INPUTS, assembly, only, synthesized

FUNCTION = "AWS::Lambda::Function"
GROUP = "sg-0123456789abcdef0"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/x/platform@sha256:" + "ab" * 32


def made(tracing: bool = True, days: int = 7, **props: Any) -> dict[str, Resource]:
    place = FunctionPlace(
        image_uri=IMAGE,
        subnet_ids=SUBNETS,
        security_group_ids=(GROUP,),
        log_prefix="/slipway/prod/x/logs/functions",
        log_days=days,
        tracing=tracing,
    )
    given = {"handler": "canary", "memory_mib": 512, "timeout_s": 60, **props}
    return synthesized(lambda scope: FunctionHome(scope, "Functions", place).add("Canary", FunctionProps(**given)))


def statements(found: dict[str, Resource]) -> dict[str, dict[str, Any]]:
    [policy] = only(found, "AWS::IAM::Role")["Properties"]["Policies"]
    return {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}


@pytest.mark.requirement("CMP-07", "T")
def test_a_function_runs_the_platforms_image_by_digest_in_private_subnets() -> None:
    function = only(made(), FUNCTION)["Properties"]
    assert (function["PackageType"], function["Code"]) == ("Image", {"ImageUri": IMAGE})
    assert function["ImageConfig"] == {
        "EntryPoint": ["python", "-m", "slipway.functions"],
        "Command": ["slipway.functions.canary.handler"],
    }
    assert function["VpcConfig"] == {"SubnetIds": list(SUBNETS), "SecurityGroupIds": [GROUP]}


@pytest.mark.requirement("CMP-07", "T")
@pytest.mark.parametrize(("memory_mib", "timeout_s"), [(512, 30), (1024, 900), (768, 60)])
def test_its_size_and_time_are_what_its_stack_says(memory_mib: int, timeout_s: int) -> None:
    function = only(made(memory_mib=memory_mib, timeout_s=timeout_s), FUNCTION)["Properties"]
    assert (function["MemorySize"], function["Timeout"]) == (memory_mib, timeout_s)


@pytest.mark.requirement("CMP-07", "T")
@pytest.mark.parametrize(
    "wrong", [{"memory_mib": 511}, {"memory_mib": 1025}, {"timeout_s": 29}, {"timeout_s": 901}, {"handler": "unknown"}]
)
def test_other_sizes_times_and_handlers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a function has|no entry point"):
        FunctionProps(**{"handler": "canary", "memory_mib": 512, "timeout_s": 60, **wrong})


@pytest.mark.requirement("CMP-07", "T")
def test_the_hook_before_tokens_has_a_whole_processor_and_goes_on_after_cognitos_5_seconds() -> None:
    found = resources("rag-assistant", "prod", "access")
    function = only(found, FUNCTION)["Properties"]
    assert function["ImageConfig"]["Command"] == ["slipway.functions.pre_token.handler"]
    assert (function["MemorySize"], function["Timeout"]) == (1024, 30)
    assert INPUTS.image_digest in str(function["Code"]["ImageUri"])
    assert function["VpcConfig"]["SubnetIds"] == list(SUBNETS)
    assert "ReservedConcurrentExecutions" not in function  # a reservation is a ceiling on sign-ins as well


@pytest.mark.requirement("WFL-03", "T")
def test_what_a_function_could_not_handle_is_kept() -> None:
    found = made(retries=1)
    function = only(found, FUNCTION)["Properties"]
    queue = function["DeadLetterConfig"]["TargetArn"]["Fn::GetAtt"][0]
    assert found[queue]["Properties"] == {"MessageRetentionPeriod": 1209600, "SqsManagedSseEnabled": True}
    assert only(found, "AWS::Lambda::EventInvokeConfig")["Properties"]["MaximumRetryAttempts"] == 1
    assert statements(found)["Undelivered"]["Resource"] == [{"Fn::GetAtt": [queue, "Arn"]}]


@pytest.mark.requirement("WFL-03", "T")
def test_a_site_has_its_functions_each_of_which_somebody_may_call() -> None:
    site = assembly("rag-assistant", "prod")
    functions = {
        each["Properties"]["ImageConfig"]["Command"][0].split(".")[2]: name
        for name, each in site.resources(FUNCTION).items()
    }
    assert {"pre_token", "canary", "first_response", "failover", "readiness"} <= set(functions)
    allowed = str([each["Properties"]["FunctionName"] for each in site.resources("AWS::Lambda::Permission").values()])
    for name in functions.values():
        assert name.partition("/")[2] in allowed
    for each in site.resources(FUNCTION).values():
        assert 512 <= each["Properties"]["MemorySize"] <= 1024
        assert 30 <= each["Properties"]["Timeout"] <= 900


@pytest.mark.requirement("MON-06", "T")
def test_logs_and_traces_are_the_manifests() -> None:
    function = only(made(), FUNCTION)["Properties"]
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert only(made(tracing=False), FUNCTION)["Properties"]["TracingConfig"] == {"Mode": "PassThrough"}
    assert "Traces" not in statements(made(tracing=False))
    for days in (7, 30):
        log = only(made(days=days), "AWS::Logs::LogGroup")["Properties"]
        assert (log["LogGroupName"], log["RetentionInDays"]) == ("/slipway/prod/x/logs/functions/canary", days)


@pytest.mark.requirement("SEC-06", "T")
def test_a_function_may_do_what_its_stack_says_and_every_wildcard_has_its_reason() -> None:
    own = Statement("Mine", ("ecs:UpdateService",), ("arn:aws:ecs:us-east-1:123456789012:service/c/s",))
    found = made(statements=(own,))
    have = statements(found)
    assert set(have) == {"Log", "NetworkInterfaces", "Undelivered", "Traces", "Mine", "NotByTheCode"}
    reasons = only(found, "AWS::IAM::Role")["Metadata"]["slipway:reasons"]
    for sid, statement in have.items():
        assert sid in reasons or "*" not in statement["Resource"]
    denied = have["NotByTheCode"]
    assert (denied["Effect"], denied["Action"]) == ("Deny", have["NetworkInterfaces"]["Action"])


@pytest.mark.parametrize("name", HANDLERS)
def test_every_handler_is_there(name: str) -> None:
    assert callable(import_module(f"slipway.functions.{name}").handler)


@pytest.mark.parametrize("reserved", [1, None])
def test_how_many_run_at_once_is_decided(reserved: int | None) -> None:
    function = only(made(reserved=reserved), FUNCTION)["Properties"]
    assert function.get("ReservedConcurrentExecutions") == reserved


@pytest.mark.parametrize(
    ("name", "environment"), [("rag-assistant", "prod"), ("rag-assistant", "dev"), ("agent-gateways", "prod")]
)
def test_no_gate_finds_anything_in_the_edges_stacks(name: str, environment: str) -> None:
    # Whether somebody is told of an API's errors is for the whole site: its alarms stand in another stack.
    found = [each for each in refused(check(blueprint(name, environment))) if each.rule != "unalarmed"]
    assert found == []
