"""Rules over what holds data: nobody outside reaches it, it is encrypted, backed up, and outlives its stack.

Used by `policies`, one resource at a time. Encryption and backups are asked by property, because the defaults of AWS
differ by service and change.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from slipway.infra.reasons import reasons_of

Resource = Mapping[str, Any]
_BLOCKS: Final = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
_WORLD: Final = frozenset({"0.0.0.0/0", "::/0"})
_FROM_ANYWHERE: Final = "AwsSolutions-EC23"  # cdk-nag's rule of the same meaning; one reason serves both
_PUBLIC_NETWORK: Final = '"AllowFromPublic":true'

# Which property says that a type is encrypted; the path is below Properties and its value is true or a key.
_ENCRYPTED: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS::CloudTrail::Trail": ("KMSKeyId",),
    "AWS::DynamoDB::GlobalTable": ("SSESpecification.SSEEnabled",),
    "AWS::DynamoDB::Table": ("SSESpecification.SSEEnabled",),
    "AWS::EC2::Volume": ("Encrypted",),
    "AWS::EFS::FileSystem": ("Encrypted",),
    "AWS::ElastiCache::ReplicationGroup": ("AtRestEncryptionEnabled", "TransitEncryptionEnabled"),
    "AWS::Neptune::DBCluster": ("StorageEncrypted",),
    "AWS::OpenSearchService::Domain": ("EncryptionAtRestOptions.Enabled", "NodeToNodeEncryptionOptions.Enabled"),
    "AWS::RDS::DBCluster": ("StorageEncrypted",),
    "AWS::RDS::GlobalCluster": ("StorageEncrypted",),
    "AWS::S3::Bucket": ("BucketEncryption.ServerSideEncryptionConfiguration",),
    "AWS::S3Vectors::VectorBucket": ("EncryptionConfiguration.KmsKeyArn",),
    "AWS::SNS::Topic": ("KmsMasterKeyId",),
}
# Types that must outlive their stack, and how each is got back when its content is damaged.
_KEPT_TYPES: Final = frozenset(
    {
        "AWS::Backup::BackupVault",
        "AWS::Cognito::UserPool",
        "AWS::DynamoDB::GlobalTable",
        "AWS::DynamoDB::Table",
        "AWS::EFS::FileSystem",
        "AWS::KMS::Key",
        "AWS::Neptune::DBCluster",
        "AWS::OpenSearchService::Domain",
        "AWS::RDS::DBCluster",
        "AWS::S3::Bucket",
        "AWS::S3Vectors::Index",
        "AWS::S3Vectors::VectorBucket",
    }
)
_KEPT: Final = frozenset({"Retain", "RetainExceptOnCreate", "Snapshot"})
_RESOURCE_POLICIES: Final[Mapping[str, str]] = {
    "AWS::KMS::Key": "KeyPolicy",
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
    "AWS::SecretsManager::ResourcePolicy": "ResourcePolicy",
}


def exposed(resource: Resource, declared: AbstractSet[int]) -> Iterator[str]:
    """How anybody on the internet reaches it; `declared` are the ports that the topology opens to the internet."""
    kind, properties = resource["Type"], resource.get("Properties", {})
    if kind == "AWS::S3::Bucket":
        blocks = properties.get("PublicAccessBlockConfiguration", {})
        open_doors = [name for name in _BLOCKS if blocks.get(name) is not True]
        if open_doors:
            yield f"public access is not blocked: {', '.join(open_doors)}"
    elif kind in ("AWS::RDS::DBInstance", "AWS::RDS::DBCluster", "AWS::Neptune::DBInstance"):
        if properties.get("PubliclyAccessible") is True:
            yield "has a public address"
    elif kind == "AWS::OpenSearchService::Domain" and "VPCOptions" not in properties:
        yield "stands outside the VPC"
    elif kind == "AWS::OpenSearchServerless::SecurityPolicy" and _PUBLIC_NETWORK in _squeezed(properties):
        yield "its collections answer the internet"
    elif kind == "AWS::EKS::Cluster" and properties.get("ResourcesVpcConfig", {}).get("EndpointPublicAccess", True):
        yield "its API answers the internet"
    elif kind in ("AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"):
        yield from _open_ports(resource, declared)
    if kind in _RESOURCE_POLICIES:
        yield from _for_everybody(properties.get(_RESOURCE_POLICIES[kind], {}))


def unencrypted(resource: Resource) -> Iterator[str]:
    """What of it is not encrypted."""
    kind, properties = resource["Type"], resource.get("Properties", {})
    if kind == "AWS::RDS::GlobalCluster" and "SourceDBClusterIdentifier" in properties:
        return  # as encrypted as the cluster that it is made of
    for path in _ENCRYPTED.get(kind, ()):
        if not _at(properties, path) or _at(properties, path) == "false":
            yield f"{path} is not set"
    if kind == "AWS::SQS::Queue" and not (
        properties.get("KmsMasterKeyId") or properties.get("SqsManagedSseEnabled") is True
    ):
        yield "neither KmsMasterKeyId nor SqsManagedSseEnabled is set"
    if kind == "AWS::EC2::LaunchTemplate":
        for mapping in properties.get("LaunchTemplateData", {}).get("BlockDeviceMappings", ()):
            if "Ebs" in mapping and mapping["Ebs"].get("Encrypted") is not True:
                yield f"the disk {mapping.get('DeviceName', '')} is not encrypted"
    if kind == "AWS::ElasticLoadBalancingV2::Listener" and properties.get("Protocol") in ("HTTPS", "TLS"):
        policy = str(properties.get("SslPolicy", "the default"))
        if "TLS13" not in policy:
            yield f"its SslPolicy is {policy}, which does not offer TLS 1.3"


def unbacked(name: str, resource: Resource, around: Mapping[str, Resource]) -> Iterator[str]:
    """Why what it holds cannot be got back."""
    kind, properties = resource["Type"], resource.get("Properties", {})
    if kind in ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable"):
        recovery = [properties, *properties.get("Replicas", ())]
        if not any(
            _at(each, "PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled") is True for each in recovery
        ):
            yield "point-in-time recovery is off"
    elif kind in ("AWS::RDS::DBCluster", "AWS::Neptune::DBCluster"):
        replica = properties.get("GlobalClusterIdentifier") is not None and "MasterUsername" not in properties
        if not properties.get("BackupRetentionPeriod") and not replica:
            yield "BackupRetentionPeriod is not set"
    elif kind == "AWS::S3::Bucket":
        if _at(properties, "VersioningConfiguration.Status") != "Enabled":
            yield "versioning is off: what is overwritten or deleted is gone"
    elif kind == "AWS::EFS::FileSystem":
        selected = any(
            each["Type"] == "AWS::Backup::BackupSelection" and f"'{name}'" in str(each.get("Properties", {}))
            for each in around.values()
        )
        if _at(properties, "BackupPolicy.Status") != "ENABLED" and not selected:
            yield "neither BackupPolicy nor a backup selection covers it"


def unretained(resource: Resource) -> Iterator[str]:
    """Whether it goes with its stack, or with its own replacement."""
    if resource["Type"] in _KEPT_TYPES:
        for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
            if resource.get(policy) not in _KEPT:
                yield f"{policy} is {resource.get(policy, 'Delete')}: what it holds would go with it"


def _open_ports(resource: Resource, declared: AbstractSet[int]) -> Iterator[str]:
    """Ports open to the world, but for those that the topology declares and a reason beside the group accepts."""
    properties = resource.get("Properties", {})
    rules = properties.get("SecurityGroupIngress", ()) if "SecurityGroupIngress" in properties else (properties,)
    reasoned = _FROM_ANYWHERE in reasons_of(resource)
    for rule in rules:
        if rule.get("CidrIp") in _WORLD or rule.get("CidrIpv6") in _WORLD:
            first, last = rule.get("FromPort"), rule.get("ToPort")
            if not (reasoned and first == last and first in declared):
                span = f"port {first}" + (f" to {last}" if last != first else "")
                yield f"lets the internet in at {'every port' if first in (None, -1) else span}"


def _for_everybody(document: Mapping[str, Any]) -> Iterator[str]:
    found = document.get("Statement", [])
    for statement in found if isinstance(found, list) else [found]:
        if statement.get("Effect") == "Allow" and not statement.get("Condition"):
            principal = statement.get("Principal")
            named = principal.get("AWS") if isinstance(principal, Mapping) else principal
            if named == "*" or (isinstance(named, list) and "*" in named):
                yield f"the statement {statement.get('Sid', 'without a Sid')} allows everybody"


def _squeezed(properties: Mapping[str, Any]) -> str:
    """A policy that stands in a property as JSON text, without spaces."""
    return str(properties.get("Policy", "")).replace(" ", "")


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
