"""Backups: when, for how long, of what, and where their copies go."""

from typing import Any

import pytest

from slipway.infra.constructs.backup_plan import START_WITHIN_MINUTES
from slipway.infra.constructs.replication import REPLICATED_WITHIN_MINUTES
from slipway.manifest.rules import reach
from tests.infra.data_stacks import data, targets
from tests.infra.synthesis import of_type, only

PLAN = "AWS::Backup::BackupPlan"
VAULT = "AWS::Backup::BackupVault"


def rules(resources: dict[str, Any]) -> dict[str, Any]:
    found = only(resources, PLAN)["Properties"]["BackupPlan"]["BackupPlanRule"]
    return {rule["RuleName"]: rule for rule in found}


@pytest.mark.requirement("DRP-01", "T")
def test_dailies_are_kept_35_days_weeklies_a_year_and_monthlies_seven() -> None:
    found = rules(data("rag-assistant", "prod"))
    assert {name: rule["Lifecycle"] for name, rule in found.items()} == {
        "daily": {"DeleteAfterDays": 35},
        "weekly": {"DeleteAfterDays": 365, "MoveToColdStorageAfterDays": 30},
        "monthly": {"DeleteAfterDays": 7 * 365, "MoveToColdStorageAfterDays": 30},
    }


@pytest.mark.requirement("DRP-01", "T")
def test_each_backup_is_copied_to_the_recovery_region_for_as_long() -> None:
    for name, rule in rules(data("rag-assistant", "prod")).items():
        [copy] = rule["CopyActions"]
        assert copy["DestinationBackupVaultArn"] == {"Ref": "RecoveryVaultArn"}, name
        assert copy["Lifecycle"] == rule["Lifecycle"]
    assert (
        only(targets("rag-assistant", "prod"), VAULT)["Properties"]["BackupVaultName"] == "rag-assistant-prod-backups"
    )


@pytest.mark.requirement("DRP-01", "T")
def test_other_days_in_the_manifest_are_others_in_the_plan() -> None:
    change = {"daily": "14d", "weekly": {"keep": "200d", "cold_after": "60d"}, "monthly": None}
    found = rules(data("rag-assistant", "prod", {"recovery": {"backups": change}}))
    assert {name: rule["Lifecycle"] for name, rule in found.items()} == {
        "daily": {"DeleteAfterDays": 14},
        "weekly": {"DeleteAfterDays": 200, "MoveToColdStorageAfterDays": 60},
    }


@pytest.mark.requirement("DRP-01", "T")
def test_in_one_region_there_are_no_copies() -> None:
    assert all("CopyActions" not in rule for rule in rules(data("rag-assistant", "dev")).values())


@pytest.mark.requirement("DRP-02", "T")
def test_the_plan_keeps_the_times_that_objectives_are_counted_with() -> None:
    found = rules(data("rag-assistant", "prod"))
    assert {rule["StartWindowMinutes"] for rule in found.values()} == {START_WITHIN_MINUTES}
    # A backup is as old as its interval, the time until it begins, and the time until it is whole.
    assert reach.BACKUP_DELAY.seconds // 60 - START_WITHIN_MINUTES == 180
    assert found["daily"]["ScheduleExpression"] == "cron(0 3 * * ? *)"
    assert found["weekly"]["ScheduleExpression"] == "cron(0 4 ? * SUN *)"
    assert found["monthly"]["ScheduleExpression"] == "cron(0 5 1 * ? *)"


@pytest.mark.requirement("DRP-02", "T")
def test_what_the_objectives_count_with_stands_in_the_templates() -> None:
    assert reach.REPLICATION_RPO.seconds // 60 == REPLICATED_WITHIN_MINUTES
    resources = data("mcp-hybrid", "prod")
    [rule] = only(resources, "AWS::S3::Bucket")["Properties"]["ReplicationConfiguration"]["Rules"]
    assert rule["Destination"]["ReplicationTime"] == {"Status": "Enabled", "Time": {"Minutes": 15}}
    assert len(of_type(resources, "AWS::RDS::GlobalCluster")) == 1
    for table in of_type(resources, "AWS::DynamoDB::GlobalTable"):
        assert [replica["Region"] for replica in table["Properties"]["Replicas"]] == ["us-east-1", "us-west-2"]


