"""The second region: what stands ready there, and the failover from the alarm to the check at its end."""

import json
from typing import Any

import pytest

from slipway.infra.app import Resource
from slipway.infra.constructs.failover import LOOKED_AFTER_S, steps_of
from slipway.infra.stacks.recovery import LOST_AFTER_MINUTES
from slipway.manifest.rules import reach
from tests.infra.data_stacks import data, stacks
from tests.infra.synthesis import assembly, of_type, only

MACHINE = "AWS::StepFunctions::StateMachine"
FUNCTION = "AWS::Lambda::Function"


def recovery(blueprint: str, environment: str, changes: dict[str, Any] | None = None) -> dict[str, Resource]:
    return stacks(blueprint, environment, changes)["recovery"]


def definition(resources: dict[str, Resource]) -> dict[str, Any]:
    """The machine's definition, with names in place of what CloudFormation resolves."""
    text = only(resources, MACHINE)["Properties"]["DefinitionString"]
    parts = text["Fn::Join"][1] if isinstance(text, dict) else [text]
    whole = "".join(part if isinstance(part, str) else next(iter(json.dumps(part).split('"')[3:4])) for part in parts)
    found: dict[str, Any] = json.loads(whole)
    return found


def environment(resources: dict[str, Resource], handler: str) -> dict[str, Any]:
    [found] = [
        each["Properties"]["Environment"]["Variables"]
        for each in of_type(resources, FUNCTION)
        if each["Properties"]["ImageConfig"]["Command"] == [f"slipway.functions.{handler}.handler"]
    ]
    variables: dict[str, Any] = found
    return variables


@pytest.mark.requirement("DRP-03", "T")
def test_a_failover_confirms_restores_starts_services_leads_dns_and_validates() -> None:
    assert steps_of(definition(recovery("rag-assistant", "prod"))) == [
        "Confirm", "Restore", "Services", "Dns", "Validate", "TellRecovered",
    ]  # fmt: skip


@pytest.mark.requirement("DRP-03", "T")
def test_it_runs_in_us_west_2_and_is_started_by_the_alarm_there() -> None:
    assert assembly("rag-assistant", "prod").stack("recovery").region == "us-west-2"
    resources = recovery("rag-assistant", "prod")
    [name] = [key for key, each in resources.items() if each["Properties"].get("MetricName") == "Reachable"]
    alarm = resources[name]["Properties"]
    assert alarm["EvaluationPeriods"] * alarm["Period"] == 60 * LOST_AFTER_MINUTES
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    [rule] = [
        each["Properties"] for each in of_type(resources, "AWS::Events::Rule") if "EventPattern" in each["Properties"]
    ]
    assert rule["EventPattern"]["resources"] == [{"Fn::GetAtt": [name, "Arn"]}]
    assert rule["EventPattern"]["detail"] == {"state": {"value": ["ALARM"]}}
    [target] = rule["Targets"]
    assert resources[target["Arn"]["Fn::GetAtt"][0]]["Type"] == MACHINE


@pytest.mark.requirement("DRP-03", "T")
def test_each_store_is_restored_side_by_side_by_the_means_that_it_has() -> None:
    resources = recovery("rag-assistant", "prod")
    branches = definition(resources)["States"]["Restore"]["Branches"]
    assert [branch["StartAt"] for branch in branches] == ["Begin postgres", "Begin objects", "Begin mindsdb"]
    means = json.dumps(environment(resources, "failover")["SLIPWAY_STORES"]).replace("\\", "")
    assert means.count('"by":"copy"') == 2
    assert means.count('"by":"backup"') == 1
    gone = {"data": {"objects": {"copy_to_recovery_region": False}}, "recovery": {"objectives": None}}
    assert "Begin objects" in str(definition(recovery("rag-assistant", "prod", gone)))


@pytest.mark.requirement("DRP-03", "T")
def test_the_objectives_of_the_manifest_reach_the_functions() -> None:
    for hours, minutes in ((4, 60), (6, 120)):
        change = {"recovery": {"objectives": {"rto": f"{hours}h", "rpo": f"{minutes}m"}}}
        variables = environment(recovery("rag-assistant", "prod", change), "readiness")
        assert (variables["SLIPWAY_RTO_SECONDS"], variables["SLIPWAY_RPO_SECONDS"]) == (
            str(hours * 3600),
            str(minutes * 60),
        )


@pytest.mark.requirement("DRP-03", "T")
def test_the_domains_second_record_leads_to_a_load_balancer_that_waits() -> None:
    resources = recovery("mcp-hybrid", "prod")
    record = only(resources, "AWS::Route53::RecordSet")["Properties"]
    assert (record["Failover"], record["Name"]) == ("SECONDARY", "agents.example.com")
    assert record["AliasTarget"]["EvaluateTargetHealth"] is True
    balancer = only(resources, "AWS::ElasticLoadBalancingV2::LoadBalancer")["Properties"]
    assert balancer["Scheme"] == "internet-facing"


