"""Faults that must be caught before anything is deployed: each put into a stack that is sound without it."""

from typing import Any

import pytest

from slipway.infra.app import Assembly
from slipway.infra.checks import lint
from slipway.infra.policies import policies
from slipway.manifest import ManifestProblems
from slipway.operations.changes import changes
from slipway.operations.references import StackState
from tests.infra.synthesis import manifest_of
from tests.infra.templates import alarm, assembled, bucket, changed, database, role, table, tags

WATCHED = {"Database": database(), "Watch": alarm({"Ref": "Database"})}


def caught(assembly: Assembly) -> set[tuple[str, str]]:
    """(place, rule) of what refuses a plan: our rules and cfn-lint."""
    found = [*policies(assembly), *lint(assembly)]
    return {(finding.place, finding.rule) for finding in found if finding.refused}


def test_sound_stacks_have_no_finding():
    sound = assembled(Bucket=bucket(), Table=table(), **WATCHED)
    assert caught(sound) == set()


def test_wrong_property():
    faulty = changed(assembled(Bucket=bucket()), "data/Bucket", BucketEncrypton={})
    assert ("data/Bucket", "E3002") in caught(faulty)


def test_wrong_enum_that_cfn_lint_misses():
    faulty = changed(assembled(Table=table()), "data/Table", BillingMode="PAY_PER_REQUESTS")
    assert ("data/Table", "enum") in caught(faulty)
    [said] = [finding.message for finding in policies(faulty) if finding.rule == "enum"]
    assert said == "BillingMode is 'PAY_PER_REQUESTS', and AWS knows PAY_PER_REQUEST, PROVISIONED"


@pytest.mark.parametrize("source", [{"CidrIp": "0.0.0.0/0"}, {"CidrIpv6": "::/0"}])
@pytest.mark.parametrize("port", [22, 5432, 443])
def test_open_security_group(source: dict[str, str], port: int):
    group = {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {
            "GroupDescription": "data",
            "VpcId": "vpc-1",
            "SecurityGroupIngress": [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}],
            "Tags": tags(),
        },
    }
    assert ("data/Group", "public") in caught(assembled(Group=group))


def test_the_port_that_the_topology_opens_needs_a_reason_and_no_other_port_takes_it():
    def group(port: int, reasons: dict[str, str]) -> dict[str, Any]:
        rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": "0.0.0.0/0"}
        properties = {
            "GroupDescription": "load balancer",
            "VpcId": "vpc-1",
            "SecurityGroupIngress": [rule],
            "Tags": tags(),
        }
        return {
            "Type": "AWS::EC2::SecurityGroup",
            "Metadata": {"slipway:reasons": reasons},
            "Properties": properties,
        }

    reason = {"AwsSolutions-EC23": "it is the way in"}
    declared = {edge.port for edge in assembled().site.topology.edges if edge.source == "internet"}
    for port in declared:
        assert ("data/Group", "public") not in caught(assembled(Group=group(port, reason)))
        assert ("data/Group", "public") in caught(assembled(Group=group(port, {})))
    assert ("data/Group", "public") in caught(assembled(Group=group(22, reason)))


def test_public_bucket():
    faulty = changed(assembled(Bucket=bucket()), "data/Bucket", PublicAccessBlockConfiguration=None)
    assert ("data/Bucket", "public") in caught(faulty)


def test_bucket_policy_for_everybody():
    statement = {"Sid": "All", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "x"}
    policy = {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": {"Statement": [statement]}},
    }
    assert ("data/Policy", "public") in caught(assembled(Bucket=bucket(), Policy=policy))


@pytest.mark.parametrize(
    ("resource", "fault"),
    [
        (bucket(), {"BucketEncryption": None}),
        (table(), {"SSESpecification": None}),
        (database(), {"StorageEncrypted": False}),
        (database(), {"StorageEncrypted": None}),
    ],
)
def test_unencrypted_store(resource: dict[str, Any], fault: dict[str, Any]):
    assert ("data/Store", "unencrypted") in caught(changed(assembled(Store=resource), "data/Store", **fault))


