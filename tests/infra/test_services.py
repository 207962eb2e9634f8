"""Services: how many, where, how they are replaced and taken back, how requests and names lead to them."""

from typing import Any

import pytest

from slipway.infra.app import Resource
from slipway.infra.constructs.routing import expressions
from tests.infra.platform_stacks import ENTRANCE, container, of_workload, platform, service, task
from tests.infra.synthesis import of_type

RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"
TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"


def least(resources: dict[str, Resource], workload: str) -> int:
    [target] = of_workload(resources, workload, "AWS::ApplicationAutoScaling::ScalableTarget")
    found: int = target["MinCapacity"]
    return found


def rule(resources: dict[str, Resource], workload: str) -> Any:
    [found] = of_workload(resources, workload, RULE)
    return found


def paths(found: Any) -> list[str]:
    [path] = [each["PathPatternConfig"] for each in found["Conditions"] if each["Field"] == "path-pattern"]
    values: list[str] = path.get("Values") or path["RegexValues"]
    return values


@pytest.mark.requirement("CMP-01", "T")
@pytest.mark.parametrize(
    ("environment", "copies", "size", "zones"),
    [
        ("dev", 1, ("2048", "4096"), ["subnet-a"]),
        ("prod", 3, ("4096", "8192"), ["subnet-a", "subnet-b", "subnet-c"]),
    ],
)
def test_one_task_in_dev_and_three_over_the_zones_in_prod(
    environment: str, copies: int, size: tuple[str, str], zones: list[str]
):
    resources = platform("mcp-hybrid", environment)
    assert least(resources, "gateway") == copies
    definition = task(resources, "gateway")
    assert (definition["Cpu"], definition["Memory"]) == size
    assert definition["RequiresCompatibilities"] == ["FARGATE"]
    network = service(resources, "gateway")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network == {"AssignPublicIp": "DISABLED", "SecurityGroups": ["sg-gateway"], "Subnets": zones}
    assert service(resources, "gateway")["AvailabilityZoneRebalancing"] == "ENABLED"


@pytest.mark.requirement("CMP-01", "T")
def test_other_copies_and_zones():
    changes = {"components": {"gateway": {"size": "small", "scale": {"min": 4}}}, "network": {"azs": 2}}
    resources = platform("mcp-hybrid", "prod", changes)
    assert least(resources, "gateway") == 4
    assert task(resources, "gateway")["Cpu"] == "512"
    network = service(resources, "gateway")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["Subnets"] == ["subnet-a", "subnet-b"]


@pytest.mark.requirement("CMP-08", "T")
@pytest.mark.parametrize(("percent", "threshold"), [("5%", 5), ("2.5%", 2.5)])
def test_a_rolling_deployment_goes_back_by_itself(percent: str, threshold: float):
    resources = platform("microservices", "prod", {"monitoring": {"alarms": {"error_rate": percent}}})
    deployment = service(resources, "backend")["DeploymentConfiguration"]
    assert deployment == {
        "Strategy": "ROLLING",
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
        "Alarms": {
            "AlarmNames": [
                "microservices-prod-backend-rollback-failures",
                "microservices-prod-backend-rollback-unwell",
            ],
            "Enable": True,
            "Rollback": True,
        },
    }
    alarms = {each["AlarmName"]: each for each in of_workload(resources, "backend", "AWS::CloudWatch::Alarm")
              if "AlarmName" in each}  # fmt: skip
    assert set(deployment["Alarms"]["AlarmNames"]) == set(alarms)
    assert alarms["microservices-prod-backend-rollback-failures"]["Threshold"] == threshold
    assert alarms["microservices-prod-backend-rollback-unwell"]["MetricName"] == "UnHealthyHostCount"


@pytest.mark.requirement("CMP-08", "T")
def test_a_disk_of_its_own_is_never_written_by_two():
    resources = platform("microservices", "prod")
    for workload in ("redis", "qdrant"):
        deployment = service(resources, workload)["DeploymentConfiguration"]
        assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (0, 100)
        assert deployment["DeploymentCircuitBreaker"]["Rollback"] is True


@pytest.mark.requirement("CMP-08", "T")
def test_blue_green_has_two_target_groups_and_switches_one_rule():
    resources = platform("preview-fargate", "prod")
    assert len(of_workload(resources, "api", TARGETS)) == 2
    found = service(resources, "api")
    assert found["DeploymentConfiguration"]["Strategy"] == "BLUE_GREEN"
    assert found["DeploymentConfiguration"]["BakeTimeInMinutes"] == 5
    advanced = found["LoadBalancers"][0]["AdvancedConfiguration"]
    [name] = [key for key, each in resources.items() if each["Type"] == RULE]
    assert advanced["ProductionListenerRule"] == {"Ref": name}
    targets = resources[name]["Properties"]["Actions"][0]["ForwardConfig"]["TargetGroups"]
    assert [each["Weight"] for each in targets] == [1, 0]
    assert advanced["AlternateTargetGroupArn"] == targets[1]["TargetGroupArn"]
    assert "DeploymentCircuitBreaker" not in found["DeploymentConfiguration"]
    assert "ServiceRegistries" not in found
    rolling = platform("preview-fargate", "prod", {"delivery": {"strategy": "rolling"}})
    assert len(of_workload(rolling, "api", TARGETS)) == 1
    assert service(rolling, "api")["DeploymentConfiguration"]["Strategy"] == "ROLLING"


