"""What is watched of a blueprint's environment, who is told, and what it may cost: each number is the manifest's."""

import json
from datetime import date
from typing import Any

import pytest

from slipway.infra.app import Assembly
from tests.infra.synthesis import assembly, mutated

PROD = ("rag-assistant", "prod")


def alarms(found: Assembly) -> dict[str, dict[str, Any]]:
    prefix = f"{found.site.names.prefix}-"
    return {
        alarm["Properties"]["AlarmName"].removeprefix(prefix): alarm["Properties"]
        for alarm in found.stack("observability").resources("AWS::CloudWatch::Alarm").values()
    }


def widgets(found: Assembly) -> list[dict[str, Any]]:
    [board] = found.stack("observability").resources("AWS::CloudWatch::Dashboard").values()
    body = board["Properties"]["DashboardBody"]
    text = (
        body
        if isinstance(body, str)
        else "".join(each if isinstance(each, str) else "x" for each in body["Fn::Join"][1])
    )
    listed: list[dict[str, Any]] = json.loads(text)["widgets"]
    return listed


@pytest.mark.requirement("MON-01", "T")
def test_the_dashboard_has_five_sections_with_alarms_and_graphs() -> None:
    titles = [each["properties"]["markdown"] for each in widgets(assembly(*PROD)) if each["type"] == "text"]
    assert titles == ["## API", "## Services", "## Database", "## Business", "## Security"]
    kinds = {each["type"] for each in widgets(assembly(*PROD))}
    assert kinds == {"text", "alarm", "metric"}


@pytest.mark.requirement("MON-02", "T")
@pytest.mark.parametrize("blueprint", ["rag-assistant", "mcp-hybrid", "microservices", "preview-fargate"])
def test_fifteen_alarms_and_more_at_the_manifests_thresholds(blueprint: str) -> None:
    made = alarms(assembly(blueprint, "prod"))
    assert len(made) >= 15
    services = [name.removesuffix("-cpu") for name in made if name.endswith("-cpu") and f"{name[:-4]}-memory" in made]
    assert services
    assert {made[f"{name}-cpu"]["Threshold"] for name in services} == {80}
    assert made["api-latency"]["Threshold"] == 5 and made["api-errors"]["Threshold"] == 5
    assert any(name.endswith("-unavailable") for name in made) and made["auth-failures"]["Threshold"] == 100


@pytest.mark.requirement("MON-02", "T")
def test_the_assistant_has_each_alarm_of_its_document() -> None:
    made = alarms(assembly(*PROD))
    connections = 3360 * 0.8  # of 16 ACU
    assert made["database-connections"]["Threshold"] == pytest.approx(connections, abs=1)
    assert made["cost-per-session"]["Threshold"] == 0.05
    assert {"backup-failed", "copy-failed", "database-unreachable", "database-copy-lag"} <= set(made)
    changes = {
        "monitoring": {
            "alarms": {
                "latency": "2s", "error_rate": "1%", "cpu": "70%", "db_connections": "50%", "cost_per_session": "$0.10",
                "auth_failures": 9,
            }
        }
    }  # fmt: skip
    changed = alarms(mutated(*PROD, changes))
    assert {
        name: changed[name]["Threshold"]
        for name in ("api-latency", "api-errors", "gateway-cpu", "cost-per-session", "auth-failures")
    } == {"api-latency": 2, "api-errors": 1, "gateway-cpu": 70, "cost-per-session": 0.1, "auth-failures": 9}
    assert changed["database-connections"]["Threshold"] == pytest.approx(1680, abs=1)


@pytest.mark.requirement("MON-03", "T")
def test_an_objective_of_99_9_percent_is_alarmed_on_by_its_burn_rate() -> None:
    made = alarms(assembly(*PROD))
    assert made["burn-fast-long"]["Threshold"] == pytest.approx(1.44)
    composites = assembly(*PROD).stack("observability").resources("AWS::CloudWatch::CompositeAlarm")
    assert len(composites) == 3
    changed = alarms(mutated(*PROD, {"monitoring": {"objectives": {"availability": "99%"}}}))
    assert changed["burn-fast-long"]["Threshold"] == pytest.approx(14.4)


@pytest.mark.requirement("MON-04", "T")
def test_each_tier_reaches_its_people_and_a_failure_gets_a_first_response() -> None:
    stack = assembly(*PROD).stack("observability")
    people = sorted(
        (json.dumps(each["Properties"]["TopicArn"]), each["Properties"]["Endpoint"])
        for each in stack.resources("AWS::SNS::Subscription").values()
    )
    assert [address for _, address in people] == ["admin@example.com", "security@example.com", "admin@example.com"]
    changed = mutated(*PROD, {"monitoring": {"notify": {"critical": ["+15550100"]}}}).stack("observability")
    protocols = {each["Properties"]["Protocol"] for each in changed.resources("AWS::SNS::Subscription").values()}
    assert "sms" in protocols
    rules = [each["Properties"] for each in stack.resources("AWS::Events::Rule").values()]
    [response] = [each for each in rules if each.get("EventPattern", {}).get("source") == ["aws.cloudwatch"]]
    names = response["EventPattern"]["detail"]["alarmName"]
    assert "rag-assistant-prod-gateway-unavailable" in names and set(names) <= {
        f"rag-assistant-prod-{name}" for name in alarms(assembly(*PROD))
    }
    findings = [each for each in rules if each.get("EventPattern", {}).get("source") == ["aws.guardduty"]]
    [target] = findings[0]["Targets"]
    assert "Security" in json.dumps(target["Arn"])
    without = mutated(*PROD, {"monitoring": {"first_response": False}}).stack("observability")
    assert not any(
        each["Properties"].get("EventPattern", {}).get("source") == ["aws.cloudwatch"]
        for each in without.resources("AWS::Events::Rule").values()
    )


