"""Names: where the API and the console answer, which certificate they show, and who answers when a region is lost."""

from typing import Any

import pytest

from slipway.infra.app import Resource
from tests.infra.edge_stacks import blueprint, changed, resources
from tests.infra.synthesis import of_type, only

RECORD = "AWS::Route53::RecordSet"
CERTIFICATE = "AWS::CertificateManager::Certificate"


def edge(changes: dict[str, Any] | None = None) -> dict[str, Resource]:
    return resources("rag-assistant", "prod", "edge", changes)


def record(found: dict[str, Resource]) -> dict[str, Any]:
    properties: dict[str, Any] = only(found, RECORD)["Properties"]
    return properties


@pytest.mark.requirement("NET-13", "T")
def test_the_domain_leads_to_the_api_in_the_manifests_zone() -> None:
    def where(changes: dict[str, Any] | None = None) -> tuple[str, str]:
        found = edge(changes)
        alias = record(found)
        domain = only(found, "AWS::ApiGateway::DomainName")["Properties"]
        assert domain["DomainName"] == alias["Name"]
        assert alias["AliasTarget"]["DNSName"]["Fn::GetAtt"][1] == "RegionalDomainName"
        return alias["Name"], alias["HostedZoneId"]

    assert where() == ("assistant.example.com", "Z0123456789EXAMPLE")
    other = {"edge": {"domain": {"name": "api.example.org", "zone_id": "Z9876543210OTHER"}}}
    assert where(other) == ("api.example.org", "Z9876543210OTHER")


@pytest.mark.requirement("NET-13", "T")
def test_the_primary_answers_while_its_health_check_says_so() -> None:
    found = edge()
    primary = record(found)
    assert (primary["Failover"], primary["SetIdentifier"]) == ("PRIMARY", "primary")
    check = found[primary["HealthCheckId"]["Fn::GetAtt"][0]]["Properties"]["HealthCheckConfig"]
    assert (check["Type"], check["ResourcePath"]) == ("HTTPS", "/live/health")
    assert (check["RequestInterval"], check["FailureThreshold"]) == (30, 3)
    # Not the name that fails over: it would look healthy from the other region.
    assert "execute-api" in str(check["FullyQualifiedDomainName"])


@pytest.mark.requirement("NET-13", "T")
def test_the_secondary_answers_from_the_manifests_recovery_region() -> None:
    def second(region: str, changes: dict[str, Any]) -> None:
        stack = changed("rag-assistant", "prod", changes).assembly.stack("edge-recovery")
        assert stack.region == region
        alias = record(stack.resources())
        assert (alias["Failover"], alias["Name"]) == ("SECONDARY", "assistant.example.com")
        assert only(stack.resources(), "AWS::ApiGateway::DomainName")["Properties"]["DomainName"] == alias["Name"]
        assert only(stack.resources(), CERTIFICATE)["Properties"]["ValidationMethod"] == "DNS"

    second("us-west-2", {})
    second("eu-west-1", {"recovery": {"region": "eu-west-1"}})


@pytest.mark.requirement("NET-13", "T")
def test_without_a_failover_there_is_one_plain_record() -> None:
    change = {"recovery": {"failover": False}}
    alone = record(edge(change))
    assert "Failover" not in alone
    assert "HealthCheckId" not in alone
    assert of_type(edge(change), "AWS::Route53::HealthCheck") == []
    assert "edge-recovery" not in {stack.part for stack in changed("rag-assistant", "prod", change).assembly.stacks}


@pytest.mark.requirement("NET-13", "T")
def test_certificates_are_proven_by_records_so_that_they_renew_themselves() -> None:
    certificate = only(resources("rag-assistant", "prod", "access"), CERTIFICATE)["Properties"]
    assert (certificate["DomainName"], certificate["ValidationMethod"]) == ("assistant.example.com", "DNS")
    assert certificate["SubjectAlternativeNames"] == ["*.assistant.example.com"]  # previews
    assert {each["HostedZoneId"] for each in certificate["DomainValidationOptions"]} == {"Z0123456789EXAMPLE"}
    found = resources("agent-gateways", "prod", "edge-global")
    console = only(found, CERTIFICATE)["Properties"]
    assert console["DomainName"] == "console.gateways.example.com"
    assert blueprint("agent-gateways", "prod").assembly.stack("edge-global").region == "us-east-1"


@pytest.mark.requirement("USR-02", "T")
def test_a_certificate_that_exists_is_taken_and_none_is_made() -> None:
    own = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"
    synthesis = changed("rag-assistant", "prod", {"edge": {"domain": {"certificate": own}}})
    assert of_type(synthesis.assembly.stack("access").resources(), CERTIFICATE) == []
    domain = only(synthesis.assembly.stack("edge").resources(), "AWS::ApiGateway::DomainName")["Properties"]
    assert domain["RegionalCertificateArn"] == own


@pytest.mark.requirement("NET-13", "T")
def test_the_console_has_a_name_by_ipv4_and_ipv6() -> None:
    found = [each["Properties"] for each in of_type(resources("agent-gateways", "prod", "edge-global"), RECORD)]
    assert {(each["Name"], each["Type"]) for each in found} == {
        ("console.gateways.example.com", "A"),
        ("console.gateways.example.com", "AAAA"),
    }


@pytest.mark.requirement("DLV-03", "T")
def test_a_preview_answers_under_its_number_at_the_shared_load_balancer() -> None:
    assembly = blueprint("preview-fargate", "preview").assembly
    assert {stack.part for stack in assembly.stacks} == {"edge"}
    alias = record(assembly.stack("edge").resources())
    assert alias["Name"] == "pr-123.dev.api.example.com"
    assert alias["AliasTarget"]["DNSName"] == "front.us-east-1.elb.amazonaws.com"
