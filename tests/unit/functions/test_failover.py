"""A failover's steps, against AWS as botocore's own model of it answers, and a platform on this machine."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from slipway.base.errors import InvalidRequest, Misconfigured, Unavailable
from slipway.functions import failover, readiness, recovery_points, restoring, stack_plan
from slipway.functions.asking import Answer
from slipway.functions.environment import Environment

PLATFORM = "http://127.0.0.1:9"
STORES = {
    "postgres": {"kind": "postgres", "by": "copy", "cluster": "x-recovery", "global_cluster": "x-global"},
    "objects": {"kind": "objects", "by": "copy", "bucket": "x-copies"},
    "mindsdb": {"kind": "files", "by": "backup", "source": "arn:aws:elasticfilesystem:us-east-1:1:file-system/fs-1"},
}
EXECUTION = "arn:aws:states:us-west-2:123456789012:execution:x-failover:one"
MACHINE = "arn:aws:states:us-west-2:123456789012:stateMachine:x-failover"
CLUSTER = "arn:aws:rds:us-west-2:123456789012:cluster:x-recovery"
POINT = "arn:aws:backup:us-west-2:123456789012:recovery-point:00000000-1111-2222-3333-444444444444"
NOW = datetime(2026, 11, 26, 6, tzinfo=UTC)

Stub = Callable[[str], Stubber]


def environment(**variables: str) -> Environment:
    return Environment(
        {
            "SLIPWAY_PUBLIC_URL": PLATFORM,
            "SLIPWAY_METRICS": "Slipway/x",
            "SLIPWAY_STORES": json.dumps(STORES),
            "SLIPWAY_VAULT": "x-vault",
            "SLIPWAY_RESTORE_ROLE": "arn:aws:iam::123456789012:role/restore",
            "SLIPWAY_STACK_ROLE": "arn:aws:iam::123456789012:role/x-cloudformation",
            "SLIPWAY_PLAN_BUCKET": "x-plans",
            "SLIPWAY_PLAN_KEY": "recovery/x/plan.json",
            "SLIPWAY_RPO_SECONDS": "3600",
            **variables,
        }
    )


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A stubbed client of each service that is asked for; everything that was expected must have been called."""
    stubs: dict[str, Stubber] = {}

    def made(service: str) -> Stubber:
        if service not in stubs:
            client = boto3.client(  # type: ignore[call-overload]
                service, region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x"
            )
            stubs[service] = Stubber(client)
            stubs[service].activate()
        return stubs[service]

    for module in (failover, readiness, recovery_points, restoring, stack_plan):
        monkeypatch.setattr(module, "client", lambda service: made(service).client, raising=False)
    yield made
    for each in stubs.values():
        each.assert_no_pending_responses()


@contextmanager
def answers(monkeypatch: pytest.MonkeyPatch, *healthy: bool) -> Iterator[None]:
    """A platform that answers so, one after the other; nobody waits in between."""
    left = list(healthy)
    monkeypatch.setattr(failover, "is_healthy", lambda url: left.pop(0))
    monkeypatch.setattr(failover.time, "sleep", lambda seconds: None)
    yield
    assert left == []


