"""Backups in the recovery region's vault: the newest of each resource."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from slipway.functions.clients import client

# What AWS Backup calls the kinds of our stores.
RESOURCE_TYPES: Final[Mapping[str, str]] = {
    "postgres": "Aurora",
    "dynamodb": "DynamoDB",
    "objects": "S3",
    "neptune": "Neptune",
    "files": "EFS",
}


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """A finished backup of one resource."""

    arn: str
    resource_arn: str
    made_at: datetime


def newest(vault: str, kind: str, source: str | None = None) -> tuple[RecoveryPoint, ...]:
    """The newest finished backup of each resource of a kind, of one resource when `source` is its ARN."""
    filters: dict[str, Any] = {"BackupVaultName": vault, "ByResourceType": RESOURCE_TYPES[kind]}
    if source is not None:
        filters["ByResourceArn"] = source
    found: dict[str, RecoveryPoint] = {}
    for page in client("backup").get_paginator("list_recovery_points_by_backup_vault").paginate(**filters):
        for each in page["RecoveryPoints"]:
            if each["Status"] != "COMPLETED":
                continue
            point = RecoveryPoint(each["RecoveryPointArn"], each["ResourceArn"], each["CreationDate"])
            known = found.get(point.resource_arn)
            if known is None or known.made_at < point.made_at:
                found[point.resource_arn] = point
    return tuple(found[arn] for arn in sorted(found))
