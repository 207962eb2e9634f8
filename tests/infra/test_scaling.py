"""When copies are added and taken away, by the manifest's numbers."""

from typing import Any

import pytest

from slipway.infra.app import Resource
from tests.infra.platform_stacks import of_workload, platform, service
from tests.infra.synthesis import of_type

TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
OTHER = {"min": 2, "max": 6, "cpu": "55%", "memory": "65%", "requests_per_minute": 400, "latency": "700ms",
         "sustained": "3m"}  # fmt: skip


def target(resources: dict[str, Resource], workload: str) -> Any:
    [found] = of_workload(resources, workload, TARGET)
    return found


def limits(resources: dict[str, Resource], workload: str) -> dict[str, tuple[float, int, str]]:
    """Metrics past which copies are added: the limit, for how many minutes, and which statistic."""
    return {
        alarm["MetricName"]: (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["Statistic"])
        for alarm in of_workload(resources, workload, "AWS::CloudWatch::Alarm")
        if "AlarmActions" in alarm and "MetricName" in alarm
    }


@pytest.mark.requirement("CMP-06", "T")
def test_one_to_ten_tasks_for_four_reasons():
    resources = platform("microservices", "prod")
    for workload in ("frontend", "backend"):
        bounds = target(resources, workload)
        assert (bounds["MinCapacity"], bounds["MaxCapacity"]) == (1, 10)
        assert limits(resources, workload) == {
            "CPUUtilization": (70, 2, "Average"),
            "MemoryUtilization": (80, 2, "Average"),
            "RequestCountPerTarget": (1000, 2, "Sum"),
            "TargetResponseTime": (2, 2, "Average"),
        }
    assert limits(resources, "ai-service") == {  # no route leads to it
        "CPUUtilization": (70, 2, "Average"),
        "MemoryUtilization": (80, 2, "Average"),
    }


@pytest.mark.requirement("CMP-06", "T")
def test_other_limits_are_other_alarms():
    changes = {"services": {"frontend": {"scale": OTHER, "count": 2}}}
    resources = platform("microservices", "prod", changes)
    bounds = target(resources, "frontend")
    assert (bounds["MinCapacity"], bounds["MaxCapacity"]) == (2, 6)
    assert limits(resources, "frontend") == {
        "CPUUtilization": (55, 3, "Average"),
        "MemoryUtilization": (65, 3, "Average"),
        "RequestCountPerTarget": (400, 3, "Sum"),
        "TargetResponseTime": (0.7, 3, "Average"),
    }


@pytest.mark.requirement("CMP-06", "T")
def test_an_alarm_adds_half_as_many_within_a_minute_of_its_period():
    resources = platform("microservices", "prod")
    for alarm in of_workload(resources, "backend", "AWS::CloudWatch::Alarm"):
        if "AlarmActions" not in alarm or "MetricName" not in alarm:
            continue
        assert (alarm["Period"], alarm["ComparisonOperator"]) == (60, "GreaterThanThreshold")
        policy = resources[alarm["AlarmActions"][0]["Ref"]]["Properties"]["StepScalingPolicyConfiguration"]
        assert policy["AdjustmentType"] == "PercentChangeInCapacity"
        assert policy["MinAdjustmentMagnitude"] == 1
        [step] = policy["StepAdjustments"]
        assert step["ScalingAdjustment"] == 50


def test_copies_go_when_all_reasons_are_far_below():
    resources = platform("microservices", "prod")
    [quiet] = [
        alarm
        for alarm in of_workload(resources, "backend", "AWS::CloudWatch::Alarm")
        if any(each.get("Id") == "quiet" for each in alarm.get("Metrics", []))
    ]
    [expression] = [each["Expression"] for each in quiet["Metrics"] if "Expression" in each]
    assert expression == "IF(cpu < 35 AND memory < 40 AND FILL(requests, 0) < 500 AND FILL(latency, 0) < 1, 1, 0)"
    policy = resources[quiet["AlarmActions"][0]["Ref"]]["Properties"]["StepScalingPolicyConfiguration"]
    assert policy["StepAdjustments"][0]["ScalingAdjustment"] == -1


@pytest.mark.requirement("CMP-06", "T")
def test_other_bounds_at_other_times():
    changes = {
        "components": {
            "chat": {
                "scale": {
                    "schedule": [
                        {"at": "07:00 UTC weekdays", "min": 4, "max": 12},
                        {"at": "19:30 UTC", "min": 1, "max": 3},
                    ]
                }
            }
        }
    }
    actions = target(platform("rag-assistant", "prod", changes), "chat")["ScheduledActions"]
    assert [(each["Schedule"], each["Timezone"], *each["ScalableTargetAction"].values()) for each in actions] == [
        ("cron(0 7 ? * MON-FRI *)", "UTC", 12, 4),
        ("cron(30 19 ? * * *)", "UTC", 3, 1),
    ]


@pytest.mark.requirement("CMP-06", "T")
@pytest.mark.parametrize("percent", [70, 45])
def test_copies_ahead_of_what_is_coming(percent: int):
    changes = {"components": {"chat": {"scale": {"predictive": True, "cpu": f"{percent}%"}}}}
    resources = platform("rag-assistant", "prod", changes)
    [ahead] = [each for each in of_workload(resources, "chat", POLICY) if each["PolicyType"] == "PredictiveScaling"]
    forecast = ahead["PredictiveScalingPolicyConfiguration"]
    assert forecast["Mode"] == "ForecastAndScale"
    [metric] = forecast["MetricSpecifications"]
    assert metric["TargetValue"] == percent
    assert not [
        each
        for each in of_workload(platform("rag-assistant", "dev"), "chat", POLICY)
        if each["PolicyType"] == "PredictiveScaling"
    ]


@pytest.mark.requirement("CMP-06", "T")
def test_spare_capacity_for_what_is_not_critical():
    resources = platform("rag-assistant", "staging")
    assert service(resources, "mindsdb")["CapacityProviderStrategy"] == [
        {"Base": 0, "CapacityProvider": "FARGATE_SPOT", "Weight": 1}
    ]
    assert service(resources, "chat")["CapacityProviderStrategy"] == [
        {"Base": 0, "CapacityProvider": "FARGATE", "Weight": 1}
    ]
    changes = {"components": {"memory": {"spot": True, "scale": {"min": 2}}}}
    several = service(platform("rag-assistant", "staging", changes), "memory")["CapacityProviderStrategy"]
    assert several == [
        {"Base": 1, "CapacityProvider": "FARGATE", "Weight": 0},
        {"Base": 0, "CapacityProvider": "FARGATE_SPOT", "Weight": 1},
    ]


def test_a_service_of_always_as_many_is_not_scaled():
    resources = platform("microservices", "prod")
    assert not of_workload(resources, "redis", TARGET)
    assert service(resources, "redis")["DesiredCount"] == 1


def test_a_deployment_takes_no_copies_away_that_scaling_has_added():
    for each in of_type(platform("rag-assistant", "prod"), "AWS::ECS::Service"):
        name = each["Properties"]["ServiceName"]
        assert ("DesiredCount" in each["Properties"]) is name.endswith("mindsdb"), name


def test_copies_at_first_are_those_that_somebody_wrote():
    silent = {"services": {"mcp-tools": {"scale": {"min": 3, "max": 6}}}}
    assert "DesiredCount" not in service(platform("mcp-hybrid", "dev", silent), "mcp-tools")
    said = {"services": {"mcp-tools": {"count": 4, "scale": {"min": 3, "max": 6}}}}
    assert service(platform("mcp-hybrid", "dev", said), "mcp-tools")["DesiredCount"] == 4
