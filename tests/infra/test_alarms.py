"""Alarms, burn rates, notifications and costs: each with the manifest's number, and another one when that changes."""

import json
from decimal import Decimal
from typing import Any

import pytest

from slipway.infra.constructs.alarms import Alarms as AlarmsConstruct
from slipway.infra.constructs.alarms import Metric
from slipway.infra.constructs.burn_rate import WINDOWS, BurnRateAlarms, burn_rate
from slipway.infra.constructs.cost_alerts import CostAlerts
from slipway.infra.constructs.dashboard import Dashboard, Graph, Section
from slipway.infra.constructs.log_metrics import AUTH_FAILURES, LogMetrics
from slipway.infra.constructs.notifications import Notifications
from slipway.infra.watched import Kubernetes, Watched, alarm_specs, aurora_connections
from slipway.manifest.sections.monitoring import Alarms
from tests.infra.synthesis import of_type, only, synthesized

WATCHED = Watched(
    namespace="Slipway/test",
    region="us-east-1",
    account="123456789012",
    cluster="cluster",
    services={"gateway": "gateway", "memory": "memory"},
    load_balancer="app/lb/1",
    target_groups={"gateway": "targetgroup/gateway/1"},
    api="api",
    web_acl="acl",
    database="db",
    database_connections=823,
    redis_nodes=("redis-001",),
    tables={"usage_plans": "plans"},
    graph="graph",
    file_systems={"qdrant": "fs-1"},
    functions={"failover": "failover"},
    log_domain="logs",
    log_disk_mib=20_480,
    backups=True,
    instances="asg",
    canary="canary",
    copies=True,
    kubernetes=Kubernetes(cluster="pods", namespace="slipway", insights=True, unrouted={"worker": "worker-name"}),
)
LIMITS = Alarms()


def notifications(scope: Any, **addresses: tuple[str, ...]) -> Notifications:
    return Notifications(
        scope, "Notifications", prefix="test", addresses=addresses, pager_secret_prefix="/slipway/prod/test"
    )


def alarms(limits: Alarms = LIMITS) -> dict[str, dict[str, Any]]:
    def make(scope: Any) -> None:
        AlarmsConstruct(
            scope, "Alarms", prefix="test", specs=alarm_specs(WATCHED, limits), notifications=notifications(scope)
        )

    found = of_type(synthesized(make), "AWS::CloudWatch::Alarm")
    return {alarm["Properties"]["AlarmName"].removeprefix("test-"): alarm["Properties"] for alarm in found}


def test_each_alarm_has_the_manifests_number() -> None:
    made = alarms()
    expected = {
        "api-latency": 5,
        "api-errors": 5,
        "gateway-cpu": 80,
        "gateway-memory": 80,
        "database-connections": 823 * 0.8,
        "database-unreachable": 5,
        "auth-failures": 100,
        "cost-per-session": 0.05,
        "backup-failed": 0,
        "copy-failed": 0,
        "log-domain-disk": 20_480 * 0.2,
        "instances-disk": 80,
        "gateway-unavailable": 1,
        "worker-unavailable": 1,
        "cluster-api-errors": 5,
        "pods-unplaced": 0,
        "nodes-failed": 0,
        "nodes-cpu": 80,
        "nodes-memory": 80,
        "nodes-filesystem": 80,
    }
    assert {name: made[name]["Threshold"] for name in expected} == pytest.approx(expected)
    assert len(made) >= 15
    changed = alarms(
        Alarms.model_validate_json(
            '{"latency": "3s", "error_rate": "2%", "cpu": "60%", "memory": "70%", "disk": "90%",'
            ' "db_connections": "50%", "db_failures": 9, "auth_failures": 7, "cost_per_session": "$0.20"}'
        )
    )
    assert {name: changed[name]["Threshold"] for name in expected} == pytest.approx(
        {
            **expected, "api-latency": 3, "api-errors": 2, "gateway-cpu": 60, "gateway-memory": 70,
            "database-connections": 411.5, "database-unreachable": 9, "auth-failures": 7, "cost-per-session": 0.2,
            "log-domain-disk": 2048, "instances-disk": 90,
            "cluster-api-errors": 2, "nodes-cpu": 60, "nodes-memory": 70, "nodes-filesystem": 90,
        }
    )  # fmt: skip


def test_who_is_told_depends_on_the_urgency() -> None:
    made = alarms()
    topics = {name: json.dumps(alarm["AlarmActions"]) for name, alarm in made.items()}
    for name, tier in (
        ("api-errors", "Critical"),
        ("gateway-cpu", "Warning"),
        ("backup-failed", "Critical"),
        ("auth-failures", "Security"),
    ):
        assert f"Notifications{tier}" in topics[name], name
    assert made["gateway-unavailable"]["TreatMissingData"] == "breaching"
    assert made["gateway-unavailable"]["ComparisonOperator"] == "LessThanThreshold"


@pytest.mark.parametrize(
    ("max_acu", "connections"), [(1, 189), (4, 823), (8, 1669), (16, 3360), (32, 5000), (64, 5000)]
)
def test_connections_of_aurora_are_those_of_its_table(max_acu: float, connections: int) -> None:
    assert abs(aurora_connections(max_acu, 1) - connections) <= 1
    assert aurora_connections(max_acu, 0.5) <= 2000