def test_behind_an_api_gateway_the_second_record_is_the_edges() -> None:
    resources = recovery("rag-assistant", "prod")
    assert of_type(resources, "AWS::Route53::RecordSet") == []
    assert of_type(resources, "AWS::ElasticLoadBalancingV2::LoadBalancer") == []


@pytest.mark.requirement("DRP-03", "T")
def test_without_failover_in_the_manifest_there_is_none() -> None:
    resources = recovery("mcp-hybrid", "prod", {"recovery": {"failover": False}})
    assert of_type(resources, MACHINE) == of_type(resources, FUNCTION) == []
    assert of_type(resources, "AWS::ElasticLoadBalancingV2::LoadBalancer") == []
    assert len(of_type(resources, "AWS::RDS::DBCluster")) == 1  # the copy of PostgreSQL stands


@pytest.mark.requirement("DRP-02", "T")
def test_the_copy_of_postgres_has_no_instance_and_joins_the_global_cluster() -> None:
    resources = recovery("mcp-hybrid", "prod")
    copy = only(resources, "AWS::RDS::DBCluster")["Properties"]
    joined = only(data("mcp-hybrid", "prod"), "AWS::RDS::GlobalCluster")["Properties"]
    assert copy["GlobalClusterIdentifier"] == joined["GlobalClusterIdentifier"]
    assert of_type(resources, "AWS::RDS::DBInstance") == []
    assert "MasterUsername" not in copy
    assert copy["StorageEncrypted"] is True
    first = only(data("mcp-hybrid", "prod"), "AWS::RDS::DBCluster")["Properties"]
    for same in ("EngineVersion", "ServerlessV2ScalingConfiguration", "BackupRetentionPeriod"):
        assert copy[same] == first[same]


@pytest.mark.requirement("DRP-02", "T")
def test_somebody_is_told_when_the_copy_is_further_behind_than_objectives_count_with() -> None:
    for resources in (recovery("mcp-hybrid", "prod"), recovery("mcp-hybrid", "staging")):
        [alarm] = [
            each["Properties"]
            for each in of_type(resources, "AWS::CloudWatch::Alarm")
            if each["Properties"].get("MetricName") == "AuroraGlobalDBReplicationLag"
        ]
        assert alarm["Threshold"] == reach.GLOBAL_COPY_RPO.milliseconds
        [topic] = alarm["AlarmActions"]
        assert resources[topic["Ref"]]["Type"] == "AWS::SNS::Topic"


def test_a_step_that_is_not_done_is_looked_at_again() -> None:
    states = definition(recovery("rag-assistant", "prod"))["States"]
    for step in ("Services", "Dns", "Validate"):
        choice = states[states[step]["Next"]]
        wait = states[choice["Default"]]
        assert (wait["Type"], wait["Seconds"], wait["Next"]) == ("Wait", LOOKED_AFTER_S, step)
        assert states[step]["Catch"][0]["Next"] == "TellFailed"
    assert states[states["TellFailed"]["Next"]]["Type"] == "Fail"


def test_a_first_region_that_still_answers_is_left_alone() -> None:
    states = definition(recovery("rag-assistant", "prod"))["States"]
    assert states[states["Lost?"]["Default"]] == {"Type": "Succeed"}


def test_readiness_is_checked_each_week_and_the_first_region_each_minute() -> None:
    schedules = {
        each["Properties"]["ScheduleExpression"]
        for each in of_type(recovery("rag-assistant", "prod"), "AWS::Events::Rule")
        if "ScheduleExpression" in each["Properties"]
    }
    assert schedules == {"rate(1 minute)", "cron(0 6 ? * MON *)"}


def test_who_only_looks_may_change_nothing() -> None:
    resources = recovery("rag-assistant", "prod")
    [role] = [
        each["Properties"]
        for key, each in resources.items()
        if each["Type"] == "AWS::IAM::Role" and "ReadinessRole" in key
    ]
    actions = json.dumps(role["Policies"])
    for change in ("StartRestoreJob", "CreateStack", "UpdateStack", "RemoveFromGlobalCluster", "iam:PassRole"):
        assert change not in actions


def test_nothing_runs_in_the_second_region_before_a_loss() -> None:
    resources = recovery("mcp-hybrid", "staging")
    for kind in ("AWS::EC2::NatGateway", "AWS::RDS::DBInstance", "AWS::ECS::Service", FUNCTION):
        assert of_type(resources, kind) == []


def test_without_a_recovery_region_there_are_no_stacks_for_it() -> None:
    assert set(stacks("rag-assistant", "dev")) == {"data"}
    assert set(stacks("microservices", "prod")) == {"data", "recovery-targets"}
