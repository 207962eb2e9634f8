"""When stores are backed up, how long backups are kept, and where their copies go.

Cold storage holds what AWS Backup can move there (EFS and DynamoDB); of other stores it leaves backups where they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aws_cdk import Aws, aws_backup, aws_iam
from constructs import Construct

from slipway.infra.constructs.backup_vault import BackupVault
from slipway.infra.reasons import accept

Cadence = Literal["daily", "weekly", "monthly"]
# `manifest.rules.reach` counts with the same: a backup begins within an hour of its time.
START_WITHIN_MINUTES: Final = 60
# A backup that takes longer is ended, before the next one of its store would have to begin.
_COMPLETE_WITHIN_MINUTES: Final = 12 * 60
_SCHEDULES: Final[dict[Cadence, str]] = {
    "daily": "cron(0 3 * * ? *)",
    "weekly": "cron(0 4 ? * SUN *)",
    "monthly": "cron(0 5 1 * ? *)",
}
_POLICIES: Final = (
    "service-role/AWSBackupServiceRolePolicyForBackup",
    "service-role/AWSBackupServiceRolePolicyForRestores",
    "AWSBackupServiceRolePolicyForS3Backup",
    "AWSBackupServiceRolePolicyForS3Restore",
)
_SERVICES_OWN: Final = "AWS Backup's own policy: what a backup takes of each store is the service's to know and change."


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One cadence, how many days its backups are kept, and after how many they move to cold storage."""

    cadence: Cadence
    days: int
    cold_after_days: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlanProps:
    """`copy_to` is the ARN of a vault in another region; `resources` are ARNs of the stores."""

    name: str
    vault: BackupVault
    kept: Sequence[Kept]
    resources: Sequence[str]
    copy_to: str | None


class BackupPlan(Construct):
    """The plan, what it covers, and the role that makes and restores backups."""

    def __init__(self, scope: Construct, construct_id: str, props: BackupPlanProps) -> None:
        super().__init__(scope, construct_id)
        self.role_arn = self._role()
        self.resource = aws_backup.CfnBackupPlan(
            self,
            "Plan",
            backup_plan=aws_backup.CfnBackupPlan.BackupPlanResourceTypeProperty(
                backup_plan_name=props.name, backup_plan_rule=[_rule(kept, props) for kept in props.kept]
            ),
        )
        aws_backup.CfnBackupSelection(
            self,
            "Selection",
            backup_plan_id=self.resource.ref,
            backup_selection=aws_backup.CfnBackupSelection.BackupSelectionResourceTypeProperty(
                selection_name="stores", iam_role_arn=self.role_arn, resources=list(props.resources)
            ),
        )

    def _role(self) -> str:
        role = aws_iam.CfnRole(
            self,
            "Role",
            description="AWS Backup makes and restores backups of the stores",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "Backup",
                        "Effect": "Allow",
                        "Principal": {"Service": "backup.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
            managed_policy_arns=[f"arn:{Aws.PARTITION}:iam::aws:policy/{policy}" for policy in _POLICIES],
        )
        accept(role, {"AwsSolutions-IAM4": _SERVICES_OWN})
        return role.attr_arn


def _rule(kept: Kept, props: BackupPlanProps) -> aws_backup.CfnBackupPlan.BackupRuleResourceTypeProperty:
    lifecycle = aws_backup.CfnBackupPlan.LifecycleResourceTypeProperty(
        delete_after_days=kept.days, move_to_cold_storage_after_days=kept.cold_after_days
    )
    return aws_backup.CfnBackupPlan.BackupRuleResourceTypeProperty(
        rule_name=kept.cadence,
        target_backup_vault=props.vault.name,
        schedule_expression=_SCHEDULES[kept.cadence],
        schedule_expression_timezone="Etc/UTC",
        start_window_minutes=START_WITHIN_MINUTES,
        completion_window_minutes=_COMPLETE_WITHIN_MINUTES,
        lifecycle=lifecycle,
        copy_actions=None
        if props.copy_to is None
        else [
            aws_backup.CfnBackupPlan.CopyActionResourceTypeProperty(
                destination_backup_vault_arn=props.copy_to, lifecycle=lifecycle
            )
        ],
    )
