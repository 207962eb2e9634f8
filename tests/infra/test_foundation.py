"""What everything stands on: keys, records of who did what, networks that exist, and those that are shared."""

import tempfile
from collections.abc import Mapping
from typing import Any

import pytest
from aws_cdk.assertions import Template

from slipway.infra.app import Resource, new_app, synthesize
from slipway.infra.site import site_of
from slipway.infra.stacks.foundation import FoundationStack
from slipway.manifest.sections.network import Network
from tests.infra.alterations import seen
from tests.infra.ground import Resources, foundation, referred, site, tag_of, texts
from tests.infra.synthesis import INPUTS, assembly, manifest_of, of_type, only

KEY = "AWS::KMS::Key"
BUCKET = "AWS::S3::Bucket"
EXISTING: Mapping[str, Any] = {
    "vpc": "vpc-0123456789abcdef0",
    "subnets": {
        "public": ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"],
        "private": ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2"],
        "isolated": ["subnet-0ccccccccccccccc1", "subnet-0ccccccccccccccc2"],
    },
}
_OWN_NETWORK = (
    "AWS::EC2::VPC",
    "AWS::EC2::Subnet",
    "AWS::EC2::NatGateway",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::FlowLog",
    "AWS::EC2::VPCEndpoint",
    "AWS::EC2::NetworkAcl",
    "AWS::SSM::Association",
)


def keys(resources: Resources) -> dict[str, Resource]:
    """The keys by their alias."""
    return {
        each["Properties"]["AliasName"].split("/")[-1]: resources[referred(each["Properties"]["TargetKeyId"])]
        for each in of_type(resources, "AWS::KMS::Alias")
    }


def statements(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["Sid"]: each for each in document["Statement"]}


@pytest.mark.requirement("SEC-04", "T")
@pytest.mark.parametrize("days", [365, 90])
def test_each_store_has_a_key_that_rotates_as_the_manifest_says(days: int) -> None:
    changes = None if days == 365 else {"data": {"keys": {"rotate_every": f"{days}d"}}}
    found = keys(foundation("rag-assistant", "prod", changes))
    assert found.keys() == {"postgres", "objects", "redis", "files", "secrets", "logs", "trail"}
    for key in found.values():
        assert key["Properties"]["EnableKeyRotation"] is True
        assert key["Properties"]["RotationPeriodInDays"] == days
        assert key["DeletionPolicy"] == "Retain"


@pytest.mark.requirement("SEC-04", "T")
def test_another_store_is_another_key() -> None:
    assert {"dynamodb", "neptune", "opensearch"} <= keys(foundation("mcp-hybrid", "prod")).keys()
    none = {"data": {"redis": None}}
    assert "redis" not in keys(foundation("rag-assistant", "prod", none))


@pytest.mark.requirement("SEC-04", "T")
def test_services_use_keys_for_this_account_alone() -> None:
    found = keys(foundation("rag-assistant", "prod"))
    for name, key in found.items():
        policy = statements(key["Properties"]["KeyPolicy"])
        account = policy.pop("Account")
        assert list(texts(account["Principal"]))[-1] == ":root"
        assert policy.keys() == {"logs": {"Logs"}, "trail": {"Trail"}}.get(name, set())
        assert all(statement["Condition"] for statement in policy.values())
    logs = statements(found["logs"]["Properties"]["KeyPolicy"])["Logs"]
    assert "AWS::AccountId" in set(texts(logs["Condition"]))


@pytest.mark.requirement("SEC-10", "T")
@pytest.mark.parametrize("blueprint", ["agent-gateways", "mcp-hybrid", "rag-assistant"])
def test_each_call_of_the_account_is_recorded_in_every_region(blueprint: str) -> None:
    resources = foundation(blueprint, "prod")
    trail = only(resources, "AWS::CloudTrail::Trail")["Properties"]
    assert trail["IsLogging"] is True
    assert trail["IsMultiRegionTrail"] is True
    assert trail["IncludeGlobalServiceEvents"] is True
    assert trail["EnableLogFileValidation"] is True
    assert referred(trail["KMSKeyId"]) in {n for n, each in resources.items() if each == keys(resources)["trail"]}
    bucket = resources[referred(trail["S3BucketName"])]
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["DeletionPolicy"] == "Retain"
    assert bucket["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.requirement("SEC-10", "T")
@pytest.mark.parametrize("days", [365, 730])
def test_records_are_kept_for_the_manifests_days(days: int) -> None:
    changes = None if days == 365 else {"audit": {"keep": f"{days}d"}}
    resources = foundation("rag-assistant", "prod", changes)
    trail = only(resources, "AWS::CloudTrail::Trail")["Properties"]
    [rule] = resources[referred(trail["S3BucketName"])]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] == days
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": days}


