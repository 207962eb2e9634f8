"""Security groups: nothing passes but along the edges that the manifest declares, on both sides."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from slipway.infra.inputs import Inputs
from slipway.infra.passages import ENDPOINTS, passages_of
from slipway.infra.site import site_of
from slipway.infra.topology import INTERNET
from slipway.manifest.schema import Manifest
from tests.infra.ground import ANYWHERE, Resources, foundation, named, site, tag_of
from tests.infra.synthesis import of_type
from tests.unit.manifest.topologies import manifests

GROUP = "AWS::EC2::SecurityGroup"
INGRESS = "AWS::EC2::SecurityGroupIngress"
EGRESS = "AWS::EC2::SecurityGroupEgress"
Rule = tuple[str, str, int]


def let_in(resources: Resources) -> set[Rule]:
    """Who is let in where: source, target, port."""
    return {
        (_end(resources, each, "SourceSecurityGroupId"), _group(resources, each["GroupId"]), _port(each))
        for each in (rule["Properties"] for rule in of_type(resources, INGRESS))
    }


def let_out(resources: Resources) -> set[Rule]:
    """Who is let out where: source, target, port."""
    return {
        (_group(resources, each["GroupId"]), _end(resources, each, "DestinationSecurityGroupId"), _port(each))
        for each in (rule["Properties"] for rule in of_type(resources, EGRESS))
    }


@pytest.mark.requirement("NET-06", "T")
def test_containers_are_reached_along_the_manifests_edges_alone() -> None:
    """The whole list: 003's groups, and nothing else."""
    assert let_in(foundation("microservices", "prod", _UNTRACED)) - _to_endpoints("microservices") == {
        (ANYWHERE, "load-balancer", 80),
        (ANYWHERE, "load-balancer", 443),
        ("functions", "load-balancer", 443),
        ("functions", "internal-load-balancer", 443),
        ("load-balancer", "frontend", 3000),
        ("load-balancer", "backend", 5001),
        ("internal-load-balancer", "qdrant", 6333),
        ("frontend", "backend", 5001),
        ("backend", "redis", 6379),
        ("backend", "ai-service", 8000),
        ("ai-service", "qdrant", 6333),
        ("qdrant", "qdrant-files", 2049),
    }


@pytest.mark.requirement("NET-06", "T")
def test_containers_leave_along_the_manifests_edges_alone() -> None:
    out = let_out(foundation("microservices", "prod", _UNTRACED))
    assert {rule for rule in out if rule[1] == ANYWHERE} == {
        ("backend", ANYWHERE, 443),  # partners
        ("backend", ANYWHERE, 27017),  # the managed MongoDB
        ("ai-service", ANYWHERE, 443),  # gemini, anthropic
        ("functions", ANYWHERE, 443),
        ("functions", ANYWHERE, 27017),  # asks whether the database outside is there
        ("instances", ANYWHERE, 443),  # images, logs, secrets
    }
    assert {rule for rule in out if rule[0] in ("redis", "qdrant", "frontend")} == {
        ("frontend", "backend", 5001),
        ("qdrant", "qdrant-files", 2049),
    }


@pytest.mark.requirement("NET-06", "T")
def test_another_port_or_need_in_the_manifest_is_another_rule() -> None:
    changes = {"services": {"backend": {"port": 5002, "needs": ["redis"]}, "frontend": {"needs": ["backend", "redis"]}}}
    rules = let_in(foundation("microservices", "prod", changes))
    assert ("load-balancer", "backend", 5002) in rules
    assert ("frontend", "redis", 6379) in rules
    assert not {("load-balancer", "backend", 5001), ("backend", "ai-service", 8000)} & rules


@pytest.mark.requirement("NET-06", "T")
@pytest.mark.requirement("DAT-08", "T")
def test_a_dependency_is_left_for_at_its_port_and_addresses() -> None:
    changes = {"dependencies": {"mongodb": {"port": 27018, "cidrs": ["192.0.2.0/24", "198.51.100.7/32"]}}}
    out = let_out(foundation("microservices", "prod", changes))
    assert {("backend", "192.0.2.0/24", 27018), ("backend", "198.51.100.7/32", 27018)} <= out
    assert not any(rule[2] == 27017 for rule in out)


@pytest.mark.requirement("NET-06", "T")
def test_data_is_reached_by_those_who_need_it_alone() -> None:
    rules = let_in(foundation("rag-assistant", "prod"))
    needing = {workload.name for workload in site("rag-assistant", "prod").topology.needing("postgres")}
    assert {rule[0] for rule in rules if rule[1] == "postgres"} == needing
    assert {"identity", "gateway"} <= needing
    assert "mindsdb" not in needing
    assert {rule[2] for rule in rules if rule[1] == "postgres"} == {5432}
    assert {rule[0] for rule in rules if rule[1:] == ("redis", 6379)} == {"gateway"}
    assert {rule[0] for rule in rules if rule[1:] == ("mindsdb-files", 2049)} == {"mindsdb"}


