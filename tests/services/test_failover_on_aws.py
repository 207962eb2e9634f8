"""The failover's calls against an emulated AWS: a second cluster that takes over, and the stacks of the plan."""

import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from slipway.functions import clients, failover
from slipway.functions.environment import Environment

REGION = "us-west-2"
TEMPLATE = {
    "Parameters": {"DatabaseHost": {"Type": "String"}},
    "Resources": {
        "Host": {
            "Type": "AWS::SSM::Parameter",
            "Properties": {"Name": "/x/host", "Type": "String", "Value": {"Ref": "DatabaseHost"}},
        }
    },
}
ENVIRONMENT = Environment(
    {
        "SLIPWAY_PUBLIC_URL": "http://127.0.0.1:9",
        "SLIPWAY_METRICS": "Slipway/x",
        "SLIPWAY_STORES": json.dumps(
            {"postgres": {"kind": "postgres", "by": "copy", "cluster": "x-recovery", "global_cluster": "x-global"}}
        ),
        "SLIPWAY_VAULT": "x-vault",
        "SLIPWAY_STACK_ROLE": "arn:aws:iam::123456789012:role/x-cloudformation",
        "SLIPWAY_PLAN_BUCKET": "x-plans",
        "SLIPWAY_PLAN_KEY": "recovery/x/plan.json",
    }
)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    clients.client.cache_clear()
    with mock_aws():
        yield
    clients.client.cache_clear()


@pytest.mark.requirement("DRP-03", "E")
@pytest.mark.requirement("WFL-03", "E")
def test_the_copy_takes_over_and_the_plans_stacks_find_it() -> None:
    rds = boto3.client("rds")
    # It was taken out already (test_failover): the emulation knows that call by the name, AWS by the ARN.
    rds.create_global_cluster(GlobalClusterIdentifier="x-global", Engine="aurora-postgresql")
    rds.create_db_cluster(
        DBClusterIdentifier="x-recovery",
        Engine="aurora-postgresql",
        MasterUsername="x",
        MasterUserPassword="x" * 12,
    )

    state: dict[str, object] = {}
    for _ in range(5):
        answer = failover.stepped({"step": "restore", "store": "postgres", "state": state}, ENVIRONMENT)
        state = answer["state"]
        if answer["done"]:
            break
    assert answer["done"] is True
    [instance] = rds.describe_db_instances()["DBInstances"]
    assert (instance["DBClusterIdentifier"], instance["DBInstanceClass"]) == ("x-recovery", "db.serverless")

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="x-plans", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="x-plans", Key="data.json", Body=json.dumps(TEMPLATE))
    url = f"https://x-plans.s3.{REGION}.amazonaws.com/data.json"
    plan = [
        {"stack": "x-platform", "template_url": url, "parameters": {"DatabaseHost": {"restored": "postgres.endpoint"}}}
    ]
    s3.put_object(Bucket="x-plans", Key="recovery/x/plan.json", Body=json.dumps(plan))
    given = {"restored": [state]}
    assert failover.stepped({"step": "services", "state": given}, ENVIRONMENT)["done"] is False
    assert failover.stepped({"step": "services", "state": given}, ENVIRONMENT)["done"] is True
    assert boto3.client("ssm").get_parameter(Name="/x/host")["Parameter"]["Value"] == state["endpoint"]


@pytest.mark.requirement("DRP-03", "E")
def test_what_nobody_reaches_is_measured_as_such() -> None:
    assert failover.stepped({"step": "probe"}, ENVIRONMENT) == {"reachable": False}
    [metric] = boto3.client("cloudwatch").list_metrics(Namespace="Slipway/x")["Metrics"]
    assert metric["MetricName"] == "Reachable"
