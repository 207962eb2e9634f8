"""What holds data, read from templates alone: nobody outside reaches it, it is kept, and it can be got back."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tests.infra.reachability import Network
from tests.infra.reading import Found, Templates

_BLOCKS: Final = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
# What would be lost with it. A stack or a replacement must leave each of these behind.
_HOLDS: Final = frozenset(
    {
        "AWS::Backup::BackupVault", "AWS::Cognito::UserPool", "AWS::DynamoDB::GlobalTable", "AWS::DynamoDB::Table",
        "AWS::EFS::FileSystem", "AWS::KMS::Key", "AWS::Neptune::DBCluster", "AWS::OpenSearchServerless::Collection",
        "AWS::OpenSearchService::Domain", "AWS::RDS::DBCluster", "AWS::RDS::GlobalCluster", "AWS::S3::Bucket",
        "AWS::S3Vectors::Index", "AWS::S3Vectors::VectorBucket",
    }
)  # fmt: skip
_LEFT: Final = frozenset({"Retain", "RetainExceptOnCreate", "Snapshot"})
_TABLES: Final = ("AWS::DynamoDB::GlobalTable", "AWS::DynamoDB::Table")
_CLUSTERS: Final = ("AWS::RDS::DBCluster", "AWS::Neptune::DBCluster")
_IN_PRIVATE: Final = frozenset(
    {
        *_CLUSTERS, "AWS::ElastiCache::ReplicationGroup", "AWS::OpenSearchServerless::VpcEndpoint",
        "AWS::OpenSearchService::Domain", "AWS::EFS::MountTarget", "AWS::ECS::Service", "AWS::EC2::LaunchTemplate",
        "AWS::Lambda::Function",
    }
)  # fmt: skip
_POLICIES: Final[Mapping[str, str]] = {
    "AWS::DynamoDB::GlobalTable": "ResourcePolicy.PolicyDocument",
    "AWS::DynamoDB::Table": "ResourcePolicy.PolicyDocument",
    "AWS::EFS::FileSystem": "FileSystemPolicy",
    "AWS::KMS::Key": "KeyPolicy",
    "AWS::OpenSearchService::Domain": "AccessPolicies",
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SecretsManager::ResourcePolicy": "ResourcePolicy",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
}


def exposed(templates: Templates, network: Network) -> Iterator[str]:
    """How anybody outside could reach data, or what works on it."""
    for each in templates.of():
        yield from (f"{each.place}: {said}" for said in _open(each, templates))
    public = network.public_subnets()
    for (_, name), node in network.nodes.items():
        for subnet in sorted(node.subnets & public) if node.kinds & _IN_PRIVATE else ():
            yield f"{name} stands in {subnet}, which has a route to the internet"


def _open(each: Found, templates: Templates) -> Iterator[str]:
    look = _LOOKS.get(each.kind)
    if look is not None:
        yield from look(each.properties)
    if each.kind == "AWS::OpenSearchServerless::SecurityPolicy" and each.properties.get("Type") == "network":
        for rule in json.loads(templates.text(each.part, each.properties["Policy"])):
            if rule.get("AllowFromPublic") or not rule.get("SourceVPCEs"):
                yield "the collection answers the internet"
    if each.kind in _POLICIES:
        yield from _for_everybody(_at(each.properties, _POLICIES[each.kind]) or {}, templates, each)


def _open_bucket(properties: Mapping[str, Any]) -> Iterator[str]:
    blocks = properties.get("PublicAccessBlockConfiguration", {})
    yield from (f"the bucket does not set {block}" for block in _BLOCKS if blocks.get(block) is not True)


def _open_database(properties: Mapping[str, Any]) -> Iterator[str]:
    if properties.get("PubliclyAccessible") is True:
        yield "the database has a public address"


def _open_domain(properties: Mapping[str, Any]) -> Iterator[str]:
    if not _at(properties, "VPCOptions.SubnetIds"):
        yield "the domain stands outside the network"


def _open_cluster(properties: Mapping[str, Any]) -> Iterator[str]:
    if _at(properties, "ResourcesVpcConfig.EndpointPublicAccess") is not False:
        yield "the cluster's API answers the internet"


def _open_service(properties: Mapping[str, Any]) -> Iterator[str]:
    if _at(properties, "NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp") == "ENABLED":
        yield "its tasks have public addresses"


def _open_subnet(properties: Mapping[str, Any]) -> Iterator[str]:
    if properties.get("MapPublicIpOnLaunch"):
        yield "what starts in the subnet gets a public address"


_LOOKS: Final[Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]]] = {
    "AWS::EC2::Subnet": _open_subnet,
    "AWS::ECS::Service": _open_service,
    "AWS::EKS::Cluster": _open_cluster,
    "AWS::Neptune::DBInstance": _open_database,
    "AWS::OpenSearchService::Domain": _open_domain,
    "AWS::RDS::DBCluster": _open_database,
    "AWS::RDS::DBInstance": _open_database,
    "AWS::S3::Bucket": _open_bucket,
}


def _for_everybody(document: Mapping[str, Any], templates: Templates, holder: Found) -> Iterator[str]:
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal")
        named = principal.get("AWS", "") if isinstance(principal, Mapping) else principal
        anybody = "*" in templates.texts(holder.part, named)
        if statement.get("Effect") == "Allow" and anybody and not statement.get("Condition"):
            yield f"its policy allows everybody: {statement.get('Sid', 'a statement without a Sid')}"


def unkept(templates: Templates) -> Iterator[str]:
    """What would be lost with its stack, with its replacement, or by a mistake."""
    saved = _selected(templates)
    for each in templates.of(*_HOLDS):
        for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
            if each.resource.get(policy) not in _LEFT:
                yield f"{each.place}: {policy} is {each.resource.get(policy, 'Delete')}"
        yield from (f"{each.place}: {said}" for said in _unbacked(each, saved))


def _unbacked(each: Found, saved: frozenset[str]) -> Iterator[str]:
    properties = each.properties
    if each.kind in _TABLES:
        replicas = properties.get("Replicas", [properties])
        if not all(_at(r, "PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled") is True for r in replicas):
            yield "point-in-time recovery is off"
    elif each.kind in _CLUSTERS:
        if not properties.get("BackupRetentionPeriod") and not _is_copy(properties):
            yield "it keeps no backups"
    elif each.kind == "AWS::S3::Bucket":
        if _at(properties, "VersioningConfiguration.Status") != "Enabled":
            yield "it keeps no older versions"
    elif (
        each.kind == "AWS::EFS::FileSystem"
        and each.place not in saved
        and _at(properties, "BackupPolicy.Status") != "ENABLED"
    ):
        yield "no backup plan selects it"


def _is_copy(properties: Mapping[str, Any]) -> bool:
    """A cluster that is a copy of another region's has that one's backups until it stands alone."""
    return "GlobalClusterIdentifier" in properties and "MasterUsername" not in properties


def _selected(templates: Templates) -> frozenset[str]:
    """What backup plans select that have a rule, into a vault that is kept."""
    vaults = {vault.place for vault in templates.of("AWS::Backup::BackupVault")}
    plans = set()
    for plan in templates.of("AWS::Backup::BackupPlan"):
        rules = plan.properties["BackupPlan"].get("BackupPlanRule", ())
        targets = [place for rule in rules for place in templates.places(plan.part, rule["TargetBackupVault"])]
        if targets and vaults.issuperset(targets):
            plans.add(plan.place)
    return frozenset(
        place
        for selection in templates.of("AWS::Backup::BackupSelection")
        if plans.intersection(templates.places(selection.part, selection.properties["BackupPlanId"]))
        for text in templates.texts(selection.part, selection.properties["BackupSelection"].get("Resources", []))
        for place in templates.places(selection.part, text)
    )


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
