"""Brings back one store in the recovery region: a copy that is there, or the newest backup of each of its resources."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from slipway.base.errors import Misconfigured, Unavailable
from slipway.functions.clients import client, code_of
from slipway.functions.environment import Environment
from slipway.functions.recovery_points import RESOURCE_TYPES, RecoveryPoint, newest

State = dict[str, Any]
Metadata = dict[str, str]
_INSTANCE: Final = "db.serverless"


def restored(name: str, store: Mapping[str, Any], state: State, environment: Environment) -> dict[str, Any]:
    """Begins a store's restore, or looks how far it is; raises Misconfigured when there is nothing to restore from."""
    if store.get("kind") not in RESOURCE_TYPES:
        raise Misconfigured(f"The store {name!r} is of no kind that can be restored.")
    if store.get("by") == "copy":
        return _promoted(name, store) if store["kind"] == "postgres" else _done(name, store, {})
    return _from_backup(name, store, state, environment)


def _done(name: str, store: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in store.items() if isinstance(value, str)}
    return {"done": True, "state": {**known, "store": name, **found}}


def _promoted(name: str, store: Mapping[str, Any]) -> dict[str, Any]:
    """Takes the copy of PostgreSQL out of the global cluster, so that it can be written, and gives it an instance."""
    rds = client("rds")
    cluster = rds.describe_db_clusters(DBClusterIdentifier=store["cluster"])["DBClusters"][0]
    going_on = {"done": False, "state": {"store": name}}
    if _is_member(store["global_cluster"], cluster["DBClusterArn"]):
        rds.remove_from_global_cluster(
            GlobalClusterIdentifier=store["global_cluster"], DbClusterIdentifier=cluster["DBClusterArn"]
        )
        return going_on
    if not cluster.get("DBClusterMembers"):
        if cluster["Status"] == "available":
            rds.create_db_instance(
                DBInstanceIdentifier=f"{store['cluster']}-1",
                DBClusterIdentifier=store["cluster"],
                DBInstanceClass=_INSTANCE,
                Engine=cluster["Engine"],
                PubliclyAccessible=False,
            )
        return going_on
    instance = rds.describe_db_instances(Filters=[{"Name": "db-cluster-id", "Values": [store["cluster"]]}])[
        "DBInstances"
    ]
    if cluster["Status"] != "available" or not any(each["DBInstanceStatus"] == "available" for each in instance):
        return going_on
    return _done(name, store, {"endpoint": cluster["Endpoint"], "port": str(cluster["Port"])})


def _is_member(global_cluster: str, arn: str) -> bool:
    try:
        found = client("rds").describe_global_clusters(GlobalClusterIdentifier=global_cluster)["GlobalClusters"]
    except ClientError as error:
        if code_of(error) == "GlobalClusterNotFoundFault":
            return False
        raise
    return any(member["DBClusterArn"] == arn for each in found for member in each.get("GlobalClusterMembers", []))


def _from_backup(name: str, store: Mapping[str, Any], state: State, environment: Environment) -> dict[str, Any]:
    jobs: dict[str, str] = state.get("jobs") or {}
    if not jobs:
        vault, role = environment.text("SLIPWAY_VAULT"), environment.text("SLIPWAY_RESTORE_ROLE")
        points = newest(vault, store["kind"], store.get("source"))
        if not points:
            raise Misconfigured(f"There is no backup of {name!r} in the vault {vault!r}.")
        jobs = {point.resource_arn: _start(point, store["kind"], vault, role) for point in points}
        return {"done": False, "state": {"store": name, "jobs": jobs}}
    created: dict[str, str] = {}
    for resource, job in jobs.items():
        found = client("backup").describe_restore_job(RestoreJobId=job)
        if found["Status"] in ("ABORTED", "FAILED"):
            why = found.get("StatusMessage", "AWS Backup does not say why")
            raise Unavailable(f"The restore of {name!r} failed: {why}")
        if found["Status"] == "COMPLETED":
            created[resource] = found["CreatedResourceArn"]
    if len(created) < len(jobs):
        return {"done": False, "state": {"store": name, "jobs": jobs}}
    return _done(name, store, {"jobs": jobs, "created": created})


def _start(point: RecoveryPoint, kind: str, vault: str, role: str) -> str:
    backup = client("backup")
    known = backup.get_recovery_point_restore_metadata(BackupVaultName=vault, RecoveryPointArn=point.arn)
    answer = backup.start_restore_job(
        RecoveryPointArn=point.arn,
        IamRoleArn=role,
        ResourceType=RESOURCE_TYPES[kind],
        Metadata=_METADATA[kind](dict(known["RestoreMetadata"]), point),
        # The same backup is restored once, however often a step is tried.
        IdempotencyToken=re.sub(r"[^A-Za-z0-9-]", "-", point.arn)[-60:],
    )
    job: str = answer["RestoreJobId"]
    return job


def _of_files(known: Metadata, point: RecoveryPoint) -> Metadata:
    """Into a new file system: the old one is in the region that was lost."""
    known.pop("file-system-id", None)
    return {**known, "newFileSystem": "true", "CreationToken": point.arn[-36:], "Encrypted": "true"}


def _of_table(known: Metadata, point: RecoveryPoint) -> Metadata:
    return {**known, "targetTableName": point.resource_arn.rpartition("/")[2], "encryptionType": "Default"}


def _of_objects(known: Metadata, point: RecoveryPoint) -> Metadata:
    """Into a new bucket: names are unique in the world, and the old one still has its own."""
    bucket = f"{point.resource_arn.rpartition(':')[2][:50]}-restored"
    return {
        **known,
        "DestinationBucketName": bucket,
        "NewBucket": "true",
        "Encrypted": "true",
        "EncryptionType": "SSE-S3",
        "CreationToken": point.arn[-36:],
    }


def _of_cluster(known: Metadata, _point: RecoveryPoint) -> Metadata:
    """Subnets and groups of the lost region mean nothing here: the plan's stacks attach their own."""
    elsewhere = ("DBSubnetGroupName", "VpcSecurityGroupIds", "AvailabilityZones", "DBClusterParameterGroupName")
    return {key: value for key, value in known.items() if key not in elsewhere}


_METADATA: Final[Mapping[str, Callable[[Metadata, RecoveryPoint], Metadata]]] = {
    "files": _of_files,
    "dynamodb": _of_table,
    "objects": _of_objects,
    "postgres": _of_cluster,
    "neptune": _of_cluster,
}