@pytest.mark.parametrize(("healthy", "value"), [(True, 1.0), (False, 0.0)])
def test_a_probe_says_whether_the_first_region_answers(
    healthy: bool, value: float, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = {"MetricName": "Reachable", "Value": value, "Unit": "Count"}
    stub("cloudwatch").add_response("put_metric_data", {}, {"Namespace": "Slipway/x", "MetricData": [metric]})
    with answers(monkeypatch, healthy):
        assert failover.stepped({"step": "probe"}, environment()) == {"reachable": healthy}


def running(stub: Stub, *executions: str) -> None:
    found = [
        {"executionArn": each, "stateMachineArn": MACHINE, "name": "x", "status": "RUNNING", "startDate": NOW}
        for each in executions
    ]
    stub("stepfunctions").add_response(
        "list_executions", {"executions": found}, {"stateMachineArn": MACHINE, "statusFilter": "RUNNING"}
    )


def test_a_region_is_lost_when_nobody_answers_for_a_while(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    running(stub, EXECUTION)
    with answers(monkeypatch, False, False, False, False):
        assert failover.stepped({"step": "confirm", "execution": EXECUTION}, environment()) == {"lost": True}


def test_a_region_that_answers_once_more_is_left_alone(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    running(stub, EXECUTION)
    with answers(monkeypatch, False, True):
        assert failover.stepped({"step": "confirm", "execution": EXECUTION}, environment()) == {"lost": False}


def test_a_second_failover_beside_one_does_nothing(stub: Stub) -> None:
    running(stub, EXECUTION, f"{EXECUTION}-before")
    assert failover.stepped({"step": "confirm", "execution": EXECUTION}, environment()) == {"lost": False}


@pytest.mark.parametrize("event", [{"step": "destroy"}, {}, {"step": "confirm", "execution": "no-arn"}])
def test_other_steps_and_executions_are_refused(event: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        failover.stepped(event, environment())


def cluster(status: str = "available", members: int = 0) -> dict[str, Any]:
    return {
        "DBClusters": [
            {
                "DBClusterIdentifier": "x-recovery",
                "DBClusterArn": CLUSTER,
                "Status": status,
                "Engine": "aurora-postgresql",
                "Endpoint": "x-recovery.example",
                "Port": 5432,
                "DBClusterMembers": [{"DBInstanceIdentifier": f"x-recovery-{n}"} for n in range(1, members + 1)],
            }
        ]
    }


def in_global(member: bool) -> dict[str, Any]:
    return {"GlobalClusters": [{"GlobalClusterMembers": [{"DBClusterArn": CLUSTER}] if member else []}]}


def restore(store: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
    return failover.stepped({"step": "restore", "store": store, "state": state or {}}, environment())


def test_the_copy_of_postgres_is_taken_out_then_given_an_instance_then_done(stub: Stub) -> None:
    rds = stub("rds")
    rds.add_response("describe_db_clusters", cluster(), {"DBClusterIdentifier": "x-recovery"})
    rds.add_response("describe_global_clusters", in_global(True), {"GlobalClusterIdentifier": "x-global"})
    rds.add_response(
        "remove_from_global_cluster", {}, {"GlobalClusterIdentifier": "x-global", "DbClusterIdentifier": CLUSTER}
    )
    assert restore("postgres")["done"] is False
    rds.add_response("describe_db_clusters", cluster())
    rds.add_client_error("describe_global_clusters", "GlobalClusterNotFoundFault")
    rds.add_response(
        "create_db_instance",
        {},
        {
            "DBInstanceIdentifier": "x-recovery-1",
            "DBClusterIdentifier": "x-recovery",
            "DBInstanceClass": "db.serverless",
            "Engine": "aurora-postgresql",
            "PubliclyAccessible": False,
        },
    )
    assert restore("postgres")["done"] is False
    for status, done in (("creating", False), ("available", True)):
        rds.add_response("describe_db_clusters", cluster(members=1))
        rds.add_response("describe_global_clusters", in_global(False))
        rds.add_response("describe_db_instances", {"DBInstances": [{"DBInstanceStatus": status}]})
        found = restore("postgres")
        assert found["done"] is done
    assert (found["state"]["endpoint"], found["state"]["port"]) == ("x-recovery.example", "5432")


def test_a_copy_that_stands_needs_nothing() -> None:
    assert restore("objects") == {
        "done": True,
        "state": {"kind": "objects", "by": "copy", "bucket": "x-copies", "store": "objects"},
    }


def points(*ages_h: float) -> dict[str, Any]:
    return {
        "RecoveryPoints": [
            {
                "RecoveryPointArn": f"{POINT[:-1]}{number}",
                "ResourceArn": STORES["mindsdb"]["source"],
                "CreationDate": NOW - timedelta(hours=age),
                "Status": "COMPLETED",
            }
            for number, age in enumerate(ages_h)
        ]
        + [
            {
                "RecoveryPointArn": f"{POINT}-partial",
                "ResourceArn": STORES["mindsdb"]["source"],
                "CreationDate": NOW,
                "Status": "PARTIAL",
            }
        ]
    }


IN_VAULT = {
    "BackupVaultName": "x-vault",
    "ByResourceType": "EFS",
    "ByResourceArn": STORES["mindsdb"]["source"],
}


def test_the_newest_finished_backup_is_restored_into_a_new_file_system(stub: Stub) -> None:
    backup, newest = stub("backup"), f"{POINT[:-1]}1"
    backup.add_response("list_recovery_points_by_backup_vault", points(30, 2), IN_VAULT)
    backup.add_response(
        "get_recovery_point_restore_metadata",
        {"RestoreMetadata": {"file-system-id": "fs-1", "PerformanceMode": "generalPurpose"}},
        {"BackupVaultName": "x-vault", "RecoveryPointArn": newest},
    )
    backup.add_response(
        "start_restore_job",
        {"RestoreJobId": "job-1"},
        {
            "RecoveryPointArn": newest,
            "IamRoleArn": "arn:aws:iam::123456789012:role/restore",
            "ResourceType": "EFS",
            "Metadata": {
                "PerformanceMode": "generalPurpose",
                "newFileSystem": "true",
                "Encrypted": "true",
                "CreationToken": newest[-36:],
            },
            "IdempotencyToken": newest.replace(":", "-")[-60:],
        },
    )
    begun = restore("mindsdb")
    assert begun == {"done": False, "state": {"store": "mindsdb", "jobs": {STORES["mindsdb"]["source"]: "job-1"}}}
    backup.add_response("describe_restore_job", {"Status": "RUNNING"}, {"RestoreJobId": "job-1"})
    assert restore("mindsdb", begun["state"]) == begun
    created = "arn:aws:elasticfilesystem:us-west-2:1:file-system/fs-2"
    backup.add_response("describe_restore_job", {"Status": "COMPLETED", "CreatedResourceArn": created})
    done = restore("mindsdb", begun["state"])
    assert done["done"] is True
    assert done["state"]["created"] == {STORES["mindsdb"]["source"]: created}


def test_a_restore_that_fails_and_a_vault_that_is_empty_are_said(stub: Stub) -> None:
    backup = stub("backup")
    backup.add_response("describe_restore_job", {"Status": "FAILED", "StatusMessage": "no such subnet"})
    with pytest.raises(Unavailable, match="no such subnet"):
        restore("mindsdb", {"store": "mindsdb", "jobs": {"arn": "job-1"}})
    backup.add_response("list_recovery_points_by_backup_vault", {"RecoveryPoints": []})
    with pytest.raises(Misconfigured, match="no backup of 'mindsdb'"):
        restore("mindsdb")
    with pytest.raises(Misconfigured, match="knows no store"):
        restore("nowhere")


PLAN = [
    {"stack": "x-data", "template_url": "https://x.example/data.json", "parameters": {"Retries": "3"}},
    {
        "stack": "x-platform",
        "template_url": "https://x.example/platform.json",
        "parameters": {"DatabaseHost": {"restored": "postgres.endpoint"}},
    },
]
RESTORED = {"restored": [{"store": "postgres", "endpoint": "x-recovery.example"}]}


def planned(stub: Stub, plan: object = PLAN) -> None:
    body = plan if isinstance(plan, bytes) else json.dumps(plan).encode()
    stub("s3").add_response(
        "get_object",
        {"Body": StreamingBody(io.BytesIO(body), len(body))},
        {"Bucket": "x-plans", "Key": "recovery/x/plan.json"},
    )


def status_of(stub: Stub, status: str | None) -> None:
    if status is None:
        stub("cloudformation").add_client_error(
            "describe_stacks", "ValidationError", "Stack with id x does not exist", http_status_code=400
        )
        return
    stack = {"StackName": "x", "CreationTime": NOW, "StackStatus": status}
    stub("cloudformation").add_response("describe_stacks", {"Stacks": [stack]})


def services(state: dict[str, Any] | None = None) -> dict[str, Any]:
    return failover.stepped({"step": "services", "state": state or RESTORED}, environment())


def test_stacks_are_made_in_the_plans_order_with_what_was_restored(stub: Stub) -> None:
    planned(stub)
    status_of(stub, "CREATE_COMPLETE")
    status_of(stub, None)
    stub("cloudformation").add_response(
        "create_stack",
        {},
        {
            "StackName": "x-platform",
            "TemplateURL": "https://x.example/platform.json",
            "Parameters": [{"ParameterKey": "DatabaseHost", "ParameterValue": "x-recovery.example"}],
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "RoleARN": "arn:aws:iam::123456789012:role/x-cloudformation",
        },
    )
    assert services() == {"done": False, "state": RESTORED}
    for status, done in (("CREATE_IN_PROGRESS", False), ("CREATE_COMPLETE", True)):
        planned(stub)
        status_of(stub, "CREATE_COMPLETE")
        status_of(stub, status)
        assert services()["done"] is done


def test_a_stack_that_failed_ends_the_failover(stub: Stub) -> None:
    planned(stub)
    status_of(stub, "ROLLBACK_COMPLETE")
    with pytest.raises(Unavailable, match="x-data is ROLLBACK_COMPLETE"):
        services()


@pytest.mark.parametrize("plan", [b"{", [], {}, [{"stack": "x"}], [{"stack": 1, "template_url": "x"}]])
def test_what_is_no_plan_is_refused(plan: object, stub: Stub) -> None:
    planned(stub, plan)
    with pytest.raises(Misconfigured, match="no plan of stacks"):
        services()


def test_no_plan_and_a_parameter_that_nothing_was_restored_for_are_said(stub: Stub) -> None:
    stub("s3").add_client_error("get_object", "NoSuchKey")
    with pytest.raises(Misconfigured, match="No deploy put a plan"):
        services()
    planned(stub, PLAN[1:])
    status_of(stub, None)
    with pytest.raises(Misconfigured, match="DatabaseHost"):
        services({"restored": [{"store": "objects"}]})


def test_dns_is_waited_for_and_the_end_is_a_platform_that_refuses_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"step": "dns", "state": {"a": 1}}
    with answers(monkeypatch, False, True):
        assert failover.stepped(state, environment()) == {"done": False, "state": {"a": 1}}
        assert failover.stepped(state, environment()) == {"done": True, "state": {"a": 1}}
    for status, done in ((401, True), (200, False), (502, False)):
        monkeypatch.setattr(failover, "ask", lambda url, path, status=status: Answer(status, ""))
        with answers(monkeypatch, True):
            assert failover.stepped({"step": "validate", "state": {}}, environment())["done"] is done


def copy_follows(stub: Stub, status: str = "available", synchronized: str = "connected") -> None:
    stub("rds").add_response("describe_db_clusters", cluster(status, 0))
    member = {"DBClusterArn": CLUSTER, "SynchronizationStatus": synchronized}
    stub("rds").add_response("describe_global_clusters", {"GlobalClusters": [{"GlobalClusterMembers": [member]}]})


def ready(stub: Stub, value: float) -> None:
    metric = {"MetricName": "RecoveryReady", "Value": value, "Unit": "Count"}
    stub("cloudwatch").add_response("put_metric_data", {}, {"Namespace": "Slipway/x", "MetricData": [metric]})


def test_a_recovery_region_that_has_all_is_ready(stub: Stub) -> None:
    stub("backup").add_response("list_recovery_points_by_backup_vault", points(0.5), IN_VAULT)
    copy_follows(stub)
    planned(stub)
    ready(stub, 1.0)
    assert readiness.looked(environment(), NOW) == {"ready": True, "missing": []}


def test_everything_that_is_missing_is_said_at_once(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub("backup").add_response("list_recovery_points_by_backup_vault", points(3))
    copy_follows(stub, "stopped", "pending-resync")
    stub("s3").add_client_error("get_object", "NoSuchKey")
    ready(stub, 0.0)
    found = readiness.looked(environment(), NOW)
    assert found["ready"] is False
    whole = " ".join(found["missing"])
    for words in ("3.0 h old, and 1.0 h are allowed", "is stopped", "pending-resync", "No deploy put a plan"):
        assert words in whole
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_an_accepted_gap_is_what_a_stores_backups_are_held_to(stub: Stub) -> None:
    stores = {"mindsdb": {**STORES["mindsdb"], "rpo_seconds": 4 * 3600}}
    stub("backup").add_response("list_recovery_points_by_backup_vault", points(3))
    planned(stub)
    ready(stub, 1.0)
    assert readiness.looked(environment(SLIPWAY_STORES=json.dumps(stores)), NOW)["ready"] is True


def test_a_cluster_that_is_gone_and_an_empty_vault_are_missing(stub: Stub) -> None:
    stub("backup").add_response("list_recovery_points_by_backup_vault", {"RecoveryPoints": []})
    stub("rds").add_client_error("describe_db_clusters", "DBClusterNotFoundFault", "x-recovery not found")
    planned(stub)
    ready(stub, 0.0)
    missing = readiness.looked(environment(), NOW)["missing"]
    assert missing == ["mindsdb: there is no backup in the recovery region.", "postgres: x-recovery not found"]


@pytest.mark.parametrize("text", ["[]", "{", '{"x": {"kind": "tape", "by": "backup"}}'])
def test_stores_that_nobody_knows_are_refused(text: str, stub: Stub) -> None:
    with pytest.raises(Misconfigured):
        readiness.looked(environment(SLIPWAY_STORES=text), NOW)
