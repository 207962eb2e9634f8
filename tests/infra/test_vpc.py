"""The VPC, its subnets, the ways out, what is logged of it, and its second layer: all in the manifest's numbers."""

import ipaddress
from collections import Counter
from typing import Any

import pytest

from slipway.base.errors import InvalidRequest
from tests.infra.ground import ANYWHERE, Resources, foundation, foundation_in, named, referred, tag_of, texts
from tests.infra.synthesis import assembly, of_type, only

SUBNET = "AWS::EC2::Subnet"
NAT = "AWS::EC2::NatGateway"
ENTRY = "AWS::EC2::NetworkAclEntry"


def tiers(resources: Resources) -> Counter[str]:
    """How many subnets each tier has."""
    return Counter(tag_of(each, "Name").split("-")[-2] for each in of_type(resources, SUBNET))


def ranges(resources: Resources) -> dict[str, list[str]]:
    """The subnets' ranges by tier, in the zones' order."""
    found: dict[str, list[str]] = {}
    for name, subnet in sorted(named(resources, SUBNET).items()):
        found.setdefault(name.split("-")[-2], []).append(subnet["Properties"]["CidrBlock"])
    return found


@pytest.mark.requirement("NET-01", "T")
@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "10.42.0.0/18"])
def test_the_vpc_has_the_manifests_range_and_names(cidr: str) -> None:
    changes = None if cidr == "10.0.0.0/16" else {"network": {"cidr": cidr}}
    resources = foundation("rag-assistant", "prod", changes)
    properties = only(resources, "AWS::EC2::VPC")["Properties"]
    assert properties["CidrBlock"] == cidr
    assert properties["EnableDnsSupport"] is True
    assert properties["EnableDnsHostnames"] is True
    whole = ipaddress.IPv4Network(cidr)
    assert all(ipaddress.IPv4Network(each).subnet_of(whole) for tier in ranges(resources).values() for each in tier)


@pytest.mark.requirement("NET-02", "T")
@pytest.mark.parametrize(
    ("blueprint", "environment", "expected"),
    [
        ("agent-gateways", "prod", {"public": 2, "private": 2}),
        ("microservices", "prod", {"public": 2, "private": 2}),
        ("rag-assistant", "prod", {"public": 3, "private": 3, "isolated": 3}),
        ("mcp-hybrid", "prod", {"public": 3, "private": 3, "isolated": 3}),
    ],
)
def test_a_subnet_stands_in_each_zone_of_each_tier(blueprint: str, environment: str, expected: dict[str, int]) -> None:
    resources = foundation(blueprint, environment)
    assert tiers(resources) == expected
    zones = {name: subnet["Properties"]["AvailabilityZone"] for name, subnet in named(resources, SUBNET).items()}
    assert all(zone["Fn::Select"][0] == int(name.split("-")[-1]) - 1 for name, zone in zones.items())


@pytest.mark.requirement("NET-02", "T")
@pytest.mark.parametrize("azs", [4, 6])
def test_more_zones_in_the_manifest_are_more_subnets(azs: int) -> None:
    assert tiers(foundation("rag-assistant", "prod", {"network": {"azs": azs}})) == {
        "public": azs,
        "private": azs,
        "isolated": azs,
    }