@pytest.mark.requirement("MON-05", "T")
@pytest.mark.parametrize(("every", "schedule"), [("5m", "rate(5 minutes)"), ("1m", "rate(1 minute)")])
def test_the_platform_is_asked_as_often_as_the_manifest_says(every: str, schedule: str) -> None:
    found = assembly(*PROD) if every == "5m" else mutated(*PROD, {"monitoring": {"synthetic_every": every}})
    stack = found.stack("observability")
    schedules = [
        each["Properties"]["ScheduleExpression"]
        for each in stack.resources("AWS::Events::Rule").values()
        if "ScheduleExpression" in each["Properties"]
    ]
    assert schedule in schedules
    urls = [
        each["Properties"].get("Environment", {}).get("Variables", {}).get("PLATFORM_URL")
        for each in stack.resources("AWS::Lambda::Function").values()
    ]
    assert "https://assistant.example.com" in urls
    business = [each["properties"]["title"] for each in widgets(found) if each["type"] == "metric"]
    assert {"Sessions", "Cost of model calls"} <= set(business)


@pytest.mark.requirement("CST-02", "T")
def test_the_budget_tells_at_50_80_and_95_percent() -> None:
    def budget(found: Assembly) -> tuple[float, list[float]]:
        [each] = found.stack("observability").resources("AWS::Budgets::Budget").values()
        told = [one["Notification"]["Threshold"] for one in each["Properties"]["NotificationsWithSubscribers"]]
        return each["Properties"]["Budget"]["BudgetLimit"]["Amount"], told

    assert budget(assembly(*PROD)) == (1200, [50, 80, 95])
    changed = mutated(*PROD, {"budget": {"per_month": "$900", "alert_at": ["70%"]}})
    assert budget(changed) == (900, [70])
    [subscription] = assembly(*PROD).stack("observability").resources("AWS::CE::AnomalySubscription").values()
    threshold = json.loads(subscription["Properties"]["ThresholdExpression"])
    assert threshold["Dimensions"]["Values"] == ["20"]


STANDARD = {"CostCenter", "Environment", "ManagedBy", "Owner", "Project"}
PREVIEW = STANDARD | {"PRNumber", "Branch", "ExpiryDate"}


def tags_of(resource: dict[str, Any]) -> dict[str, str] | None:
    tags = resource.get("Properties", {}).get("Tags")
    if isinstance(tags, list) and tags and "Key" in tags[0]:
        return {each["Key"]: each["Value"] for each in tags}
    return tags if isinstance(tags, dict) else None


@pytest.mark.requirement("CST-04", "T")
@pytest.mark.parametrize(
    ("blueprint", "environment", "wanted"),
    [("rag-assistant", "prod", STANDARD), ("microservices", "dev", STANDARD), ("preview-fargate", "preview", PREVIEW)],
)
def test_every_resource_that_takes_tags_has_the_standard_ones(
    blueprint: str, environment: str, wanted: set[str]
) -> None:
    found = assembly(blueprint, environment)
    tagged = 0
    for name, resource in found.resources().items():
        tags = tags_of(resource)
        if tags is not None:
            tagged += 1
            assert wanted <= set(tags), (name, tags)
            assert tags["Environment"] == found.site.names.environment and tags["ManagedBy"] == "slipway"
    assert tagged > 20


@pytest.mark.requirement("CST-04", "T")
def test_a_preview_says_whose_it_is_and_when_it_ends() -> None:
    vpc_tags = [tags for each in assembly("preview-fargate", "preview").resources().values() if (tags := tags_of(each))]
    assert all(tags["PRNumber"] == "123" and tags["Branch"] == "feature/answers" for tags in vpc_tags)
    assert {tags["ExpiryDate"] for tags in vpc_tags} == {date(2027, 1, 15).isoformat()}
    changed = mutated(*PROD, {"tags": {"Owner": "search-team"}})
    owners = {tags["Owner"] for each in changed.resources().values() if (tags := tags_of(each))}
    assert owners == {"search-team"}


@pytest.mark.requirement("MON-02", "T")
def test_a_cluster_of_kubernetes_is_watched_with_its_nodes_and_pods() -> None:
    made = alarms(assembly("agent-gateways", "prod"))
    names = {"cluster-api-errors", "pods-unplaced", "nodes-failed", "nodes-cpu", "nodes-memory", "nodes-filesystem"}
    names |= {f"{component}-unavailable" for component in ("identity", "gateway", "memory", "retrieval")}
    assert names <= set(made)
    queries = made["cluster-api-errors"]["Metrics"]
    errors = {each["MetricStat"]["Metric"]["MetricName"] for each in queries if "MetricStat" in each}
    assert errors == {"apiserver_request_total_5XX", "apiserver_request_total"}
    [cluster] = made["nodes-failed"]["Dimensions"]
    assert cluster["Name"] == "ClusterName"
    less = {"monitoring": {"container_insights": False}}
    assert not {name for name in alarms(mutated("agent-gateways", "dev", less)) if name.startswith("nodes-")}


def test_a_pod_that_no_load_balancer_asks_is_counted() -> None:
    """A worker has no route, and so no target group that would say that it is gone."""
    worker = {"services": {"worker": {"image": "./worker", "port": 9000, "count": 1}}}
    made = alarms(mutated("agent-gateways", "dev", worker))["worker-unavailable"]
    assert (made["Namespace"], made["MetricName"]) == ("ContainerInsights", "service_number_of_running_pods")
    named = {each["Name"]: each["Value"] for each in made["Dimensions"]}
    assert (named["Service"], named["Namespace"]) == ("worker", "slipway")
