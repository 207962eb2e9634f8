"""Tables as the manifest describes them: keys, indexes, expiry, and how far back they can be restored."""

from typing import Any

import pytest

from slipway.infra.app import Resource
from tests.infra.data_stacks import data
from tests.infra.synthesis import of_type

TABLE = "AWS::DynamoDB::GlobalTable"


def table(resources: dict[str, Resource], name: str) -> Any:
    [found] = [each for key, each in resources.items() if each["Type"] == TABLE and key.startswith(f"Table{name}")]
    return found


def keys(schema: list[dict[str, str]]) -> dict[str, str]:
    return {each["KeyType"]: each["AttributeName"] for each in schema}


@pytest.mark.requirement("DAT-02", "T")
def test_usage_logs_have_their_key_indexes_and_expiry() -> None:
    logs = table(data("agent-gateways", "prod"), "UsageLogs")["Properties"]
    assert keys(logs["KeySchema"]) == {"HASH": "tenant", "RANGE": "at"}
    assert {each["IndexName"]: keys(each["KeySchema"]) for each in logs["GlobalSecondaryIndexes"]} == {
        "by_model": {"HASH": "model", "RANGE": "at"},
        "by_plan": {"HASH": "plan", "RANGE": "at"},
    }
    types = {each["AttributeName"]: each["AttributeType"] for each in logs["AttributeDefinitions"]}
    assert types == {"tenant": "S", "at": "N", "model": "S", "plan": "S"}
    assert logs["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert logs["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.requirement("DAT-02", "T")
@pytest.mark.parametrize(
    ("blueprint", "names"),
    [("agent-gateways", ["UsagePlans", "UsageLogs"]), ("mcp-hybrid", ["WorkflowState", "Metadata"])],
)
@pytest.mark.parametrize("days", [35, 14])
def test_each_can_be_restored_as_far_back_as_declared_and_is_encrypted(
    blueprint: str, names: list[str], days: int
) -> None:
    resources = data(blueprint, "prod", {"data": {"dynamodb": {"point_in_time": f"{days}d"}}})
    assert len(of_type(resources, TABLE)) == len(names)
    for name in names:
        properties = table(resources, name)["Properties"]
        assert properties["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
        replica = properties["Replicas"][0]
        assert replica["Region"] == "us-east-1"
        assert replica["SSESpecification"]["KMSMasterKeyId"].endswith(":key/dynamodb")
        assert replica["PointInTimeRecoverySpecification"] == {
            "PointInTimeRecoveryEnabled": True,
            "RecoveryPeriodInDays": days,
        }


@pytest.mark.requirement("DAT-02", "T")
def test_another_index_or_key_in_the_manifest_is_another_in_the_template() -> None:
    change = {"usage_plans": {"range": "version", "indexes": {"by_owner": {"hash": "owner"}}}}
    plans = table(data("agent-gateways", "prod", {"data": {"dynamodb": {"tables": change}}}), "UsagePlans")
    assert keys(plans["Properties"]["KeySchema"]) == {"HASH": "plan", "RANGE": "version"}
    indexes = {each["IndexName"]: keys(each["KeySchema"]) for each in plans["Properties"]["GlobalSecondaryIndexes"]}
    assert indexes == {"by_tenant": {"HASH": "tenant"}, "by_owner": {"HASH": "owner"}}


def test_tables_outlive_their_stack_and_carry_the_tags_of_the_site() -> None:
    plans = table(data("agent-gateways", "prod"), "UsagePlans")
    [replica] = plans["Properties"]["Replicas"]
    assert (plans["DeletionPolicy"], replica["DeletionProtectionEnabled"]) == ("Retain", True)
    tags = {each["Key"]: each["Value"] for each in replica["Tags"]}
    assert (tags["Environment"], tags["CostCenter"], tags["ManagedBy"]) == ("prod", "1001", "slipway")