@pytest.mark.requirement("SEC-10", "T")
def test_only_this_trail_writes_records() -> None:
    resources = foundation("rag-assistant", "prod")
    bucket = referred(only(resources, "AWS::CloudTrail::Trail")["Properties"]["S3BucketName"])
    [policy] = [
        each["Properties"]["PolicyDocument"]
        for each in of_type(resources, "AWS::S3::BucketPolicy")
        if referred(each["Properties"]["Bucket"]) == bucket
    ]
    allowed = [each for each in policy["Statement"] if each["Effect"] == "Allow"]
    assert {each["Principal"]["Service"] for each in allowed} == {"cloudtrail.amazonaws.com"}
    assert all(":trail/rag-assistant-prod" in set(texts(each["Condition"]["StringEquals"])) for each in allowed)
    denied = {each["Sid"] for each in policy["Statement"] if each["Effect"] == "Deny"}
    assert denied == {"WithoutTls", "OldTls"}


@pytest.mark.requirement("SEC-10", "T")
def test_guard_duty_reads_along_where_the_manifest_says() -> None:
    detector = only(foundation("agent-gateways", "prod"), "AWS::GuardDuty::Detector")["Properties"]
    assert detector["Enable"] is True
    read = {each["Name"] for each in detector["Features"] if each["Status"] == "ENABLED"}
    assert read == {"EKS_AUDIT_LOGS", "LAMBDA_NETWORK_LOGS", "RDS_LOGIN_EVENTS", "S3_DATA_EVENTS"}
    without = foundation("rag-assistant", "prod", {"audit": {"guard_duty": False, "trail": False}})
    assert not of_type(without, "AWS::GuardDuty::Detector")
    assert not of_type(without, "AWS::CloudTrail::Trail")
    assert "trail" not in keys(without)


@pytest.mark.requirement("SEC-08", "T")
def test_every_bucket_and_log_group_is_encrypted() -> None:
    resources = foundation("rag-assistant", "prod")
    assert len(of_type(resources, BUCKET)) == 2
    for bucket in of_type(resources, BUCKET):
        assert bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    for group in of_type(resources, "AWS::Logs::LogGroup"):
        assert "KmsKeyId" in group["Properties"]


@pytest.mark.requirement("SEC-08", "T")
@pytest.mark.parametrize("blueprint", ["agent-gateways", "mcp-hybrid", "microservices", "rag-assistant"])
def test_whatever_holds_data_is_encrypted(blueprint: str) -> None:
    """Over all stacks: types that can be made without encryption, and the property that says so."""
    found = {
        name: _encrypted(each["Type"], each["Properties"])
        for name, each in assembly(blueprint, "prod").resources().items()
        if each["Type"] in _ENCRYPTION
    }
    assert found
    assert not {name for name, encrypted in found.items() if not encrypted}


_ENCRYPTION = {
    "AWS::S3::Bucket": "BucketEncryption",
    "AWS::RDS::DBCluster": "StorageEncrypted",
    "AWS::Neptune::DBCluster": "StorageEncrypted",
    "AWS::ElastiCache::ReplicationGroup": "AtRestEncryptionEnabled",
    "AWS::EFS::FileSystem": "Encrypted",
    "AWS::DynamoDB::Table": "SSESpecification",
    "AWS::DynamoDB::GlobalTable": "SSESpecification",
    "AWS::SNS::Topic": "KmsMasterKeyId",
    "AWS::SecretsManager::Secret": "KmsKeyId",
    "AWS::Backup::BackupVault": "EncryptionKeyArn",
    "AWS::OpenSearchService::Domain": "EncryptionAtRestOptions",
}


def _encrypted(kind: str, properties: Mapping[str, Any]) -> bool:
    value = properties.get(_ENCRYPTION[kind])
    if isinstance(value, Mapping) and {"SSEEnabled", "Enabled"} & value.keys():
        return value.get("SSEEnabled", value.get("Enabled")) is True
    return bool(value)


@pytest.mark.requirement("USR-02", "T")
def test_a_vpc_that_exists_is_used_as_it_is() -> None:
    network = Network.model_validate(EXISTING, strict=False)
    manifest = manifest_of("rag-assistant", "prod").model_copy(update={"network": network})
    with tempfile.TemporaryDirectory() as folder:
        stack = FoundationStack(new_app(folder), site_of(manifest, "prod", INPUTS))
        resources: Resources = seen(Template.from_stack(stack).to_json()["Resources"])
    assert not [each["Type"] for each in resources.values() if each["Type"] in _OWN_NETWORK]
    assert stack.vpc_id == EXISTING["vpc"]
    assert list(stack.public_subnet_ids) == EXISTING["subnets"]["public"]
    assert list(stack.private_subnet_ids) == EXISTING["subnets"]["private"]
    assert list(stack.task_subnet_ids) == EXISTING["subnets"]["private"]
    assert list(stack.data_subnet_ids) == EXISTING["subnets"]["isolated"]
    assert {each["Properties"]["VpcId"] for each in of_type(resources, "AWS::EC2::SecurityGroup")} == {EXISTING["vpc"]}
    assert only(resources, "AWS::ServiceDiscovery::PrivateDnsNamespace")["Properties"]["Vpc"] == EXISTING["vpc"]


