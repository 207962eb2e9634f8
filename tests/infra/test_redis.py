"""Redis as the manifest describes it: zones, encryption on the way and at rest, and a token that is in no template."""

import json

import pytest

from tests.infra.data_stacks import data
from tests.infra.synthesis import of_type, only

GROUP = "AWS::ElastiCache::ReplicationGroup"


@pytest.mark.requirement("DAT-03", "T")
def test_two_zones_tls_encryption_and_a_token_from_secrets_manager() -> None:
    resources = data("rag-assistant", "prod")
    group = only(resources, GROUP)["Properties"]
    assert (group["NumCacheClusters"], group["MultiAZEnabled"], group["AutomaticFailoverEnabled"]) == (2, True, True)
    assert (group["TransitEncryptionEnabled"], group["TransitEncryptionMode"]) == (True, "required")
    assert (group["AtRestEncryptionEnabled"], group["KmsKeyId"].rsplit("/")[-1]) == (True, "redis")
    [start, reference, rest] = group["AuthToken"]["Fn::Join"][1]
    assert (start, rest) == ("{{resolve:secretsmanager:", ":SecretString}}")
    secret = resources[reference["Ref"]]["Properties"]
    assert secret["Name"] == "/slipway/prod/rag-assistant/secrets/redis-token"
    # What ElastiCache takes: 16 to 128 characters, and few that are no letters or digits.
    assert 16 <= secret["GenerateSecretString"]["PasswordLength"] <= 128
    assert secret["GenerateSecretString"]["ExcludePunctuation"] is True
    assert group["CacheNodeType"] == "cache.t4g.small"


@pytest.mark.requirement("DAT-03", "T")
def test_its_numbers_are_the_manifests() -> None:
    changed = data("rag-assistant", "prod", {"data": {"redis": {"multi_az": False, "node": "cache.m7g.large"}}})
    group = only(changed, GROUP)["Properties"]
    assert (group["NumCacheClusters"], group["MultiAZEnabled"], group["AutomaticFailoverEnabled"]) == (1, False, False)
    assert group["CacheNodeType"] == "cache.m7g.large"


def test_slow_commands_are_logged_as_long_as_the_manifest_says() -> None:
    for days in (7, 30):
        resources = data("agent-gateways", "prod", {"monitoring": {"log_retention": f"{days}d"}})
        [log] = [
            each["Properties"]
            for each in of_type(resources, "AWS::Logs::LogGroup")
            if each["Properties"]["LogGroupName"].endswith("/redis")
        ]
        assert log["RetentionInDays"] == days


def test_a_redis_of_the_users_is_not_made_and_its_url_is_a_secret_to_fill() -> None:
    resources = data("rag-assistant", "prod", {"data": {"redis": {"url_env": "REDIS_URL"}}})
    assert of_type(resources, GROUP) == []
    secrets = {each["Properties"]["Name"] for each in of_type(resources, "AWS::SecretsManager::Secret")}
    assert "/slipway/prod/rag-assistant/secrets/REDIS_URL" in secrets
    assert "redis-token" not in json.dumps(resources)