def test_what_others_call_by_its_name_is_not_switched():
    resources = platform("microservices", "prod", {"delivery": {"strategy": "blue-green"}})
    strategies = {
        workload: service(resources, workload)["DeploymentConfiguration"]["Strategy"]
        for workload in ("frontend", "backend", "redis")
    }
    assert strategies == {"frontend": "BLUE_GREEN", "backend": "ROLLING", "redis": "ROLLING"}


def test_parts_start_once_the_database_is_up_to_date():
    resources = platform("rag-assistant", "prod")
    [first] = [
        name for name, each in resources.items() if each["Type"] == "AWS::ECS::Service" and name.startswith("Identity")
    ]
    for name, each in resources.items():
        if each["Type"] == "AWS::ECS::Service" and name.startswith(("Gateway", "Retrieval", "Memory", "Chat")):
            assert first in each["DependsOn"], name


@pytest.mark.requirement("NET-10", "T")
@pytest.mark.parametrize(
    ("workload", "path", "port", "listener"),
    [
        ("frontend", "/*", 3000, ENTRANCE.listener_arn),
        ("backend", "/api/*", 5001, ENTRANCE.listener_arn),
        ("qdrant", "/qdrant/*", 6333, ENTRANCE.internal_listener_arn),
    ],
)
def test_paths_lead_to_their_services(workload: str, path: str, port: int, listener: str):
    resources = platform("microservices", "prod")
    found = rule(resources, workload)
    assert (paths(found), found["ListenerArn"]) == ([path], listener)
    [targets] = of_workload(resources, workload, TARGETS)
    assert (targets["Port"], targets["TargetType"], targets["Protocol"]) == (port, "ip", "HTTP")
    assert service(resources, workload)["LoadBalancers"][0]["ContainerPort"] == port
    assert container(resources, workload)["PortMappings"][0]["ContainerPort"] == port


def test_alarms_look_at_the_load_balancer_that_leads_there():
    resources = platform("microservices", "prod")
    for workload, balancer in (("backend", "app/front/1"), ("qdrant", "app/inside/2")):
        [unwell] = [
            each
            for each in of_workload(resources, workload, "AWS::CloudWatch::Alarm")
            if each.get("MetricName") == "UnHealthyHostCount"
        ]
        assert {"Name": "LoadBalancer", "Value": balancer} in unwell["Dimensions"]


@pytest.mark.requirement("NET-10", "T")
def test_another_path_port_and_probe():
    changes = {"services": {"backend": {"route": "/v2/*", "port": 5002, "health": "/v2/well"}}}
    resources = platform("microservices", "prod", changes)
    assert paths(rule(resources, "backend")) == ["/v2/*"]
    [targets] = of_workload(resources, "backend", TARGETS)
    assert (targets["Port"], targets["HealthCheckPath"]) == (5002, "/v2/well")


@pytest.mark.requirement("NET-10", "T")
def test_what_takes_everything_comes_last():
    resources = platform("microservices", "prod")
    assert rule(resources, "backend")["Priority"] < rule(resources, "frontend")["Priority"]
    for blueprint, environment in [("rag-assistant", "prod"), ("mcp-hybrid", "prod")]:
        rules = of_type(platform(blueprint, environment), RULE)
        priorities = [each["Properties"]["Priority"] for each in rules]
        assert len(set(priorities)) == len(priorities)
        values = [condition for each in rules for condition in each["Properties"]["Conditions"]]
        assert len(values) == len(rules)  # one condition a rule: five values fit


def test_more_routes_than_a_rule_has_values_become_expressions():
    found = paths(rule(platform("rag-assistant", "prod"), "gateway"))
    assert len(found) <= 5
    assert all(len(each) <= 128 for each in found)
    assert expressions(["/v1/models*", "/v1/embeddings"]) == ("^(/v1/models.*|/v1/embeddings)$",)


@pytest.mark.requirement("NET-12", "T")
@pytest.mark.parametrize(("workload", "port"), [("redis", 6379), ("ai-service", 8000), ("qdrant", 6333)])
def test_services_are_found_by_name(workload: str, port: int):
    resources = platform("microservices", "prod")
    [found] = of_workload(resources, workload, "AWS::ServiceDiscovery::Service")
    assert (found["Name"], found["NamespaceId"]) == (workload, "ns-1")
    assert found["DnsConfig"]["DnsRecords"] == [{"TTL": 10, "Type": "A"}]
    assert container(resources, workload)["PortMappings"][0]["ContainerPort"] == port
    registry = service(resources, workload)["ServiceRegistries"][0]["RegistryArn"]["Fn::GetAtt"][0]
    assert resources[registry]["Properties"]["Name"] == workload


@pytest.mark.requirement("NET-12", "T")
def test_another_name():
    resources = platform("microservices", "prod", {"services": {"redis": {"discovery": "cache", "port": 6380}}})
    [found] = of_workload(resources, "redis", "AWS::ServiceDiscovery::Service")
    assert found["Name"] == "cache"
    environment = {each["Name"]: each["Value"] for each in container(resources, "backend")["Environment"]}
    assert environment["REDIS_HOST"] == "cache.microservices-prod.local"
    assert environment["REDIS_PORT"] == "6380"


def test_nobody_opens_a_shell_in_a_task():
    for blueprint, environment in [("rag-assistant", "prod"), ("microservices", "prod")]:
        for each in of_type(platform(blueprint, environment), "AWS::ECS::Service"):
            assert each["Properties"]["EnableExecuteCommand"] is False
