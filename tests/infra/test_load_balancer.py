"""The load balancers: TLS ends there, plain HTTP is sent on to it, requests are logged, and paths lead to services."""

import tempfile
from collections.abc import Mapping
from typing import Any

import pytest
from aws_cdk.assertions import Template

from slipway.infra.app import new_app
from slipway.infra.constructs.load_balancer import LoadBalancer, LoadBalancerProps
from slipway.infra.stacks.entrance import EntranceStack
from tests.infra.alterations import seen
from tests.infra.ground import Resources, referred, site, texts
from tests.infra.synthesis import assembly, of_type, only, synthesized

BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
LISTENER = "AWS::ElasticLoadBalancingV2::Listener"
RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"
TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"


class PlainGround:
    """A foundation whose handles say what they are."""

    public_subnet_ids = ("subnet-public-1", "subnet-public-2")
    private_subnet_ids = ("subnet-private-1", "subnet-private-2")
    log_bucket = "access-logs"

    def security_group(self, name: str) -> str:
        return f"sg-{name}"


def entrance(
    blueprint: str, environment: str, changes: Mapping[str, Any] | None = None, certificate: str | None = CERTIFICATE
) -> Resources:
    of = site(blueprint, environment, changes)
    with tempfile.TemporaryDirectory() as folder:
        stack = EntranceStack(new_app(folder), of, foundation=PlainGround(), certificate_arn=certificate)
        resources: Resources = Template.from_stack(stack).to_json()["Resources"]
        return seen(resources)


def front(resources: Resources, group: str = "sg-load-balancer") -> tuple[dict[str, Any], dict[str, str]]:
    """A load balancer by its security group: its properties, and its attributes."""
    [found] = [
        each["Properties"] for each in of_type(resources, BALANCER) if each["Properties"]["SecurityGroups"] == [group]
    ]
    return found, {each["Key"]: each["Value"] for each in found["LoadBalancerAttributes"]}


def listeners(resources: Resources, port: int) -> list[dict[str, Any]]:
    return [each["Properties"] for each in of_type(resources, LISTENER) if each["Properties"]["Port"] == port]


@pytest.mark.requirement("NET-09", "T")
@pytest.mark.requirement("SEC-08", "T")
@pytest.mark.parametrize(
    ("oldest", "policy"),
    [("1.3", "ELBSecurityPolicy-TLS13-1-3-2021-06"), ("1.2", "ELBSecurityPolicy-TLS13-1-2-Res-2021-06")],
)
def test_tls_ends_at_the_load_balancer_in_the_manifests_version(oldest: str, policy: str) -> None:
    resources = entrance("microservices", "prod", {"edge": {"tls": oldest}})
    balancer, _ = front(resources)
    assert balancer["Scheme"] == "internet-facing"
    assert balancer["Subnets"] == ["subnet-public-1", "subnet-public-2"]
    for listener in listeners(resources, 443):
        assert listener["Protocol"] == "HTTPS"
        assert listener["SslPolicy"] == policy
        assert listener["Certificates"] == [{"CertificateArn": CERTIFICATE}]
        assert listener["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"] == "404"
    assert len(listeners(resources, 443)) == 2  # the second is the internal one's


@pytest.mark.requirement("NET-09", "T")
def test_who_comes_without_tls_is_sent_to_it() -> None:
    [listener] = listeners(entrance("microservices", "prod"), 80)
    [action] = listener["DefaultActions"]
    assert action["Type"] == "redirect"
    assert action["RedirectConfig"] == {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}


@pytest.mark.requirement("NET-09", "T")
@pytest.mark.parametrize("logged", [True, False])
def test_requests_are_logged_as_the_manifest_says(logged: bool) -> None:
    _, attributes = front(entrance("preview-fargate", "prod", {"edge": {"access_logs": logged}}))
    assert attributes["access_logs.s3.enabled"] == ("true" if logged else "false")
    assert attributes.get("access_logs.s3.bucket") == ("access-logs" if logged else None)
    assert attributes.get("access_logs.s3.prefix") == ("load-balancers" if logged else None)
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"


@pytest.mark.requirement("NET-09", "T")
def test_behind_api_gateway_the_load_balancer_is_private() -> None:
    resources = entrance("rag-assistant", "prod")
    balancer, _ = front(resources)
    assert balancer["Scheme"] == "internal"
    assert balancer["Subnets"] == ["subnet-private-1", "subnet-private-2"]
    [listener] = of_type(resources, LISTENER)
    assert (listener["Properties"]["Port"], listener["Properties"]["Protocol"]) == (443, "HTTPS")


@pytest.mark.requirement("SEC-08", "T")
def test_without_a_domain_only_the_inside_speaks_plainly() -> None:
    domainless = {"edge": {"domain": None, "api_gateway": True}, "recovery": {"failover": False}}
    resources = entrance("rag-assistant", "prod", domainless, certificate=None)
    balancer, _ = front(resources)
    [listener] = of_type(resources, LISTENER)
    assert balancer["Scheme"] == "internal"
    assert (listener["Properties"]["Port"], listener["Properties"]["Protocol"]) == (80, "HTTP")
    props = LoadBalancerProps(
        public=True, subnet_ids=["subnet-1"], security_group_id="sg-1", tls=None, log_bucket=None, protected=False
    )
    with pytest.raises(ValueError, match="has a certificate"):
        synthesized(lambda scope: LoadBalancer(scope, "Plain", props))