@pytest.mark.requirement("USR-02", "T")
def test_every_stack_stands_in_the_vpc_that_exists() -> None:
    network = Network.model_validate(EXISTING, strict=False)
    manifest = manifest_of("rag-assistant", "prod").model_copy(update={"network": network})
    whole = synthesize(manifest, "prod", INPUTS)
    home = [stack for stack in whole.stacks if stack.region == "us-east-1"]
    resources = [each for stack in home for each in stack.resources().values()]
    assert not [each for each in resources if each["Type"] in _OWN_NETWORK]
    used = {text for each in resources for text in texts(each) if text.startswith(("subnet-", "vpc-"))}
    assert {*EXISTING["subnets"]["private"], *EXISTING["subnets"]["isolated"], EXISTING["vpc"]} <= used


@pytest.mark.requirement("USR-02", "T")
def test_roles_stay_within_the_boundary_of_the_manifest() -> None:
    resources = foundation("preview-fargate", "prod")
    roles = of_type(resources, "AWS::IAM::Role")
    assert roles
    for role in roles:
        assert ":policy/DeveloperBoundary" in set(texts(role["Properties"]["PermissionsBoundary"]))
    other = foundation("preview-fargate", "prod", {"delivery": {"boundary": "Other"}})
    assert all(
        ":policy/Other" in set(texts(r["Properties"]["PermissionsBoundary"])) for r in of_type(other, "AWS::IAM::Role")
    )


@pytest.mark.requirement("DLV-03", "T")
def test_a_preview_stands_in_the_network_of_the_environment_that_it_shares() -> None:
    preview, shared = foundation("preview-fargate", "preview"), assembly("preview-fargate", "dev").stack("foundation")
    assert not [each["Type"] for each in preview.values() if each["Type"] in _OWN_NETWORK]
    exports = {each["Export"]["Name"] for each in shared.template["Outputs"].values() if "Export" in each}
    imported = _imports(preview)
    assert imported <= exports
    assert {"preview-fargate-dev-network-vpc", "preview-fargate-dev-network-load-balancer-group"} <= imported


@pytest.mark.requirement("DLV-03", "T")
def test_a_preview_opens_its_own_tasks_to_the_shared_load_balancer_and_nothing_of_the_others() -> None:
    preview = foundation("preview-fargate", "preview")
    shared = {"Fn::ImportValue": "preview-fargate-dev-network-load-balancer-group"}
    inward = [each["Properties"] for each in of_type(preview, "AWS::EC2::SecurityGroupIngress")]
    assert any(each.get("SourceSecurityGroupId") == shared and "CidrIp" not in each for each in inward)
    assert not any(each["GroupId"] == shared and "CidrIp" in each for each in inward)  # a rule is in a group once
    assert not any("load-balancer" in tag_of(each, "Name") for each in of_type(preview, "AWS::EC2::SecurityGroup"))


@pytest.mark.requirement("DLV-03", "T")
def test_endpoints_of_a_shared_network_let_previews_in() -> None:
    changes = {"network": {"endpoints": ["s3", "ecr", "logs", "secrets"]}}
    shared = {"Fn::ImportValue": "preview-fargate-dev-network-endpoints-group"}
    inward = [
        each["Properties"]
        for each in of_type(foundation("preview-fargate", "preview", changes), "AWS::EC2::SecurityGroupIngress")
    ]
    assert {each["FromPort"] for each in inward if each["GroupId"] == shared} == {443}
    with tempfile.TemporaryDirectory() as folder:
        template = Template.from_stack(
            FoundationStack(new_app(folder), site("preview-fargate", "dev", changes))
        ).to_json()
    exports = {each["Export"]["Name"] for each in template["Outputs"].values() if "Export" in each}
    assert "preview-fargate-dev-network-endpoints-group" in exports


@pytest.mark.parametrize(("environment", "protected"), [("prod", True), ("dev", False)])
def test_production_alone_is_protected_from_deletion(environment: str, protected: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stack = FoundationStack(new_app(folder), site("rag-assistant", environment))
        assert stack.termination_protection is protected


def _imports(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {str(value["Fn::ImportValue"])} if "Fn::ImportValue" in value else set()
        return own.union(*(_imports(each) for each in value.values()))
    return set().union(*(_imports(each) for each in value)) if isinstance(value, list) else set()
