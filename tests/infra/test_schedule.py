"""An environment that rests at night: services, instances and databases stop and start at the manifest's times."""

import json
from typing import Any

import pytest

from slipway.infra.app import Resource
from slipway.infra.constructs.schedule import cron, unix_cron
from slipway.manifest.units import TimeOfDay
from tests.infra.platform_stacks import OWN, of_workload, platform, site_for, statements
from tests.infra.synthesis import of_type

TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
OTHER = {"schedule": {"stop": "19:45 UTC", "start": "06:05 UTC"}}


def changes_of(resources: dict[str, Resource], workload: str) -> dict[str, tuple[str, int, int]]:
    [target] = of_workload(resources, workload, TARGET)
    return {
        each["ScheduledActionName"]: (
            each["Schedule"],
            each["ScalableTargetAction"]["MinCapacity"],
            each["ScalableTargetAction"]["MaxCapacity"],
        )
        for each in target["ScheduledActions"]
    }


@pytest.mark.requirement("CST-03", "T")
def test_dev_stops_at_22_and_starts_on_weekday_mornings():
    resources = platform("rag-assistant", "dev")
    for workload in ("chat", "gateway"):
        assert changes_of(resources, workload) == {
            "stop": ("cron(0 22 ? * * *)", 0, 0),
            "start": ("cron(0 7 ? * MON-FRI *)", 1, 10),
        }
    assert changes_of(resources, "mindsdb")["start"][1:] == (1, 1)  # what is never scaled comes back as it was
    workloads = [workload.name for workload in site_for("rag-assistant", "dev").topology.workloads]
    assert len(of_type(resources, TARGET)) == len(workloads)


@pytest.mark.requirement("CST-03", "T")
def test_previews_rest_as_well():
    assert changes_of(platform("preview-fargate", "preview"), "api") == {
        "stop": ("cron(0 22 ? * * *)", 0, 0),
        "start": ("cron(0 7 ? * MON-FRI *)", 1, 2),
    }


@pytest.mark.requirement("CST-03", "T")
def test_other_times():
    resources = platform("rag-assistant", "dev", OTHER)
    found = changes_of(resources, "chat")
    assert (found["stop"][0], found["start"][0]) == ("cron(45 19 ? * * *)", "cron(5 6 ? * * *)")
    calls = {each["Properties"]["Description"]: each["Properties"] for each in schedules(resources)}
    assert calls["postgres: stop"]["ScheduleExpression"] == "cron(45 19 ? * * *)"
    assert calls["postgres: start"]["ScheduleExpression"] == "cron(50 5 ? * * *)"


def schedules(resources: dict[str, Resource]) -> list[Any]:
    return of_type(resources, "AWS::Scheduler::Schedule")


@pytest.mark.requirement("CST-03", "T")
def test_databases_stop_with_the_services_and_start_before_them():
    resources = platform("rag-assistant", "dev")
    calls = {each["Properties"]["Description"]: each["Properties"] for each in schedules(resources)}
    assert set(calls) == {"postgres: stop", "postgres: start", "neptune: stop", "neptune: start"}
    assert calls["postgres: stop"]["ScheduleExpression"] == "cron(0 22 ? * * *)"
    assert calls["postgres: start"]["ScheduleExpression"] == "cron(45 6 ? * MON-FRI *)"
    for name, service, verb in [("postgres", "rds", "stop"), ("neptune", "neptune", "start")]:
        target = calls[f"{name}: {verb}"]["Target"]
        assert target["Arn"]["Fn::Join"][1][-1] == f":scheduler:::aws-sdk:{service}:{verb}DBCluster"
        assert json.loads(target["Input"]) == {"DbClusterIdentifier": "pg" if name == "postgres" else "graph"}
        assert target["DeadLetterConfig"]["Arn"]
    [role] = [each for name, each in resources.items() if name.startswith("NightlyRole")]
    rights = {each["Sid"]: each for each in statements(role)}
    assert rights["StopStart"]["Action"] == ["rds:StopDBCluster", "rds:StartDBCluster"]
    assert rights["StopStart"]["Resource"] == [f"{OWN}cluster:pg", f"{OWN}cluster:graph"]


@pytest.mark.requirement("CST-03", "T")
def test_instances_go_too():
    resources = platform("microservices", "dev")
    actions = [each["Properties"] for each in of_type(resources, "AWS::AutoScaling::ScheduledAction")]
    assert sorted((each["Recurrence"], each["MinSize"], each["TimeZone"]) for each in actions) == [
        ("0 22 * * *", 0, "Etc/UTC"),
        ("0 7 * * 1-5", 1, "Etc/UTC"),
    ]


@pytest.mark.requirement("CST-03", "T")
def test_prod_never_rests():
    resources = platform("rag-assistant", "prod")
    assert not schedules(resources)
    for each in of_type(resources, TARGET):
        names = {action["ScheduledActionName"] for action in each["Properties"].get("ScheduledActions", [])}
        assert not names & {"stop", "start"}


def test_who_names_no_start_is_started_by_hand():
    resources = platform("rag-assistant", "dev", {"schedule": {"stop": "22:00 UTC", "start": None}})
    assert set(changes_of(resources, "chat")) == {"stop"}
    assert all(each["Properties"]["Description"].endswith("stop") for each in schedules(resources))


@pytest.mark.parametrize(
    ("text", "aws", "unix", "earlier"),
    [
        ("22:00 UTC", "cron(0 22 ? * * *)", "0 22 * * *", "cron(45 21 ? * * *)"),
        ("00:05 UTC weekdays", "cron(5 0 ? * MON-FRI *)", "5 0 * * 1-5", "cron(0 0 ? * MON-FRI *)"),
    ],
)
def test_times_as_aws_writes_them(text: str, aws: str, unix: str, earlier: str):
    time = TimeOfDay.parse(text)
    assert (cron(time), unix_cron(time), cron(time, earlier=True)) == (aws, unix, earlier)