@pytest.mark.requirement("SEC-08", "T")
@pytest.mark.parametrize("blueprint", ["agent-gateways", "microservices", "mcp-hybrid", "preview-fargate"])
def test_every_listener_that_the_internet_reaches_speaks_tls_13_alone(blueprint: str) -> None:
    resources = entrance(blueprint, "prod", {"recovery": {"failover": False}})
    assert listeners(resources, 443)
    assert {each["SslPolicy"] for each in listeners(resources, 443)} == {"ELBSecurityPolicy-TLS13-1-3-2021-06"}
    assert all(each["DefaultActions"][0]["Type"] == "redirect" for each in listeners(resources, 80))


@pytest.mark.requirement("SEC-08", "T")
def test_callers_of_aws_that_speak_no_newer_tls_are_served() -> None:
    """API Gateway, and the health checks by which a failover is decided."""
    failing_over = {"recovery": {"failover": True, "region": "us-west-2"}}
    for resources in (entrance("rag-assistant", "prod"), entrance("preview-fargate", "prod", failing_over)):
        [listener] = listeners(resources, 443)
        assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"


@pytest.mark.parametrize(("environment", "protected"), [("prod", "true"), ("dev", "false")])
def test_in_production_nobody_deletes_it_by_mistake(environment: str, protected: str) -> None:
    _, attributes = front(entrance("microservices", environment))
    assert attributes["deletion_protection.enabled"] == protected


@pytest.mark.requirement("NET-10", "T")
def test_internal_routes_have_a_load_balancer_that_the_internet_never_reaches() -> None:
    resources = entrance("microservices", "prod")
    balancer, _ = front(resources, "sg-internal-load-balancer")
    assert balancer["Scheme"] == "internal"
    assert balancer["Subnets"] == ["subnet-private-1", "subnet-private-2"]
    public = {"services": {"qdrant": {"route": None, "exposure": "public"}}}
    assert len(of_type(entrance("microservices", "prod", public), BALANCER)) == 1


@pytest.mark.requirement("NET-10", "T")
def test_paths_lead_to_their_services_and_qdrants_on_the_internal_listener_alone() -> None:
    whole = assembly("microservices", "prod")
    platform = whole.stack("platform").resources()
    rules = [each["Properties"] for each in of_type(platform, RULE)]
    found = {paths(rule): (port_of(platform, rule), "Internal" in str(rule["ListenerArn"])) for rule in rules}
    assert found == {("/*",): (3000, False), ("/api/*",): (5001, False), ("/qdrant/*",): (6333, True)}
    by_path = {paths(rule): rule["Priority"] for rule in rules}
    assert by_path["/api/*",] < by_path["/*",]  # who takes what is left comes last


@pytest.mark.requirement("NET-09", "T")
def test_targets_are_asked_at_their_own_path_whether_they_are_well() -> None:
    platform = assembly("microservices", "prod").stack("platform").resources()
    checks = {
        each["Properties"]["Port"]: (each["Properties"]["HealthCheckPath"], each["Properties"]["HealthCheckEnabled"])
        for each in of_type(platform, TARGETS)
    }
    assert checks == {3000: ("/", True), 5001: ("/api/health", True), 6333: ("/readyz", True)}


@pytest.mark.requirement("NET-09", "T")
def test_the_log_bucket_lets_load_balancers_of_the_account_write_under_their_prefix() -> None:
    resources = assembly("microservices", "prod").stack("foundation").resources()
    [policy] = [
        each["Properties"]["PolicyDocument"]["Statement"]
        for each in of_type(resources, "AWS::S3::BucketPolicy")
        if "AccessLogs" in referred(each["Properties"]["Bucket"])
    ]
    statement = next(each for each in policy if each["Sid"] == "LoadBalancers")
    assert statement["Principal"] == {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}
    assert statement["Action"] == "s3:PutObject"
    assert "/load-balancers/AWSLogs/" in set(texts(statement["Resource"]))
    bucket = next(each for name, each in resources.items() if name.startswith("AccessLogsBucket"))
    [rule] = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}  # the only one that ELB delivers into


@pytest.mark.requirement("DLV-03", "T")
def test_a_preview_takes_the_load_balancer_of_the_environment_that_it_shares() -> None:
    of = site("preview-fargate", "preview")
    assert not EntranceStack.is_needed(of)
    exported = assembly("preview-fargate", "dev").stack("entrance").template["Outputs"].values()
    exports = {each["Export"]["Name"] for each in exported if "Export" in each}
    rule = only(assembly("preview-fargate", "preview").stack("platform").resources(), RULE)["Properties"]
    assert rule["ListenerArn"]["Fn::ImportValue"] == "preview-fargate-dev-entrance-listener-arn"
    assert rule["ListenerArn"]["Fn::ImportValue"] in exports


def paths(rule: Mapping[str, Any]) -> tuple[str, ...]:
    [condition] = [each for each in rule["Conditions"] if each["Field"] == "path-pattern"]
    return tuple(condition["PathPatternConfig"]["Values"])


def port_of(resources: Resources, rule: Mapping[str, Any]) -> int:
    [action] = rule["Actions"]
    [first, *_] = action["ForwardConfig"]["TargetGroups"]
    port: int = resources[referred(first["TargetGroupArn"])]["Properties"]["Port"]
    return port


def test_one_load_balancer_is_the_whole_entrance_where_no_route_is_internal() -> None:
    assert only(entrance("mcp-hybrid", "prod"), BALANCER)
