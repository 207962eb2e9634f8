"""Secrets and configuration: which there are, what they are called, and that no template holds a value."""

import json
import re
from typing import Any

import pytest

from tests.infra.data_stacks import data, stacks, targets
from tests.infra.synthesis import assembly, of_type

SECRET = "AWS::SecretsManager::Secret"
BLUEPRINTS = ("mcp-hybrid", "agent-gateways", "rag-assistant", "microservices", "preview-fargate")


def secrets(resources: dict[str, Any]) -> dict[str, Any]:
    return {each["Properties"]["Name"]: each for each in of_type(resources, SECRET)}


@pytest.mark.requirement("SEC-07", "T")
@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_no_secret_has_a_value_in_a_template(blueprint: str) -> None:
    for resources in stacks(blueprint, "prod").values():
        for secret in of_type(resources, SECRET):
            assert "SecretString" not in secret["Properties"]
        for cluster in (
            *of_type(resources, "AWS::RDS::DBCluster"),
            *of_type(resources, "AWS::ElastiCache::ReplicationGroup"),
        ):
            properties = cluster["Properties"]
            if "GlobalClusterIdentifier" in properties:  # a copy has the sign-ins of the first
                assert "MasterUserPassword" not in properties
                continue
            value = json.dumps(properties.get("MasterUserPassword") or properties.get("AuthToken"))
            assert "{{resolve:secretsmanager:" in value


@pytest.mark.requirement("SEC-07", "T")
def test_names_begin_with_the_environment_and_the_platform() -> None:
    for environment in ("dev", "prod"):
        resources = data("rag-assistant", environment)
        names = [
            *secrets(resources),
            *(each["Properties"]["Name"] for each in of_type(resources, "AWS::SSM::Parameter")),
        ]
        assert names
        assert all(name.startswith(f"/slipway/{environment}/rag-assistant/") for name in names)


@pytest.mark.requirement("SEC-07", "T")
def test_configuration_is_in_parameters_and_nothing_secret_is() -> None:
    parameters = {
        each["Properties"]["Name"].removeprefix("/slipway/prod/rag-assistant/"): each["Properties"]
        for each in of_type(data("rag-assistant", "prod"), "AWS::SSM::Parameter")
    }
    assert set(parameters) == {
        "postgres/endpoint", "postgres/reader", "redis/endpoint", "objects/bucket", "backups/vault",
    }  # fmt: skip
    for parameter in parameters.values():
        assert parameter["Type"] == "String"
        assert "secretsmanager" not in json.dumps(parameter["Value"])


@pytest.mark.requirement("SEC-07", "T")
def test_a_secret_that_a_service_names_is_made_for_somebody_to_fill() -> None:
    change = {"services": {"mindsdb": {"secrets": ["MINDSDB_PASSWORD", "LICENSE_KEY"]}}}
    filled = {
        name.rsplit("/")[-1]
        for name, secret in secrets(data("rag-assistant", "prod", change)).items()
        if "GenerateSecretString" not in secret["Properties"]
    }
    # The identity part fills the administrator's in.
    assert filled == {"MINDSDB_PASSWORD", "LICENSE_KEY", "SLIPWAY_ADMINISTRATOR_KEY"}


@pytest.mark.requirement("DAT-08", "T")
def test_a_managed_mongodb_has_a_secret_and_a_way_out_to_its_port_for_who_needs_it() -> None:
    resources = data("microservices", "prod")
    secret = secrets(resources)["/slipway/prod/microservices/secrets/MONGODB_URL"]
    assert "GenerateSecretString" not in secret["Properties"]
    ways = [
        each["Properties"]
        for each in of_type(
            assembly("microservices", "prod").stack("foundation").resources(), "AWS::EC2::SecurityGroupEgress"
        )
        if each["Properties"]["FromPort"] == 27017
    ]
    assert sorted(way["Description"] for way in ways) == ["backend calls mongodb", "functions calls mongodb"]


@pytest.mark.requirement("DAT-08", "T")
@pytest.mark.parametrize(("every", "rate"), [("5m", "rate(5 minutes)"), ("1m", "rate(1 minute)")])
def test_it_is_asked_whether_it_is_there_and_others_with_health_none_are_not(every: str, rate: str) -> None:
    resources = data("microservices", "prod", {"monitoring": {"synthetic_every": every}})
    [function] = of_type(resources, "AWS::Lambda::Function")
    asked = json.dumps(function["Properties"]["Environment"]["Variables"]["SLIPWAY_DEPENDENCIES"])
    assert "27017" in asked
    assert "tcp" in asked
    assert "gemini" not in asked
    [rule] = of_type(resources, "AWS::Events::Rule")
    assert rule["Properties"]["ScheduleExpression"] == rate
    nobody = {"dependencies": {"mongodb": {"health": "none"}}}
    assert of_type(data("microservices", "prod", nobody), "AWS::Lambda::Function") == []


@pytest.mark.requirement("DAT-08", "T")
def test_another_dependency_has_another_secret_and_port() -> None:
    change = {"dependencies": {"mongodb": {"secret": "ATLAS_URL", "port": 27018}}}
    resources = stacks("microservices", "prod", change)["data"]
    assert "/slipway/prod/microservices/secrets/ATLAS_URL" in secrets(resources)
    assert "/slipway/prod/microservices/secrets/MONGODB_URL" not in secrets(resources)


@pytest.mark.requirement("SEC-04", "T")
@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_each_store_is_encrypted_with_a_key_of_its_own(blueprint: str) -> None:
    resources = data(blueprint, "prod")
    kinds = (
        "AWS::RDS::DBCluster",
        "AWS::ElastiCache::ReplicationGroup",
        "AWS::Neptune::DBCluster",
        "AWS::EFS::FileSystem",
        "AWS::SecretsManager::Secret",
    )
    found = {kind: {each["Properties"]["KmsKeyId"] for each in of_type(resources, kind)} for kind in kinds}
    keys = [key for each in found.values() for key in each]
    assert len(set(keys)) == len(keys) > 0
    assert all(re.fullmatch(r"arn:aws:kms:.*:key/[a-z]+", key) for key in keys)


@pytest.mark.requirement("SEC-04", "T")
@pytest.mark.parametrize("days", [365, 180])
def test_the_keys_of_copies_and_backups_get_new_material_as_often_as_the_manifest_says(days: int) -> None:
    change = {"data": {"keys": {"rotate_every": f"{days}d"}}}
    for resources in stacks("mcp-hybrid", "prod", change).values():
        keys = of_type(resources, "AWS::KMS::Key")
        assert keys
        assert {each["Properties"]["RotationPeriodInDays"] for each in keys} == {days}
        assert {each["Properties"]["EnableKeyRotation"] for each in keys} == {True}


@pytest.mark.requirement("SEC-04", "T")
def test_what_is_copied_to_the_recovery_region_has_its_own_keys_there() -> None:
    aliases = {
        each["Properties"]["AliasName"].rsplit("/")[-1]
        for each in of_type(targets("mcp-hybrid", "prod"), "AWS::KMS::Alias")
    }
    assert aliases == {"backups", "dynamodb", "logs", "objects", "postgres", "secrets"}


def test_secrets_are_copied_to_the_recovery_region() -> None:
    for secret in of_type(data("rag-assistant", "prod"), SECRET):
        [copy] = secret["Properties"]["ReplicaRegions"]
        assert copy == {"Region": "us-west-2", "KmsKeyId": {"Ref": "RecoverySecretsKeyArn"}}
    assert all("ReplicaRegions" not in each["Properties"] for each in of_type(data("rag-assistant", "dev"), SECRET))