@pytest.mark.requirement("NET-06", "T")
@pytest.mark.requirement("NET-11", "T")
def test_behind_api_gateway_the_internet_reaches_nothing() -> None:
    rules = let_in(foundation("rag-assistant", "prod"))
    assert not [rule for rule in rules if rule[0] == ANYWHERE]
    assert ("vpc-link", "load-balancer", 443) in rules
    assert {rule[1:] for rule in let_out(foundation("rag-assistant", "prod")) if rule[0] == "vpc-link"} == {
        ("load-balancer", 443)
    }


@pytest.mark.requirement("NET-06", "T")
def test_pods_share_the_group_of_their_nodes() -> None:
    resources = foundation("agent-gateways", "prod")
    rules = let_in(resources)
    assert {rule[0] for rule in rules if rule[1] == "postgres"} == {"nodes"}
    assert {rule for rule in rules if rule[1] == "nodes"} == {
        ("load-balancer", "nodes", 8700),
        ("nodes", "nodes", 8700),
    }


@pytest.mark.requirement("NET-06", "T")
@pytest.mark.parametrize("blueprint", ["agent-gateways", "microservices", "rag-assistant", "mcp-hybrid"])
def test_a_rule_stands_on_both_sides_and_no_group_lets_more_out(blueprint: str) -> None:
    resources = foundation(blueprint, "prod")
    groups = {tag_of(each, "Name").removeprefix(f"{blueprint}-prod-") for each in of_type(resources, GROUP)}
    inward = {rule for rule in let_in(resources) if rule[0] in groups}
    outward = {rule for rule in let_out(resources) if rule[1] in groups}
    assert inward == outward
    for group in of_type(resources, GROUP):
        properties = group["Properties"]
        assert "SecurityGroupIngress" not in properties
        [nowhere] = properties["SecurityGroupEgress"]  # without one CloudFormation opens every way out
        assert nowhere["CidrIp"] == "127.0.0.1/32"


def test_an_external_store_is_left_for_at_its_usual_port() -> None:
    changes = {
        "data": {"postgres": {"engine": "external", "url_env": "DATABASE_URL", "copy_to_recovery_region": False}}
    }
    resources = foundation("rag-assistant", "dev", changes)
    assert ("gateway", ANYWHERE, 5432) in let_out(resources)
    assert "rag-assistant-dev-postgres" not in named(resources, GROUP)


def test_a_model_elsewhere_is_left_for_at_the_port_of_its_url() -> None:
    local = {"provider": "openai", "base_url": "http://10.0.40.7:11434/v1", "id": "llama3.2"}
    changes = {"models": {"available": {"local": local}}}
    assert ("gateway", "10.0.40.7/32", 11434) in let_out(foundation("rag-assistant", "dev", changes))


@pytest.mark.requirement("NET-06", "T")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests())
def test_in_any_manifest_a_group_is_entered_along_an_edge_alone(manifest: Manifest) -> None:
    of = site_of(manifest, "prod", Inputs())
    found = passages_of(of)
    edges = {(found.group_of(edge.source), found.group_of(edge.target), edge.port) for edge in of.topology.edges}
    for passage in found.passages:
        if passage.target in found.groups and passage.source != "bastion":
            source = INTERNET if passage.source == ANYWHERE else passage.source
            assert (source, passage.target, passage.port) in edges or passage.target == ENDPOINTS
    assert {passage.source for passage in found.passages} <= {*found.groups, ANYWHERE}


_UNTRACED: Mapping[str, Any] = {"monitoring": {"tracing": False}}


def _to_endpoints(blueprint: str) -> set[Rule]:
    """What the endpoints of AWS's services let in: their callers at 443."""
    found = passages_of(site(blueprint, "prod"))
    return {(each.source, ENDPOINTS, 443) for each in found.passages if each.target == ENDPOINTS}


def _end(resources: Resources, rule: Mapping[str, Any], key: str) -> str:
    return _group(resources, rule[key]) if key in rule else str(rule["CidrIp"])


def _group(resources: Resources, value: Mapping[str, Any]) -> str:
    """A group by its name, without what its environment is called."""
    name = tag_of(resources[value["Fn::GetAtt"][0]], "Name")
    return name.split("-prod-")[-1].split("-dev-")[-1]


def _port(rule: Mapping[str, Any]) -> int:
    assert rule["IpProtocol"] == "tcp"
    assert rule["FromPort"] == rule["ToPort"]
    return int(rule["FromPort"])