def test_tiers_have_topics_and_people() -> None:
    resources = synthesized(
        lambda scope: notifications(
            scope, critical=("a@example.com", "+15550100", "PAGER_URL"), warning=("b@example.com",)
        )
    )
    people = {
        (each["Properties"]["Protocol"], json.dumps(each["Properties"]["Endpoint"]))
        for each in of_type(resources, "AWS::SNS::Subscription")
    }
    assert people == {
        ("email", '"a@example.com"'),
        ("sms", '"+15550100"'),
        ("https", '"{{resolve:secretsmanager:/slipway/prod/test/PAGER_URL}}"'),
        ("email", '"b@example.com"'),
    }
    topics = of_type(resources, "AWS::SNS::Topic")
    assert len(topics) == 4 and all("KmsMasterKeyId" in topic["Properties"] for topic in topics)
    for policy in of_type(resources, "AWS::SNS::TopicPolicy"):
        sids = [statement["Sid"] for statement in policy["Properties"]["PolicyDocument"]["Statement"]]
        assert sids == ["PublishersOfThisAccount", "OnlyOverTls"]


def burning(availability: str, window_s: int) -> dict[str, dict[str, Any]]:
    metric = Metric(namespace="n", name="m", statistic="Sum")

    def make(scope: Any) -> None:
        BurnRateAlarms(
            scope,
            "Burn",
            prefix="test",
            availability=Decimal(availability),
            objective_window_s=window_s,
            requests=metric,
            failures=metric,
            notifications=notifications(scope),
        )

    resources = synthesized(make)
    assert len(of_type(resources, "AWS::CloudWatch::CompositeAlarm")) == len(WINDOWS)
    quiet = of_type(resources, "AWS::CloudWatch::Alarm")
    assert not any("AlarmActions" in each["Properties"] for each in quiet)
    return {each["Properties"]["AlarmName"]: each["Properties"] for each in quiet}


def test_an_objective_that_is_used_up_too_fast_fires() -> None:
    month_s = 30 * 86_400
    assert burn_rate(WINDOWS[0], month_s) == Decimal("14.4")
    made = burning("0.999", month_s)
    assert made["test-burn-fast-long"]["Threshold"] == pytest.approx(1.44)
    assert made["test-burn-slow-short"]["Threshold"] == pytest.approx(0.6)
    assert made["test-burn-creeping-long"]["Threshold"] == pytest.approx(0.1)
    # One alarm looks at no more than a day at a time.
    assert made["test-burn-creeping-long"]["EvaluationPeriods"] == 3
    periods = [
        query["MetricStat"]["Period"] for query in made["test-burn-fast-short"]["Metrics"] if "MetricStat" in query
    ]
    assert periods == [300, 300]
    assert burning("0.99", month_s)["test-burn-fast-long"]["Threshold"] == pytest.approx(14.4)


def costs(per_month: str | None, shares: tuple[int, ...], anomaly: str | None) -> dict[str, Any]:
    return synthesized(
        lambda scope: CostAlerts(
            scope,
            "Costs",
            prefix="test-prod",
            tags=("test", "prod"),
            per_month_usd=None if per_month is None else Decimal(per_month),
            alert_at_percent=[Decimal(share) for share in shares],
            anomaly_usd=None if anomaly is None else Decimal(anomaly),
            topic_arn="arn:aws:sns:us-east-1:123456789012:topic",
        )
    )


def test_a_budget_tells_at_its_shares_and_of_what_is_unusual() -> None:
    made = costs("300", (50, 80, 95), "20")
    budget = only(made, "AWS::Budgets::Budget")["Properties"]
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 300, "Unit": "USD"}
    shares = [each["Notification"]["Threshold"] for each in budget["NotificationsWithSubscribers"]]
    assert shares == [50, 80, 95]
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:Project$test", "user:Environment$prod"]}
    subscription = only(made, "AWS::CE::AnomalySubscription")["Properties"]
    assert json.loads(subscription["ThresholdExpression"])["Dimensions"]["Values"] == ["20"]
    assert costs(None, (), None) == {}
    changed = only(costs("1200", (90,), None), "AWS::Budgets::Budget")["Properties"]
    assert changed["Budget"]["BudgetLimit"]["Amount"] == 1200
    assert [each["Notification"]["Threshold"] for each in changed["NotificationsWithSubscribers"]] == [90]


def test_lines_of_logs_are_counted_from_every_workload() -> None:
    made = synthesized(
        lambda scope: LogMetrics(
            scope, "Logs", namespace="Slipway/test", log_groups={"a": "/a", "b": "/b"}, metrics=(AUTH_FAILURES,)
        )
    )
    filters = [each["Properties"] for each in of_type(made, "AWS::Logs::MetricFilter")]
    assert [each["LogGroupName"] for each in filters] == ["/a", "/b"]
    assert {each["MetricTransformations"][0]["MetricNamespace"] for each in filters} == {"Slipway/test"}


def test_a_dashboard_has_its_sections_one_under_the_other() -> None:
    graph = Graph("Requests", {"all": Metric(namespace="n", name="m", dimensions={"d": "v"}, statistic="Sum")})
    made = synthesized(
        lambda scope: Dashboard(
            scope,
            "Dashboard",
            name="test",
            region="us-east-1",
            sections=[Section("API", [graph] * 4, ("arn:alarm",)), Section("Services", [graph])],
        )
    )
    widgets = json.loads(only(made, "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"])["widgets"]
    assert [each["properties"]["markdown"] for each in widgets if each["type"] == "text"] == ["## API", "## Services"]
    places = [(each["x"], each["y"], each["width"], each["height"]) for each in widgets]
    for index, (x, y, width, height) in enumerate(places):
        assert x + width <= 24
        for other in places[index + 1 :]:
            apart = (
                x + width <= other[0] or other[0] + other[2] <= x or y + height <= other[1] or other[1] + other[3] <= y
            )
            assert apart, (places[index], other)
    [line] = widgets[2]["properties"]["metrics"]
    assert line == ["n", "m", "d", "v", {"label": "all", "stat": "Sum", "period": 60}]
