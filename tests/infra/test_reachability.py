"""The judge: it finds nothing in the blueprints, and each fault that is put into their templates."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slipway.infra.app import Assembly
from tests.infra.judge import faults
from tests.infra.synthesis import assembly

Stacks = dict[str, dict[str, Any]]
PLACES = [
    ("agent-gateways", "dev"),
    ("agent-gateways", "prod"),
    ("mcp-hybrid", "dev"),
    ("mcp-hybrid", "prod"),
    ("microservices", "prod"),
    ("preview-fargate", "preview"),
    ("preview-fargate", "prod"),
    ("rag-assistant", "dev"),
    ("rag-assistant", "prod"),
]
RULE = "AWS::EC2::SecurityGroupEgress", "AWS::EC2::SecurityGroupIngress"


@pytest.mark.requirement("NET-06", "T")
@pytest.mark.parametrize(("blueprint", "environment"), PLACES)
def test_each_part_reaches_what_it_needs_and_nothing_else(blueprint: str, environment: str) -> None:
    assert faults(assembly(blueprint, environment)) == []


def seeded(blueprint: str, environment: str, change: Callable[[Stacks], None]) -> set[str]:
    """What the judge says of a blueprint after a change of its templates."""
    sound = assembly(blueprint, environment)
    templates: Stacks = {stack.part: copy.deepcopy(dict(stack.template)) for stack in sound.stacks}
    change(templates)
    stacks = tuple(
        replace(stack, template=templates[stack.part], text=json.dumps(templates[stack.part])) for stack in sound.stacks
    )
    return set(faults(Assembly(sound.site, stacks)))


def found(stacks: Stacks, kind: str, start: str = "") -> dict[str, Any]:
    """The one resource of a type whose logical id starts so."""
    [resource] = [
        resource
        for template in stacks.values()
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind and name.startswith(start)
    ]
    return dict_of(resource)


def dict_of(value: Any) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def group(stacks: Stacks, start: str) -> Any:
    """A reference to a security group of the foundation."""
    [name] = [
        name
        for name, resource in stacks["foundation"]["Resources"].items()
        if resource["Type"] == "AWS::EC2::SecurityGroup"
        and name.startswith(f"Groups{start}")
        and len(name) == len(start) + 14
    ]
    return {"Fn::GetAtt": [name, "GroupId"]}


def open_passage(stacks: Stacks, source: str, target: str, port: int) -> None:
    """A rule on both sides."""
    sides = (
        ("Ingress", {"GroupId": group(stacks, target), "SourceSecurityGroupId": group(stacks, source)}),
        ("Egress", {"GroupId": group(stacks, source), "DestinationSecurityGroupId": group(stacks, target)}),
    )
    for side, ends in sides:
        stacks["foundation"]["Resources"][f"Seeded{side}"] = {
            "Type": f"AWS::EC2::SecurityGroup{side}",
            "Properties": {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **ends},
        }


def test_a_passage_that_nothing_needs() -> None:
    said = seeded("rag-assistant", "prod", lambda stacks: open_passage(stacks, "Mindsdb", "Postgres", 5432))
    assert said == {"mindsdb reaches postgres at 5432, and nothing needs that"}


def test_a_range_of_ports_in_place_of_one() -> None:
    def widen(stacks: Stacks) -> None:
        for side in ("In", "Out"):
            kind = "AWS::EC2::SecurityGroup" + {"In": "Ingress", "Out": "Egress"}[side]
            rule = found({"foundation": stacks["foundation"]}, kind, f"GroupsGatewayToRedis6379{side}")
            rule["Properties"] |= {"FromPort": 6000, "ToPort": 7000}

    assert "gateway reaches redis at 6000-7000, and nothing needs that" in seeded("rag-assistant", "prod", widen)


def test_a_rule_for_addresses_in_place_of_a_group() -> None:
    def let_in(stacks: Stacks) -> None:
        stacks["foundation"]["Resources"]["Seeded"] = {
            "Type": "AWS::EC2::SecurityGroupIngress",
            "Properties": {
                "GroupId": group(stacks, "Redis"), "IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379,
                "CidrIp": "10.0.0.0/16",
            },
        }  # fmt: skip

    assert seeded("rag-assistant", "prod", let_in) == {"redis lets addresses in: 10.0.0.0/16"}


def test_the_internet_let_in_to_a_store() -> None:
    def let_in(stacks: Stacks) -> None:
        own = found({"foundation": stacks["foundation"]}, "AWS::EC2::SecurityGroup", "GroupsPostgres")
        own["Properties"]["SecurityGroupIngress"] = [
            {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "CidrIp": "0.0.0.0/0"}
        ]

    said = seeded("rag-assistant", "dev", let_in)
    assert "internet reaches postgres at 5432, and nothing needs that" in said
    assert "postgres lets addresses in: 0.0.0.0/0" in said


@pytest.mark.parametrize("side", ["In", "Out"])
def test_a_passage_closed_on_one_side(side: str) -> None:
    def close(stacks: Stacks) -> None:
        resources = stacks["foundation"]["Resources"]
        [name] = [name for name in resources if name.startswith(f"GroupsGatewayToRedis6379{side}")]
        del resources[name]

    assert seeded("rag-assistant", "prod", close) == {"gateway does not reach redis at 6379, which it needs"}


def test_a_way_out_that_is_gone_and_one_that_nothing_needs() -> None:
    def move(stacks: Stacks) -> None:
        rule = found({"foundation": stacks["foundation"]}, RULE[0], "GroupsBackendToAnywhere27017")
        rule["Properties"] |= {"FromPort": 27018, "ToPort": 27018}

    assert seeded("microservices", "prod", move) == {
        "backend does not reach 0.0.0.0/0 at 27017, which it needs",
        "backend reaches 0.0.0.0/0 at 27018, and nothing needs that",
    }


def test_a_group_without_a_rule_lets_everything_out() -> None:
    def forget(stacks: Stacks) -> None:
        own = found({"foundation": stacks["foundation"]}, "AWS::EC2::SecurityGroup", "GroupsRedis")
        del own["Properties"]["SecurityGroupEgress"]

    # `redis` stands in private subnets here, which have a route; in isolated ones it still would get nowhere.
    assert "redis reaches 0.0.0.0/0 at 0-65535: a store calls nobody" in seeded("agent-gateways", "prod", forget)
    assert seeded("rag-assistant", "prod", forget) == set()


def test_an_acl_that_stops_answers() -> None:
    def forget(stacks: Stacks) -> None:
        resources = stacks["foundation"]["Resources"]
        for name in [name for name in resources if name.startswith("AclsIsolatedOut100")]:
            del resources[name]

    assert seeded("preview-fargate", "prod", forget) == {"api does not reach postgres at 5432, which it needs"}


def test_a_route_that_is_gone_is_no_way_out() -> None:
    def forget(stacks: Stacks) -> None:
        resources = stacks["foundation"]["Resources"]
        for name in [name for name in resources if name.startswith("NatPrivate")]:
            del resources[name]

    # Without a way for anybody, nothing is called that must be: `without_nat` of the manifest asks for endpoints.
    assert seeded("preview-fargate", "prod", forget) == set()


def test_a_pods_policy_wider_and_narrower() -> None:
    def swap(text: str, old: str, new: str) -> str:
        assert old in text
        return text.replace(old, new)

    def edit(stacks: Stacks, old: str, new: str) -> None:
        version = found(stacks, "AWS::AppConfig::HostedConfigurationVersion", "Manifests")
        parts = version["Properties"]["Content"]["Fn::Join"][1]
        whole = json.dumps(parts)
        version["Properties"]["Content"]["Fn::Join"][1] = json.loads(
            swap(whole, json.dumps(old)[1:-1], json.dumps(new)[1:-1])
        )

    own = '"kind":"NetworkPolicy","metadata":{"name":"memory"'
    wider = '"kind":"Ignored","metadata":{"name":"memory"'
    everything = '"spec":{"podSelector":{},"policyTypes":["Ingress","Egress"]}'
    # Its own policy gone, the one that refuses everything is left.
    said = seeded("agent-gateways", "prod", lambda stacks: edit(stacks, own, wider))
    assert "memory does not reach postgres at 5432, which it needs" in said
    # With that one gone as well, a pod without a policy reaches whatever lets it in.
    gone = '"spec":{"podSelector":{"matchLabels":{"none":"none"}},"policyTypes":["Ingress","Egress"]}'

    def both(stacks: Stacks) -> None:
        edit(stacks, own, wider)
        edit(stacks, everything, gone)

    said = seeded("agent-gateways", "prod", both)
    assert "memory reaches redis at 6379, and nothing needs that" in said


def allow(stacks: Stacks, role: str, action: str, resource: Any) -> None:
    own = found(stacks, "AWS::IAM::Role", role)
    statement = {"Sid": "Seeded", "Effect": "Allow", "Action": action, "Resource": resource}
    own["Properties"]["Policies"][0]["PolicyDocument"]["Statement"].append(statement)


def test_a_right_that_nothing_needs() -> None:
    def more(stacks: Stacks) -> None:
        allow(stacks, "MemoryTaskRole", "s3:GetObject", "arn:aws:s3:::another/*")
        allow(stacks, "GatewayTaskRole", "bedrock:*", "*")

    assert seeded("rag-assistant", "prod", more) == {
        "memory may s3:GetObject on arn:aws:s3:::another/*, and nothing needs that",
        "gateway may bedrock:* on *, and nothing needs that",
    }


def test_a_right_that_is_gone_and_one_without_its_condition() -> None:
    def less(stacks: Stacks) -> None:
        own = found(stacks, "AWS::IAM::Role", "McpToolsTaskRole")
        statements = own["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        statements[:] = [each for each in statements if each["Sid"] != "NeptuneQuery"]
        for each in statements:
            each.pop("Condition", None)

    said = seeded("mcp-hybrid", "prod", less)
    assert "mcp-tools may not neptune-db:ReadDataViaQuery on neptune-db:<neptune>/*, which it needs" in said
    assert "mcp-tools may s3:ListBucket on <objects>, and nothing needs that" in said
    assert "mcp-tools may kms:Decrypt on <key of objects>, and nothing needs that" in said


def test_a_managed_policy_and_what_allows_all_but() -> None:
    def more(stacks: Stacks) -> None:
        own = found(stacks, "AWS::IAM::Role", "ApiTaskRole")
        own["Properties"]["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/AdministratorAccess"]
        own["Properties"]["Policies"][0]["PolicyDocument"]["Statement"].append(
            {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}
        )

    said = seeded("preview-fargate", "prod", more)
    assert "api may everything of on arn:aws:iam::aws:policy/AdministratorAccess, and nothing needs that" in said
    assert any(each.startswith("api may everything but on ") for each in said)


def test_a_secret_of_somebody_else() -> None:
    def hand(stacks: Stacks) -> None:
        gateway = found(stacks, "AWS::ECS::TaskDefinition", "GatewayTask")["Properties"]["ContainerDefinitions"][0]
        memory = found(stacks, "AWS::ECS::TaskDefinition", "MemoryTask")["Properties"]["ContainerDefinitions"][0]
        memory["Secrets"].append(next(s for s in gateway["Secrets"] if s["Name"] == "SLIPWAY_REDIS_TOKEN"))
        gateway["Secrets"] = []

    # Whoever starts the gateway may still read its secrets: what is handed over is the sum.
    assert seeded("rag-assistant", "prod", hand) == {"memory is handed the secret redis-token, and nothing needs that"}


def test_a_stranger_in_the_collections_policy() -> None:
    def let_in(stacks: Stacks) -> None:
        policy = found(stacks, "AWS::OpenSearchServerless::AccessPolicy", "Search")["Properties"]["Policy"]["Fn::Join"]
        retrieval, memory = (
            next(name for name in stacks["platform"]["Resources"] if name.startswith(f"{each}TaskRole"))
            for each in ("Retrieval", "Memory")
        )
        policy[1] = json.loads(json.dumps(policy[1]).replace(retrieval, memory))

    assert seeded("mcp-hybrid", "prod", let_in) == {
        "memory is in the collection's policy, and nothing needs that",
        "retrieval is not in the collection's policy, and needs it",
    }


def properties(kind: str, start: str = "", part: str = "data", **values: Any) -> Callable[[Stacks], None]:
    def change(stacks: Stacks) -> None:
        found({part: stacks[part]}, kind, start)["Properties"].update(values)

    return change


def policy_for_everybody(stacks: Stacks) -> None:
    policy = found({"data": stacks["data"]}, "AWS::S3::BucketPolicy", "Objects")
    statement = {
        "Sid": "All",
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": "s3:GetObject",
        "Resource": "*",
    }
    policy["Properties"]["PolicyDocument"]["Statement"].append(statement)


def into_public_subnets(stacks: Stacks) -> None:
    resources = stacks["foundation"]["Resources"]
    for name, resource in resources.items():
        if name.startswith("NetworkIsolated1Association"):
            table = next(each for each in resources if each.startswith("NetworkPublic1Routes"))
            resource["Properties"]["RouteTableId"] = {"Fn::GetAtt": [table, "RouteTableId"]}


@pytest.mark.parametrize(
    ("blueprint", "change", "said"),
    [
        (
            "mcp-hybrid",
            properties("AWS::RDS::DBInstance", "PostgresInstance0", PubliclyAccessible=True),
            "the database has a public address",
        ),
        (
            "mcp-hybrid",
            properties("AWS::S3::Bucket", "Objects", PublicAccessBlockConfiguration={"BlockPublicAcls": True}),
            "the bucket does not set BlockPublicPolicy",
        ),
        ("mcp-hybrid", policy_for_everybody, "its policy allows everybody: All"),
        ("mcp-hybrid", into_public_subnets, "which has a route to the internet"),
        (
            "mcp-hybrid",
            properties(
                "AWS::OpenSearchServerless::SecurityPolicy",
                "VectorsNetwork",
                Policy=json.dumps([{"Rules": [], "AllowFromPublic": True}]),
            ),
            "the collection answers the internet",
        ),
        (
            "agent-gateways",
            properties("AWS::OpenSearchService::Domain", VPCOptions={}),
            "the domain stands outside the network",
        ),
        (
            "agent-gateways",
            properties("AWS::OpenSearchService::Domain", AccessPolicies={
                "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "es:*", "Resource": "*"}]
            }),
            "its policy allows everybody: a statement without a Sid",
        ),
    ],
)  # fmt: skip
@pytest.mark.requirement("NET-06", "T")
def test_a_public_store(blueprint: str, change: Callable[[Stacks], None], said: str) -> None:
    assert any(said in each for each in seeded(blueprint, "prod", change))


def policy_of(kind: str, start: str, policy: str) -> Callable[[Stacks], None]:
    def change(stacks: Stacks) -> None:
        found({"data": stacks["data"]}, kind, start)[policy] = "Delete"

    return change


def without_backup(stacks: Stacks) -> None:
    files = found({"data": stacks["data"]}, "AWS::EFS::FileSystem")
    files["Properties"]["BackupPolicy"] = {"Status": "DISABLED"}
    selection = found({"data": stacks["data"]}, "AWS::Backup::BackupSelection")["Properties"]["BackupSelection"]
    selection["Resources"] = [each for each in selection["Resources"] if "Files" not in json.dumps(each)]


def without_rules(stacks: Stacks) -> None:
    files = found({"data": stacks["data"]}, "AWS::EFS::FileSystem")
    del files["Properties"]["BackupPolicy"]
    found({"data": stacks["data"]}, "AWS::Backup::BackupPlan")["Properties"]["BackupPlan"]["BackupPlanRule"] = []


def table_without(stacks: Stacks) -> None:
    table = found({"data": stacks["data"]}, "AWS::DynamoDB::GlobalTable", "TableMetadata")
    table["Properties"]["Replicas"][1]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] = False


@pytest.mark.parametrize(
    ("blueprint", "change", "said"),
    [
        ("rag-assistant", policy_of("AWS::RDS::DBCluster", "", "DeletionPolicy"), "DeletionPolicy is Delete"),
        ("rag-assistant", policy_of("AWS::S3::Bucket", "Objects", "UpdateReplacePolicy"), "UpdateReplacePolicy is"),
        ("rag-assistant", policy_of("AWS::EFS::FileSystem", "", "DeletionPolicy"), "DeletionPolicy is Delete"),
        ("mcp-hybrid", policy_of("AWS::OpenSearchServerless::Collection", "", "DeletionPolicy"), "DeletionPolicy is"),
        ("mcp-hybrid", policy_of("AWS::Neptune::DBCluster", "", "UpdateReplacePolicy"), "UpdateReplacePolicy is"),
        ("rag-assistant", properties("AWS::RDS::DBCluster", BackupRetentionPeriod=None), "it keeps no backups"),
        ("mcp-hybrid", properties("AWS::Neptune::DBCluster", BackupRetentionPeriod=0), "it keeps no backups"),
        ("rag-assistant", properties("AWS::S3::Bucket", "Objects", VersioningConfiguration={}), "no older versions"),
        ("rag-assistant", without_backup, "no backup plan selects it"),
        ("rag-assistant", without_rules, "no backup plan selects it"),
        ("mcp-hybrid", table_without, "point-in-time recovery is off"),
    ],
)  # fmt: skip
def test_a_store_that_would_be_lost(blueprint: str, change: Callable[[Stacks], None], said: str) -> None:
    [fault] = seeded(blueprint, "prod", change)
    assert said in fault


def test_what_is_needed_and_stands_nowhere() -> None:
    def forget(stacks: Stacks) -> None:
        for part, kind, start in (
            ("data", "AWS::ElastiCache::ReplicationGroup", ""),
            ("platform", "AWS::ECS::Service", "Chat"),
        ):
            resources = stacks[part]["Resources"]
            for name in [n for n, r in resources.items() if r["Type"] == kind and n.startswith(start)]:
                del resources[name]

    said = seeded("rag-assistant", "prod", forget)
    assert {"gateway needs redis, which stands nowhere", "chat runs nowhere"} <= said