@pytest.mark.requirement("DRP-02", "T")
def test_without_the_declared_means_it_is_not_in_the_template_either() -> None:
    change = {
        "postgres": {"copy_to_recovery_region": False},
        "objects": {"copy_to_recovery_region": False},
        "dynamodb": {"copy_to_recovery_region": False},
    }
    resources = data("mcp-hybrid", "prod", {"data": change, "recovery": {"objectives": None, "accepted_gaps": []}})
    assert "ReplicationConfiguration" not in only(resources, "AWS::S3::Bucket")["Properties"]
    assert of_type(resources, "AWS::RDS::GlobalCluster") == []
    for table in of_type(resources, "AWS::DynamoDB::GlobalTable"):
        assert [replica["Region"] for replica in table["Properties"]["Replicas"]] == ["us-east-1"]


@pytest.mark.requirement("DRP-05", "T")
@pytest.mark.parametrize(
    ("blueprint", "kinds"),
    [
        ("microservices", ["AWS::EFS::FileSystem"]),
        ("rag-assistant", ["AWS::RDS::DBCluster", "AWS::S3::Bucket", "AWS::EFS::FileSystem"]),
        (
            "mcp-hybrid",
            [
                "AWS::RDS::DBCluster",
                "AWS::Neptune::DBCluster",
                "AWS::DynamoDB::GlobalTable",
                "AWS::DynamoDB::GlobalTable",
                "AWS::S3::Bucket",
            ],
        ),
    ],
)
def test_every_store_that_holds_data_is_backed_up_by_itself(blueprint: str, kinds: list[str]) -> None:
    resources = data(blueprint, "prod")
    selection = only(resources, "AWS::Backup::BackupSelection")["Properties"]["BackupSelection"]
    assert [resources[_named(arn)]["Type"] for arn in selection["Resources"]] == kinds


@pytest.mark.requirement("DRP-05", "T")
def test_file_systems_tables_graph_and_objects_keep_what_was() -> None:
    files = only(data("microservices", "prod"), "AWS::EFS::FileSystem")["Properties"]
    assert files["BackupPolicy"] == {"Status": "ENABLED"}
    none = {"recovery": {"backups": {"daily": None}, "objectives": None, "accepted_gaps": []}}
    files = only(data("microservices", "dev", none), "AWS::EFS::FileSystem")["Properties"]
    assert files["BackupPolicy"] == {"Status": "DISABLED"}
    hybrid = data("mcp-hybrid", "prod")
    for table in of_type(hybrid, "AWS::DynamoDB::GlobalTable"):
        for replica in table["Properties"]["Replicas"]:
            assert replica["PointInTimeRecoverySpecification"]["RecoveryPeriodInDays"] == 35
    assert only(hybrid, "AWS::Neptune::DBCluster")["Properties"]["BackupRetentionPeriod"] == 7
    bucket = only(hybrid, "AWS::S3::Bucket")["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert len(bucket["ReplicationConfiguration"]["Rules"]) == 1


def test_in_production_nobody_ends_a_backup_early() -> None:
    for resources in (data("rag-assistant", "prod"), targets("rag-assistant", "prod")):
        lock = only(resources, VAULT)["Properties"]["LockConfiguration"]
        assert lock == {"MinRetentionDays": 35, "MaxRetentionDays": 7 * 365}
    assert "LockConfiguration" not in only(data("rag-assistant", "staging"), VAULT)["Properties"]


def test_a_preview_is_not_backed_up() -> None:
    resources = data("preview-fargate", "preview")
    assert of_type(resources, PLAN) == of_type(resources, VAULT) == []


def _named(arn: Any) -> str:
    """The logical id in an ARN, which may be joined from parts."""
    if "Fn::GetAtt" in arn:
        return str(arn["Fn::GetAtt"][0])
    return next(part["Ref"] for part in arn["Fn::Join"][1] if isinstance(part, dict) and part["Ref"][:5] != "AWS::")
