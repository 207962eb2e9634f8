"""Neptune as the manifest describes it: daily snapshots for as many days, encrypted, signed in to by IAM."""

import pytest

from tests.infra.data_stacks import data
from tests.infra.synthesis import of_type, only

CLUSTER = "AWS::Neptune::DBCluster"


@pytest.mark.requirement("DAT-05", "T")
@pytest.mark.parametrize(("days", "readers"), [(7, 1), (21, 2)])
def test_its_snapshots_are_kept_for_the_days_of_the_manifest(days: int, readers: int) -> None:
    change = {"data": {"neptune": {"point_in_time": f"{days}d", "readers": readers}}}
    resources = data("mcp-hybrid", "prod", change)
    assert only(resources, CLUSTER)["Properties"]["BackupRetentionPeriod"] == days
    assert len(of_type(resources, "AWS::Neptune::DBInstance")) == 1 + readers


@pytest.mark.requirement("DAT-05", "T")
def test_the_blueprint_has_a_daily_snapshot_for_a_week_and_a_reader_that_takes_over() -> None:
    resources = data("mcp-hybrid", "prod")
    cluster = only(resources, CLUSTER)
    assert cluster["Properties"]["BackupRetentionPeriod"] == 7
    assert cluster["DeletionPolicy"] == "Snapshot"
    instances = of_type(resources, "AWS::Neptune::DBInstance")
    assert [each["Properties"]["DBInstanceClass"] for each in instances] == ["db.t4g.medium"] * 2


def test_it_is_encrypted_private_and_reached_by_iam_sign_in() -> None:
    resources = data("mcp-hybrid", "prod")
    cluster = only(resources, CLUSTER)["Properties"]
    assert (cluster["StorageEncrypted"], cluster["IamAuthEnabled"]) == (True, True)
    assert cluster["KmsKeyId"].endswith(":key/neptune")
    assert cluster["VpcSecurityGroupIds"] == ["sg-neptune"]
    for instance in of_type(resources, "AWS::Neptune::DBInstance"):
        assert instance["Properties"]["PubliclyAccessible"] is False


def test_a_graph_in_postgres_needs_no_neptune() -> None:
    assert of_type(data("rag-assistant", "prod"), CLUSTER) == []