@pytest.mark.requirement("NET-02", "T")
def test_in_development_things_run_in_one_zone_beside_an_empty_one() -> None:
    stack = foundation("mcp-hybrid", "dev")
    assert tiers(stack) == {"public": 2, "private": 2, "isolated": 2}
    private = named(stack, SUBNET)["mcp-hybrid-dev-private-1"]
    [first] = [name for name, each in stack.items() if each == private]
    platform = assembly("mcp-hybrid", "dev").stack("platform")
    [used] = {
        str(service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"])
        for service in platform.resources("AWS::ECS::Service").values()
    }
    assert used.count("Private") == 1
    assert first in used


def test_a_share_of_the_range_moves_for_no_new_zone_or_tier() -> None:
    two = ranges(foundation("rag-assistant", "prod", {"network": {"azs": 2, "tiers": ["public", "private"]}}))
    six = ranges(foundation("rag-assistant", "prod", {"network": {"azs": 6}}))
    assert two == {tier: six[tier][:2] for tier in ("public", "private")}
    whole = [ipaddress.IPv4Network(each) for tier in six.values() for each in tier]
    assert all(not one.overlaps(other) for one in whole for other in whole if one is not other)


def test_zones_may_be_named() -> None:
    zones = [
        each["Properties"]["AvailabilityZone"]
        for each in named(foundation_in(("us-east-1b", "us-east-1d")), SUBNET).values()
    ]
    assert Counter(zones) == {"us-east-1b": 2, "us-east-1d": 2}
    with pytest.raises(InvalidRequest, match="2 zones have subnets, and 1 are named"):
        foundation_in(("us-east-1b",))


@pytest.mark.requirement("NET-03", "T")
@pytest.mark.parametrize(
    "subnets",
    [
        {"public": ["10.0.1.0/24", "10.0.2.0/24"], "private": ["10.0.3.0/24", "10.0.4.0/24"]},
        {"public": ["10.0.8.0/25", "10.0.8.128/25"], "private": ["10.0.16.0/20", "10.0.32.0/20"]},
    ],
)
def test_subnets_are_exactly_those_of_the_manifest(subnets: dict[str, list[str]]) -> None:
    blueprints = subnets["public"][0] == "10.0.1.0/24"
    assert (
        ranges(foundation("microservices", "prod", None if blueprints else {"network": {"subnets": subnets}}))
        == subnets
    )


@pytest.mark.requirement("NET-04", "T")
@pytest.mark.parametrize("blueprint", ["agent-gateways", "microservices", "rag-assistant", "mcp-hybrid"])
def test_each_zone_of_production_has_a_nat_gateway_of_its_own(blueprint: str) -> None:
    resources = foundation(blueprint, "prod")
    assert len(of_type(resources, NAT)) == tiers(resources)["private"]
    assert len(of_type(resources, "AWS::EC2::EIP")) == tiers(resources)["private"]
    assert all(zone_of(resources, private) == zone for private, zone in ways_out(resources).items())


@pytest.mark.requirement("NET-04", "T")
@pytest.mark.parametrize("blueprint", ["agent-gateways", "microservices", "rag-assistant", "mcp-hybrid"])
def test_development_has_one_nat_gateway_for_all(blueprint: str) -> None:
    resources = foundation(blueprint, "dev")
    assert len(of_type(resources, NAT)) == 1
    assert len(ways_out(resources)) == tiers(resources)["private"]


@pytest.mark.requirement("NET-04", "T")
def test_the_manifest_says_how_many_nat_gateways() -> None:
    assert len(of_type(foundation("microservices", "prod", {"network": {"nat": "single"}}), NAT)) == 1
    none = {"nat": "none", "endpoints": ["s3", "ecr", "logs", "secrets", "ecs"]}
    closed = foundation("microservices", "prod", {"network": none, **_WITHOUT_THE_INTERNET})
    assert not of_type(closed, NAT)
    assert not ways_out(closed)


_WITHOUT_THE_INTERNET: dict[str, Any] = {
    "dependencies": {name: {"cidrs": ["10.9.0.0/24"]} for name in ("mongodb", "gemini", "anthropic", "partners")}
}


def test_isolated_subnets_have_no_way_to_the_internet() -> None:
    resources = foundation("rag-assistant", "prod")
    routed = {referred(each["Properties"]["RouteTableId"]) for each in of_type(resources, "AWS::EC2::Route")}
    assert routed
    assert not any("Isolated" in table for table in routed)


@pytest.mark.requirement("NET-05", "T")
@pytest.mark.parametrize("days", [7, 30])
def test_every_connection_is_logged_for_the_manifests_days(days: int) -> None:
    changes = None if days == 7 else {"monitoring": {"log_retention": f"{days}d"}}
    resources = foundation("agent-gateways", "prod", changes)
    log = only(resources, "AWS::EC2::FlowLog")["Properties"]
    assert (log["ResourceType"], log["TrafficType"]) == ("VPC", "ALL")
    assert referred(log["ResourceId"]) == next(n for n, each in resources.items() if each["Type"] == "AWS::EC2::VPC")
    group = resources[referred(log["LogGroupName"])]["Properties"]
    assert group["RetentionInDays"] == days
    assert "Logs" in referred(group["KmsKeyId"])
    role = resources[referred(log["DeliverLogsPermissionArn"])]["Properties"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}


def test_flow_logs_may_be_left_out() -> None:
    assert not of_type(foundation("agent-gateways", "prod", {"network": {"flow_logs": False}}), "AWS::EC2::FlowLog")


@pytest.mark.requirement("NET-05", "T")
def test_the_default_security_group_is_emptied_at_once_and_daily() -> None:
    resources = foundation("agent-gateways", "prod")
    association = only(resources, "AWS::SSM::Association")["Properties"]
    assert association["Name"] == "AWSConfigRemediation-RemoveVPCDefaultSecurityGroupRules"
    assert association["ApplyOnlyAtCronInterval"] is False
    assert association["ScheduleExpression"] == "rate(1 day)"
    [group] = association["Parameters"]["GroupId"]
    assert group["Fn::GetAtt"][1] == "DefaultSecurityGroup"
    [role] = association["Parameters"]["AutomationAssumeRole"]
    [policy] = resources[referred(role)]["Properties"]["Policies"]
    statements = {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}
    emptying = statements["EmptyTheGroup"]
    assert set(emptying["Action"]) == {"ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress"}
    assert "DefaultSecurityGroup" in set(texts(emptying["Resource"]))


@pytest.mark.requirement("NET-05", "T")
@pytest.mark.parametrize("blueprint", ["agent-gateways", "microservices", "rag-assistant"])
def test_nothing_is_in_the_default_security_group(blueprint: str) -> None:
    allowed = {"AWS::SSM::Association", "AWS::IAM::Role"}
    users = [
        name
        for name, each in assembly(blueprint, "prod").resources().items()
        if "DefaultSecurityGroup" in set(texts(each)) and each["Type"] not in allowed
    ]
    assert not users


@pytest.mark.requirement("NET-07", "T")
def test_services_of_the_manifest_have_endpoints_in_the_vpc() -> None:
    resources = foundation("rag-assistant", "prod")
    assert services(resources, "Gateway") == {"s3", "dynamodb"}
    assert services(resources, "Interface") == {
        "ecr.api", "ecr.dkr", "logs", "secretsmanager", "sts", "bedrock-runtime",
    }  # fmt: skip
    [group] = [
        name
        for name, each in resources.items()
        if named(resources, "AWS::EC2::SecurityGroup")["rag-assistant-prod-endpoints"] == each
    ]
    for endpoint in endpoints(resources, "Interface"):
        assert endpoint["PrivateDnsEnabled"] is True
        assert [referred(each) for each in endpoint["SecurityGroupIds"]] == [group]
        assert len(endpoint["SubnetIds"]) == 3
    for endpoint in endpoints(resources, "Gateway"):
        assert sum("Private" in referred(table) for table in endpoint["RouteTableIds"]) == 3
        assert sum("Isolated" in referred(table) for table in endpoint["RouteTableIds"]) == 3


@pytest.mark.requirement("NET-07", "T")
def test_other_endpoints_in_the_manifest_are_other_endpoints() -> None:
    resources = foundation("microservices", "prod", {"network": {"endpoints": ["s3", "kms", "ssm", "xray"], "azs": 2}})
    assert services(resources, "Gateway") == {"s3"}
    assert services(resources, "Interface") == {"kms", "ssm", "ssmmessages", "xray"}
    assert not endpoints(foundation("microservices", "prod", {"network": {"endpoints": []}}), "Interface")


@pytest.mark.requirement("NET-07", "T")
def test_endpoints_let_in_principals_of_the_account_alone() -> None:
    for endpoint in endpoints(foundation("rag-assistant", "prod")):
        statements = {each["Sid"]: each for each in endpoint["PolicyDocument"]["Statement"]}
        own = statements.pop("PrincipalsOfThisAccount")
        assert own["Condition"] == {"StringEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}}
        assert all(set(each["Action"]) <= _READ_ONLY for each in statements.values())


_READ_ONLY = {"s3:GetObject", "s3:GetObjectVersion", "sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithSAML"}


@pytest.mark.requirement("NET-08", "T")
def test_acls_are_a_second_layer_around_each_tier() -> None:
    resources = foundation("preview-fargate", "prod")
    acls = {name for name, each in resources.items() if each["Type"] == "AWS::EC2::NetworkAcl"}
    associations = of_type(resources, "AWS::EC2::SubnetNetworkAclAssociation")
    assert len(acls) == 3
    assert len(associations) == len(of_type(resources, SUBNET))
    for each in associations:
        subnet, acl = referred(each["Properties"]["SubnetId"]), referred(each["Properties"]["NetworkAclId"])
        assert any(tier in subnet and tier in acl for tier in ("Public", "Private", "Isolated"))
    [private] = {str(r) for r in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, ranges(resources)["private"]))}
    assert lets(resources, "Public", inward=True, port=443, source=ANYWHERE)
    assert lets(resources, "Public", inward=True, port=80, source=ANYWHERE)
    assert not lets(resources, "Public", inward=True, port=22, source=ANYWHERE)
    assert not lets(resources, "Private", inward=True, port=443, source=ANYWHERE)
    assert lets(resources, "Isolated", inward=True, port=5432, source=private)
    assert not lets(resources, "Isolated", inward=True, port=22, source=private)
    isolated = [
        each for each in of_type(resources, ENTRY) if "Isolated" in referred(each["Properties"]["NetworkAclId"])
    ]
    assert isolated
    assert not any(each["Properties"]["CidrBlock"] == ANYWHERE for each in isolated)


