"""Aurora as the manifest describes it: numbers, zones, sign-in, what is kept and for how long."""

from collections.abc import Mapping
from typing import Any

import pytest
from aws_cdk import Stack

from slipway.infra.app import Resource
from slipway.infra.constructs.aurora import Aurora, AuroraProps, Capacity, Watching
from slipway.infra.constructs.secret import Generated, Secret, SecretProps
from slipway.runtime.postgres.installation import MAJOR_VERSION
from tests.infra.data_stacks import data
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


@pytest.mark.requirement("DAT-01", "T")
def test_production_has_a_reader_that_takes_over_and_is_watched() -> None:
    resources = data("rag-assistant", "prod")
    cluster = only(resources, "AWS::RDS::DBCluster")["Properties"]
    assert cluster["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 1, "MaxCapacity": 16}
    assert cluster["BackupRetentionPeriod"] == 7
    assert cluster["EnableIAMDatabaseAuthentication"] is True
    instances = [each["Properties"] for each in of_type(resources, "AWS::RDS::DBInstance")]
    assert [each["PromotionTier"] for each in instances] == [0, 1]
    assert {each["MonitoringInterval"] for each in instances} == {60}
    assert {each["EnablePerformanceInsights"] for each in instances} == {True}
    assert {each["PerformanceInsightsRetentionPeriod"] for each in instances} == {7}
    assert {each["PubliclyAccessible"] for each in instances} == {False}


@pytest.mark.requirement("DAT-01", "T")
def test_another_number_in_the_manifest_is_another_in_the_template() -> None:
    change = {
        "min_acu": 2, "max_acu": 32, "readers": 3, "point_in_time": "21d", "monitoring_every": "15s",
        "performance_insights": False, "iam_auth": False,
    }  # fmt: skip
    resources = data("rag-assistant", "prod", {"data": {"postgres": change}})
    cluster = only(resources, "AWS::RDS::DBCluster")["Properties"]
    assert cluster["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 2, "MaxCapacity": 32}
    assert cluster["BackupRetentionPeriod"] == 21
    assert cluster["EnableIAMDatabaseAuthentication"] is False
    instances = [each["Properties"] for each in of_type(resources, "AWS::RDS::DBInstance")]
    assert len(instances) == 4
    assert {each["MonitoringInterval"] for each in instances} == {15}
    assert {each["EnablePerformanceInsights"] for each in instances} == {False}


@pytest.mark.requirement("DAT-01", "T")
def test_one_zone_is_enough_where_the_manifest_says_so() -> None:
    assert len(of_type(data("rag-assistant", "dev"), "AWS::RDS::DBInstance")) == 1


def test_it_is_a_version_that_has_pgvector_and_that_a_laptop_runs_too() -> None:
    version = only(data("rag-assistant", "prod"), "AWS::RDS::DBCluster")["Properties"]["EngineVersion"]
    assert version.split(".")[0] == MAJOR_VERSION  # pgvector is among the extensions of every version from 15 on


def test_an_existing_cluster_joins_the_global_one_as_it_stands() -> None:
    resources = data("rag-assistant", "prod")
    joined = only(resources, "AWS::RDS::GlobalCluster")
    source = joined["Properties"]["SourceDBClusterIdentifier"]["Fn::GetAtt"][0]
    assert resources[source]["Type"] == "AWS::RDS::DBCluster"
    assert joined["Properties"]["GlobalClusterIdentifier"] == "rag-assistant-prod-postgres-global"
    assert "GlobalClusterIdentifier" not in resources[source]["Properties"]


def test_a_server_of_the_users_is_not_made() -> None:
    change = {"engine": "external", "url_env": "DATABASE_URL", "copy_to_recovery_region": False}
    resources = data("rag-assistant", "dev", {"data": {"postgres": change}})
    assert of_type(resources, "AWS::RDS::DBCluster") == []
    names = {each["Properties"]["Name"] for each in of_type(resources, "AWS::SecretsManager::Secret")}
    assert "/slipway/dev/rag-assistant/secrets/DATABASE_URL" in names
    assert "/slipway/dev/rag-assistant/secrets/postgres-owner" not in names
