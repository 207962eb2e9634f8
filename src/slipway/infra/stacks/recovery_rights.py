"""What the functions of a failover may do in the recovery region. Used by `recovery`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Aws

from slipway.infra.constructs.grants import Statement
from slipway.infra.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a failover works with: ARNs. `clusters` are names of the second cluster and of the global one.

    `restore_role_arn` is None where the manifest asks for no backups.
    """

    vault_arn: str
    restore_role_arn: str | None
    plan_bucket_arn: str
    plan_prefix: str
    plan_key_alias: str
    metrics: str
    clusters: tuple[str, str] | None


def failover_rights(site: Site, means: Means) -> tuple[Statement, ...]:
    """Restore, make the stacks of the plan, and say how it stands."""
    return (
        *_measuring(means),
        *_reading_backups(means),
        *_restoring(means),
        *_promoting(means),
        *_making(site, means),
        Statement(
            "SeeOthers",
            ("states:ListExecutions",),
            (_arn("states", f"stateMachine:{site.names.prefix}-failover"),),
        ),
    )


def readiness_rights(site: Site, means: Means) -> tuple[Statement, ...]:
    """Look whether a failover would find what it needs; change nothing."""
    return (*_measuring(means), *_reading_backups(means), *_looking(means), *_reading_plan(means), *_stacks(site, ()))


def _measuring(means: Means) -> Iterator[Statement]:
    yield Statement(
        "Measure",
        ("cloudwatch:PutMetricData",),
        ("*",),
        {"StringEquals": {"cloudwatch:namespace": means.metrics}},
        reason="CloudWatch has no resource for a metric; the namespace is this platform's own.",
    )


def _reading_backups(means: Means) -> Iterator[Statement]:
    yield Statement("ReadVault", ("backup:ListRecoveryPointsByBackupVault",), (means.vault_arn,))
    yield Statement(
        "ReadBackups",
        ("backup:DescribeRecoveryPoint", "backup:GetRecoveryPointRestoreMetadata"),
        _recovery_points(),
        reason="Backups are named when they are made.",
    )


def _restoring(means: Means) -> Iterator[Statement]:
    if means.restore_role_arn is None:
        return
    yield Statement(
        "Restore",
        ("backup:StartRestoreJob",),
        _recovery_points(),
        reason="Backups are named when they are made.",
    )
    yield Statement(
        "ReadRestores",
        ("backup:DescribeRestoreJob",),
        ("*",),
        reason="AWS Backup has no resource for a restore.",
    )
    yield _passing("RestoreRole", means.restore_role_arn, "backup")
    yield Statement(
        "ReadTables",
        ("dynamodb:DescribeTable",),
        (_arn("dynamodb", "table/*"),),
        reason="Restored tables have names that the restore gives them; this reads alone.",
    )


def _looking(means: Means) -> Iterator[Statement]:
    if means.clusters is not None:
        yield Statement(
            "ReadClusters",
            ("rds:DescribeDBClusters", "rds:DescribeGlobalClusters"),
            _clusters(means.clusters),
        )


def _promoting(means: Means) -> Iterator[Statement]:
    """Takes the second cluster out of the global one, and gives it an instance."""
    if means.clusters is None:
        return
    yield from _looking(means)
    second, _ = means.clusters
    yield Statement("Promote", ("rds:RemoveFromGlobalCluster", "rds:FailoverGlobalCluster"), _clusters(means.clusters))
    yield Statement(
        "GiveInstance",
        ("rds:CreateDBInstance", "rds:AddTagsToResource", "rds:DescribeDBInstances"),
        (_arn("rds", f"cluster:{second}"), _arn("rds", f"db:{second}-*")),
        reason="The instance is named after its cluster and a number.",
    )


def _making(site: Site, means: Means) -> Iterator[Statement]:
    """Makes the stacks of the plan, by the same role that every deploy makes stacks with."""
    yield from _reading_plan(means)
    yield from _stacks(site, ("cloudformation:CreateStack", "cloudformation:UpdateStack"))
    yield _passing("MakeRole", stack_role_arn(site), "cloudformation")


def stack_role_arn(site: Site) -> str:
    """The role that every deploy makes stacks with."""
    return _arn("iam", f"role/{site.names.prefix}-cloudformation", region="")


def _stacks(site: Site, changes: tuple[str, ...]) -> Iterator[Statement]:
    yield Statement(
        "MakeStacks" if changes else "ReadStacks",
        (*changes, "cloudformation:DescribeStacks"),
        (_arn("cloudformation", f"stack/{site.names.prefix}-*/*"),),
        reason="A stack's ARN ends in an id that nobody knows before; its name begins with the environment's.",
    )


def _reading_plan(means: Means) -> Iterator[Statement]:
    yield Statement(
        "ReadPlan",
        ("s3:GetObject",),
        (f"{means.plan_bucket_arn}/{means.plan_prefix}*",),
        reason="Every deploy puts the plan and its templates there, under names of their contents.",
    )
    yield Statement(
        "ReadEncryptedPlan",
        ("kms:Decrypt",),
        (_arn("kms", "key/*"),),
        {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{means.plan_key_alias}"}},
        reason="The key of bootstrap, told by its alias: its id is made up when it is made.",
    )


def _passing(sid: str, role_arn: str, service: str) -> Statement:
    condition: Mapping[str, Mapping[str, Any]] = {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}}
    return Statement(sid, ("iam:PassRole",), (role_arn,), condition)


def _recovery_points() -> tuple[str, ...]:
    """Backups of S3, EFS and DynamoDB are AWS Backup's own; those of clusters are snapshots of RDS."""
    return (_arn("backup", "recovery-point:*"), _arn("rds", "cluster-snapshot:awsbackup:*"))


def _clusters(names: tuple[str, str]) -> tuple[str, ...]:
    second, everywhere = names
    return (_arn("rds", f"cluster:{second}"), _arn("rds", f"global-cluster:{everywhere}", region=""))


def _arn(service: str, rest: str, *, region: str | None = None) -> str:
    where = Aws.REGION if region is None else region
    return f"arn:{Aws.PARTITION}:{service}:{where}:{Aws.ACCOUNT_ID}:{rest}"