@pytest.mark.requirement("NET-08", "T")
def test_acls_follow_the_manifest() -> None:
    assert not of_type(foundation("preview-fargate", "prod", {"network": {"acls": False}}), ENTRY)
    mongodb = {"dependencies": {"mongodb": {"kind": "mongodb", "port": 27018, "secret": "MONGODB_URL"}}}
    needing = {"services": {"api": {"needs": ["postgres", "objects", "mongodb"]}}}
    resources = foundation("preview-fargate", "prod", {**mongodb, **needing})
    assert lets(resources, "Private", inward=False, port=27018, source=ANYWHERE)
    assert not lets(foundation("preview-fargate", "prod"), "Private", inward=False, port=27018, source=ANYWHERE)


def test_acls_have_no_more_rules_than_aws_allows() -> None:
    resources = foundation("rag-assistant", "prod", {"network": {"acls": True, "azs": 6}})
    counts = Counter(
        (referred(each["Properties"]["NetworkAclId"]), each["Properties"].get("Egress", False))
        for each in of_type(resources, ENTRY)
    )
    assert max(counts.values()) <= 20


@pytest.mark.requirement("NET-12", "T")
def test_parts_find_each_other_by_private_names() -> None:
    resources = foundation("microservices", "prod")
    namespace = only(resources, "AWS::ServiceDiscovery::PrivateDnsNamespace")["Properties"]
    assert namespace["Name"] == "microservices-prod.local"
    assert resources[referred(namespace["Vpc"])]["Type"] == "AWS::EC2::VPC"
    platform = assembly("microservices", "prod").stack("platform")
    names = {each["Properties"]["Name"] for each in platform.resources("AWS::ServiceDiscovery::Service").values()}
    assert {"redis", "ai-service", "qdrant"} <= names