@pytest.mark.parametrize("opened", [{"Action": "s3:*"}, {"Resource": "*"}, {"Resource": ["arn:aws:s3:::x", "y/*"]}])
def test_wildcard_grant(opened: dict[str, Any]):
    statement = {"Sid": "Files", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x", **opened}
    other = {"Sid": "Else", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::x"}
    assert ("data/Role", "wildcard") in caught(assembled(Role=role(statement, other)))
    pinned_elsewhere = role(statement, other, reasons={"Else": "its own"})
    assert ("data/Role", "wildcard") in caught(assembled(Role=pinned_elsewhere))
    pinned = role(statement, other, reasons={"Files": "each tenant has a prefix"})
    assert ("data/Role", "wildcard") not in caught(assembled(Role=pinned))


@pytest.mark.parametrize("tag", ["Project", "Environment", "Owner", "CostCenter", "ManagedBy"])
def test_missing_tag(tag: str):
    rest = [each for each in tags() if each["Key"] != tag]
    faulty = changed(assembled(Bucket=bucket()), "data/Bucket", Tags=rest)
    assert ("data/Bucket", "untagged") in caught(faulty)


@pytest.mark.parametrize("copied", [False, True])
def test_backup_rule_that_aws_refuses(copied: bool):
    """002's dailies: cold after 7 days, deleted after 35; AWS Backup wants 90 days between."""
    lifecycle = {"MoveToColdStorageAfterDays": 7, "DeleteAfterDays": 35}
    rule = {"RuleName": "daily", "TargetBackupVault": "vault", "ScheduleExpression": "cron(0 5 * * ? *)"}
    if copied:
        rule["CopyActions"] = [{"DestinationBackupVaultArn": "arn:aws:backup:us-west-2:1:x", "Lifecycle": lifecycle}]
    else:
        rule["Lifecycle"] = lifecycle
    plan = {
        "Type": "AWS::Backup::BackupPlan",
        "Properties": {"BackupPlan": {"BackupPlanName": "plan", "BackupPlanRule": [rule]}, "BackupPlanTags": {}},
    }
    assert ("data/Plan", "backup-rule") in caught(assembled(Plan=plan))
    lifecycle["DeleteAfterDays"] = 97
    assert ("data/Plan", "backup-rule") not in caught(assembled(Plan=plan))


def test_service_that_nobody_watches():
    assert ("data/Database", "unalarmed") in caught(assembled(Database=database()))
    assert ("data/Database", "unalarmed") not in caught(assembled(**WATCHED))


@pytest.mark.parametrize(
    ("resource", "fault"),
    [
        (bucket(), {"VersioningConfiguration": {"Status": "Suspended"}}),
        (table(), {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": False}}),
        (database(), {"BackupRetentionPeriod": None}),
    ],
)
def test_unbacked_store(resource: dict[str, Any], fault: dict[str, Any]):
    assert ("data/Store", "unbacked") in caught(changed(assembled(Store=resource), "data/Store", **fault))


def test_store_that_goes_with_its_stack():
    faulty = {**bucket(), "DeletionPolicy": "Delete"}
    assert ("data/Store", "unretained") in caught(assembled(Store=faulty))


def test_rpo_that_backups_cannot_meet():
    with pytest.raises(ManifestProblems, match="may lose"):
        manifest_of("rag-assistant", "prod", {"recovery": {"objectives": {"rpo": "1m", "rto": "4h"}}})


def test_replaced_database():
    before = assembled(Database=database())
    after = changed(before, "data/Database", DatabaseName="another")
    [change] = changes(*(_states(each) for each in (before, after)))
    assert (change.place, change.action, change.why) == ("data/Database", "replace", ("DatabaseName",))
    assert change.loses_data
    assert change.kept  # a snapshot stays


def _states(assembly: Assembly) -> list[StackState]:
    return [StackState(part=s.part, name=s.name, region=s.region, template=s.template) for s in assembly.stacks]
