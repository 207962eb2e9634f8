"""Aurora as the manifest describes it: numbers, zones, sign-in, what is kept and for how long."""

from collections.abc import Mapping
from typing import Any

import pytest
from aws_cdk import Stack

from slipway.infra.app import Resource
from slipway.infra.constructs.aurora import Aurora, AuroraProps, Capacity, Watching
from slipway.infra.constructs.secret import Generated, Secret, SecretProps
from tests.infra.synthesis import of_type, only, synthesized


def made(lasting: bool = True, iam_auth: bool = True, **changes: Any) -> Mapping[str, Resource]:
    numbers = {"min_acu": 1, "max_acu": 16, "readers": 1, "days": 7, "every_s": 60} | changes

    def make(scope: Stack) -> None:
        owner = Secret(
            scope,
            "Owner",
            SecretProps(
                name="/slipway/prod/x/postgres-owner",
                description="Owner",
                key_arn="key",
                generated=Generated(length=48, username="slipway_owner"),
                lasting=lasting,
            ),
        )
        Aurora(
            scope,
            "Aurora",
            AuroraProps(
                identifier="x-prod-postgres",
                capacity=Capacity(**{key: numbers[key] for key in ("min_acu", "max_acu", "readers")}),
                subnet_ids=["subnet-1", "subnet-2"],
                security_group_id="sg-1",
                key_arn="key",
                owner=owner,
                owner_name="slipway_owner",
                iam_auth=iam_auth,
                point_in_time_days=numbers["days"],
                watching=Watching(every_s=numbers["every_s"], insights=True, log_days=7, log_key_arn="log-key"),
                lasting=lasting,
            ),
        )

    return synthesized(make)


def test_no_password_stands_in_the_template_and_the_owners_is_generated() -> None:
    resources = made()
    cluster = only(resources, "AWS::RDS::DBCluster")["Properties"]
    [start, reference, rest] = cluster["MasterUserPassword"]["Fn::Join"][1]
    assert (start, rest) == ("{{resolve:secretsmanager:", ":SecretString:password}}")
    assert resources[reference["Ref"]]["Type"] == "AWS::SecretsManager::Secret"
    generation = only(resources, "AWS::SecretsManager::Secret")["Properties"]["GenerateSecretString"]
    assert generation["PasswordLength"] == 48
    assert "SecretString" not in only(resources, "AWS::SecretsManager::Secret")["Properties"]


@pytest.mark.parametrize("change", [{"max_acu": 8}, {"readers": 2}, {"days": 35}, {"every_s": 15}])
def test_each_number_is_the_one_given(change: Mapping[str, int]) -> None:
    resources = made(**change)
    cluster = only(resources, "AWS::RDS::DBCluster")["Properties"]
    instances = of_type(resources, "AWS::RDS::DBInstance")
    assert cluster["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 1, "MaxCapacity": change.get("max_acu", 16)}
    assert cluster["BackupRetentionPeriod"] == change.get("days", 7)
    assert len(instances) == 1 + change.get("readers", 1)
    assert {each["Properties"]["MonitoringInterval"] for each in instances} == {change.get("every_s", 60)}


def test_tls_is_forced_and_the_storage_encrypted_with_the_stores_own_key() -> None:
    resources = made()
    cluster = only(resources, "AWS::RDS::DBCluster")["Properties"]
    parameters = only(resources, "AWS::RDS::DBClusterParameterGroup")["Properties"]["Parameters"]
    assert parameters["rds.force_ssl"] == "1"
    assert cluster["StorageEncrypted"] is True
    assert cluster["KmsKeyId"] == "key"


def test_its_logs_are_kept_as_long_as_others_and_not_for_ever() -> None:
    resources = made()
    groups = {group["Properties"]["LogGroupName"]: group for group in of_type(resources, "AWS::Logs::LogGroup")}
    exports = only(resources, "AWS::RDS::DBCluster")["Properties"]["EnableCloudwatchLogsExports"]
    assert set(groups) == {f"/aws/rds/cluster/x-prod-postgres/{kind}" for kind in exports}
    assert {group["Properties"]["RetentionInDays"] for group in groups.values()} == {7}


def test_what_lasts_cannot_be_deleted_unawares_and_leaves_a_snapshot() -> None:
    lasting, passing = (only(made(lasting=each), "AWS::RDS::DBCluster") for each in (True, False))
    assert (lasting["Properties"]["DeletionProtection"], lasting["DeletionPolicy"]) == (True, "Snapshot")
    assert (passing["Properties"]["DeletionProtection"], passing["DeletionPolicy"]) == (False, "Delete")


def test_without_sampling_there_is_no_role_for_it() -> None:
    resources = made(every_s=0)
    assert of_type(resources, "AWS::IAM::Role") == []
    assert all("MonitoringRoleArn" not in each["Properties"] for each in of_type(resources, "AWS::RDS::DBInstance"))


def test_without_iam_sign_in_its_log_is_not_exported_either() -> None:
    cluster = only(made(iam_auth=False), "AWS::RDS::DBCluster")["Properties"]
    assert cluster["EnableIAMDatabaseAuthentication"] is False
    assert cluster["EnableCloudwatchLogsExports"] == ["postgresql"]