def endpoints(resources: Resources, kind: str | None = None) -> list[dict[str, Any]]:
    found = [each["Properties"] for each in of_type(resources, "AWS::EC2::VPCEndpoint")]
    return [each for each in found if kind is None or each["VpcEndpointType"] == kind]


def services(resources: Resources, kind: str) -> set[str]:
    """What endpoints of a kind lead to, without the region."""
    return {each["ServiceName"].removeprefix("com.amazonaws.us-east-1.") for each in endpoints(resources, kind)}


def zone_of(resources: Resources, subnet: str) -> Any:
    return resources[subnet]["Properties"]["AvailabilityZone"]


def ways_out(resources: Resources) -> dict[str, Any]:
    """The zone of the NAT gateway that each private subnet leaves by."""
    tables = {
        referred(each["Properties"]["RouteTableId"]): referred(each["Properties"]["SubnetId"])
        for each in of_type(resources, "AWS::EC2::SubnetRouteTableAssociation")
    }
    found = {}
    for route in of_type(resources, "AWS::EC2::Route"):
        if "NatGatewayId" in route["Properties"]:
            assert route["Properties"]["DestinationCidrBlock"] == ANYWHERE
            gateway = resources[referred(route["Properties"]["NatGatewayId"])]
            stands_in = referred(gateway["Properties"]["SubnetId"])
            found[tables[referred(route["Properties"]["RouteTableId"])]] = zone_of(resources, stands_in)
    return found


def lets(resources: Resources, tier: str, *, inward: bool, port: int, source: str) -> bool:
    """Whether a tier's ACL lets TCP through at a port, from or to the whole of a range."""
    for entry in of_type(resources, ENTRY):
        properties = entry["Properties"]
        ports = properties["PortRange"]
        if (
            tier in referred(properties["NetworkAclId"])
            and properties.get("Egress", False) is not inward
            and properties["RuleAction"] == "allow"
            and ports["From"] <= port <= ports["To"]
            and ipaddress.IPv4Network(source).subnet_of(ipaddress.IPv4Network(properties["CidrBlock"]))
        ):
            return True
    return False
