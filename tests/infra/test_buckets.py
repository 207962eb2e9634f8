"""The bucket of objects: encrypted, private, by TLS alone, with versions and a lifecycle in the manifest's days."""

from typing import Any

import pytest

from tests.infra.data_stacks import data, targets
from tests.infra.synthesis import of_type, only

BUCKET = "AWS::S3::Bucket"


def bucket(*arguments: Any) -> Any:
    return only(data(*arguments), BUCKET)


def copies(*arguments: Any) -> list[Any]:
    """Buckets of the recovery region that objects are copied to; another one there takes access logs."""
    found = targets(*arguments).items()
    return [each["Properties"] for key, each in found if each["Type"] == BUCKET and key.startswith("Objects")]


def rules(properties: Any) -> dict[str, Any]:
    return {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}


@pytest.mark.requirement("DAT-04", "T")
def test_it_is_encrypted_versioned_private_and_logged() -> None:
    properties = bucket("rag-assistant", "prod")["Properties"]
    [encryption] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert encryption["ServerSideEncryptionByDefault"]["KMSMasterKeyID"].endswith(":key/objects")
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["LoggingConfiguration"] == {
        "DestinationBucketName": "access-logs",
        "LogFilePrefix": "buckets/objects/",
    }


@pytest.mark.requirement("DAT-04", "T")
def test_without_versions_in_the_manifest_it_keeps_none() -> None:
    change = {"data": {"objects": {"versioning": False, "copy_to_recovery_region": False}}}
    assert bucket("preview-fargate", "prod", change)["Properties"]["VersioningConfiguration"] == {"Status": "Suspended"}


@pytest.mark.requirement("CST-05", "T")
@pytest.mark.parametrize(("infrequent", "archive", "kept"), [(30, 90, 90), (45, 120, 30)])
def test_objects_move_to_cheaper_classes_after_the_days_of_the_manifest(
    infrequent: int, archive: int, kept: int
) -> None:
    change = {"infrequent_after": f"{infrequent}d", "archive_after": f"{archive}d", "versions_kept": f"{kept}d"}
    found = rules(bucket("rag-assistant", "prod", {"data": {"objects": change}})["Properties"])
    assert found["cheaper-classes"]["Transitions"] == [
        {"StorageClass": "STANDARD_IA", "TransitionInDays": infrequent},
        {"StorageClass": "GLACIER_IR", "TransitionInDays": archive},
    ]
    assert found["older-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": kept}
    assert found["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


@pytest.mark.requirement("CST-05", "T")
def test_the_blueprints_own_days_hold_and_none_is_none() -> None:
    found = rules(bucket("rag-assistant", "prod")["Properties"])
    assert [each["TransitionInDays"] for each in found["cheaper-classes"]["Transitions"]] == [30, 90]
    never = bucket("rag-assistant", "prod", {"data": {"objects": {"infrequent_after": None, "archive_after": None}}})
    assert "cheaper-classes" not in rules(never["Properties"])


@pytest.mark.requirement("CST-05", "T")
def test_every_log_group_of_the_stores_ends() -> None:
    for days in (7, 14):
        groups = of_type(
            data("rag-assistant", "prod", {"monitoring": {"log_retention": f"{days}d"}}), "AWS::Logs::LogGroup"
        )
        assert groups
        assert {group["Properties"]["RetentionInDays"] for group in groups} == {days}


def test_nobody_comes_without_tls() -> None:
    resources = data("rag-assistant", "prod")
    policy = only(resources, "AWS::S3::BucketPolicy")["Properties"]
    statements = {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}
    assert {each["Effect"] for each in statements.values()} == {"Deny"}
    assert statements["WithoutTls"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statements["OldTls"]["Condition"] == {"NumericLessThan": {"s3:TlsVersion": "1.2"}}


def test_pages_of_the_manifests_origins_may_store_and_no_others() -> None:
    [rule] = bucket("rag-assistant", "prod")["Properties"]["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"] == ["https://shop.example.com"]
    assert "CorsConfiguration" not in bucket("preview-fargate", "prod")["Properties"]


def test_a_bucket_outlives_its_stack_but_a_previews_does_not() -> None:
    assert bucket("preview-fargate", "staging")["DeletionPolicy"] == "Retain"
    assert bucket("preview-fargate", "preview")["DeletionPolicy"] == "Delete"


def test_a_bucket_of_the_users_is_not_made() -> None:
    resources = data("preview-fargate", "prod", {"data": {"objects": {"bucket": "my-own-bucket"}}})
    assert of_type(resources, BUCKET) == []


@pytest.mark.requirement("DAT-04", "T")
def test_objects_are_copied_to_a_bucket_of_the_recovery_region_within_15_minutes() -> None:
    resources = data("rag-assistant", "prod")
    [rule] = only(resources, BUCKET)["Properties"]["ReplicationConfiguration"]["Rules"]
    assert rule["Status"] == rule["DeleteMarkerReplication"]["Status"] == "Enabled"
    assert rule["Destination"]["Bucket"] == {"Ref": "RecoveryBucketArn"}
    assert rule["Destination"]["EncryptionConfiguration"] == {"ReplicaKmsKeyID": {"Ref": "RecoveryObjectsKeyArn"}}
    assert rule["Destination"]["ReplicationTime"] == {"Status": "Enabled", "Time": {"Minutes": 15}}
    assert rule["SourceSelectionCriteria"]["SseKmsEncryptedObjects"] == {"Status": "Enabled"}


@pytest.mark.requirement("DAT-04", "T")
def test_the_copy_is_encrypted_versioned_private_and_ages_alike() -> None:
    [copy] = copies("rag-assistant", "prod")
    [encryption] = copy["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert copy["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(copy["PublicAccessBlockConfiguration"].values()) == {True}
    assert rules(copy) == rules(bucket("rag-assistant", "prod")["Properties"])


@pytest.mark.requirement("DAT-04", "T")
def test_without_a_recovery_region_or_a_wish_nothing_is_copied() -> None:
    assert "ReplicationConfiguration" not in bucket("rag-assistant", "dev")["Properties"]
    change = {"data": {"objects": {"copy_to_recovery_region": False}}, "recovery": {"objectives": None}}
    assert "ReplicationConfiguration" not in bucket("rag-assistant", "prod", change)["Properties"]
    assert copies("rag-assistant", "prod", change) == []


def test_the_role_that_copies_reads_one_bucket_and_writes_the_other() -> None:
    resources = data("rag-assistant", "prod")
    [policy] = [
        each["Properties"]["PolicyDocument"]
        for each in of_type(resources, "AWS::IAM::Policy")
        if each["Properties"]["PolicyName"] == "replicate"
    ]
    statements = {each["Sid"]: each for each in policy["Statement"]}
    assert set(statements["Copies"]["Action"]) == {"s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags"}
    assert "RecoveryBucketArn" in str(statements["Copies"]["Resource"])
    assert "RecoveryBucketArn" not in str(statements["SourceVersions"]["Resource"])
    assert statements["CopyKey"]["Action"] == ["kms:Encrypt"]
