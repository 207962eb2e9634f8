"""Environments beside prod: a preview for each pull request on another's load balancer, and dev as a smaller prod."""

import json
from datetime import date
from typing import Any

import pytest

from slipway.infra.app import synthesize
from slipway.infra.inputs import Inputs
from slipway.infra.site import Site, site_of
from tests.infra.platform_stacks import ENTRANCE, of_workload, platform, site_for, stack_of, variables
from tests.infra.platform_stacks import container as container_of
from tests.infra.synthesis import INPUTS, PREVIEW_INPUTS, assembly, manifest_of, of_type, only

RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"


def preview(number: int) -> Site:
    inputs = Inputs(image_digest=INPUTS.image_digest, pull_request=number, branch="b", expires=date(2027, 1, 15))
    return site_of(manifest_of("preview-fargate", "preview"), "preview", inputs)


def rule_of(site: Site) -> Any:
    return only(stack_of(site)["Resources"], RULE)["Properties"]


def hosts(rule: Any) -> list[str]:
    [found] = [each["HostHeaderConfig"]["Values"] for each in rule["Conditions"] if each["Field"] == "host-header"]
    values: list[str] = found
    return values


@pytest.mark.requirement("DLV-03", "T")
@pytest.mark.parametrize("number", [123, 7])
def test_a_preview_answers_at_its_own_host_name(number: int):
    site = preview(number)
    rule = rule_of(site)
    assert hosts(rule) == [f"pr-{number}.dev.api.example.com"]
    assert rule["ListenerArn"] == ENTRANCE.listener_arn
    assert site.names.prefix == f"preview-fargate-preview-{number}"
    api = container_of(stack_of(site)["Resources"], "api")
    assert api["LogConfiguration"]["Options"]["awslogs-group"].startswith(f"/slipway/preview-{number}/")


@pytest.mark.requirement("DLV-03", "T")
def test_rules_of_previews_come_before_their_hosts_and_never_meet():
    owner = rule_of(site_for("preview-fargate", "dev"))["Priority"]
    priorities = [rule_of(preview(number))["Priority"] for number in (1, 2, 999)]
    assert len(set(priorities)) == 3
    assert max(priorities) < owner <= 50_000
    assert all(abs(one - other) >= 45 for one in priorities for other in priorities if one != other)


@pytest.mark.requirement("DLV-03", "T")
@pytest.mark.parametrize("domain", [True, False])
def test_behind_api_gateway_a_preview_is_asked_for_by_the_name_that_its_rules_have(domain: bool):
    """Its API and its rules stand in different stacks, and what one asks for the other has to answer."""
    changes: dict[str, Any] = {"template": True, "ttl": "7d", "share": "dev", "recovery": {"failover": False}}
    changes |= {} if domain else {"edge": {"domain": None}}
    made = synthesize(manifest_of("rag-assistant", "prod", changes), "preview", PREVIEW_INPUTS)
    name = "pr-123.assistant.example.com" if domain else "rag-assistant-preview-123.internal"
    rules = of_type(made.stack("platform").resources(), RULE)
    assert {host for each in rules for host in hosts(each["Properties"])} == {name}
    methods = of_type(made.stack("edge").resources(), "AWS::ApiGateway::Method")
    asked = [each["Properties"]["Integration"].get("Uri", "") for each in methods]
    scheme = "https" if domain else "http"
    assert {uri.split("/")[2] for uri in asked if uri} == {name}
    assert {uri.split(":")[0] for uri in asked if uri} == {scheme}


@pytest.mark.requirement("DLV-03", "T")
def test_a_preview_makes_no_load_balancer_and_no_network_but_data_of_its_own():
    whole = assembly("preview-fargate", "preview")
    for kind in (
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "AWS::ElasticLoadBalancingV2::Listener",
        "AWS::EC2::VPC",
        "AWS::EC2::NatGateway",
    ):
        assert not whole.resources(kind)
    assert len(whole.resources("AWS::RDS::DBCluster")) == 1
    assert len(whole.resources("AWS::ECS::Cluster")) == 1
    shared = json.dumps(whole.stack("platform").template)
    assert '{"Fn::ImportValue": "preview-fargate-dev-entrance-listener-arn"}' in shared


@pytest.mark.requirement("DLV-03", "T")
def test_a_preview_carries_its_number_branch_and_last_day():
    service = only(platform("preview-fargate", "preview"), "AWS::ECS::Service")
    tags = {each["Key"]: each["Value"] for each in service["Properties"]["Tags"]}
    assert (tags["PRNumber"], tags["Branch"], tags["ExpiryDate"]) == ("123", "feature/answers", "2027-01-15")
    assert service["Properties"]["PropagateTags"] == "SERVICE"


@pytest.mark.requirement("CMP-11", "T")
@pytest.mark.parametrize("blueprint", ["rag-assistant", "mcp-hybrid", "microservices", "preview-fargate"])
def test_dev_mirrors_prod_in_small(blueprint: str):
    """The same workloads with the same routes, images, rights and variables: only sizes, copies and hours differ."""
    dev, prod = platform(blueprint, "dev"), platform(blueprint, "prod")
    workloads = [workload.name for workload in site_for(blueprint, "prod").topology.workloads]
    assert [workload.name for workload in site_for(blueprint, "dev").topology.workloads] == workloads
    for workload in workloads:
        one, other = container_of(dev, workload), container_of(prod, workload)
        for key in ("Image", "Command", "PortMappings", "User", "ReadonlyRootFilesystem"):
            assert one.get(key) == other.get(key), (workload, key)
        assert set(variables(one)) == set(variables(other))
        small, large = (of_workload(resources, workload, "AWS::ECS::TaskDefinition")[0] for resources in (dev, prod))
        assert int(small["Cpu"]) <= int(large["Cpu"])


@pytest.mark.requirement("CMP-11", "T")
def test_feature_flags_begin_as_the_manifest_says():
    resources = platform("agent-gateways", "prod")
    content = only(resources, "AWS::AppConfig::HostedConfigurationVersion")["Properties"]["Content"]
    assert json.loads(content)["values"] == {
        "memory-summaries": {"enabled": False},
        "hybrid-search": {"enabled": True},
    }
    changed = platform("agent-gateways", "prod", {"features": {"memory-summaries": True}})
    content = only(changed, "AWS::AppConfig::HostedConfigurationVersion")["Properties"]["Content"]
    assert json.loads(content)["values"]["memory-summaries"] == {"enabled": True}
    profile = only(resources, "AWS::AppConfig::ConfigurationProfile")["Properties"]
    assert profile["Type"] == "AWS.AppConfig.FeatureFlags"
    assert not of_type(platform("rag-assistant", "prod"), "AWS::AppConfig::Application")


@pytest.mark.requirement("CMP-11", "T")
def test_tasks_may_read_the_flags_and_know_where_they_are():
    resources = platform("rag-assistant", "prod", {"features": {"answers-by-agent": False}})
    found = variables(container_of(resources, "chat"))
    assert {"APPCONFIG_APPLICATION", "APPCONFIG_ENVIRONMENT", "APPCONFIG_PROFILE"} <= set(found)
    [role] = of_workload(resources, "chat-task-role", "AWS::IAM::Role")
    sids = {each["Sid"] for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]}
    assert "FeaturesRead" in sids
