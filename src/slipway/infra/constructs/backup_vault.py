"""A vault of AWS Backup: where backups are kept, in the first region or, as copies, in the recovery region."""

from dataclasses import dataclass

from aws_cdk import aws_backup
from constructs import Construct

from slipway.infra.constructs.retention import keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What the vault insists on, in days: a backup that would be kept shorter or longer is not taken."""

    least_days: int
    most_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupVaultProps:
    """`lock` holds whoever has no right to lift it from ending backups early."""

    name: str
    key_arn: str
    lock: Lock | None
    lasting: bool


class BackupVault(Construct):
    """One vault, by `name` and `arn`."""

    def __init__(self, scope: Construct, construct_id: str, props: BackupVaultProps) -> None:
        super().__init__(scope, construct_id)
        lock = props.lock
        self.resource = aws_backup.CfnBackupVault(
            self,
            "Vault",
            backup_vault_name=props.name,
            encryption_key_arn=props.key_arn,
            lock_configuration=None
            if lock is None
            else aws_backup.CfnBackupVault.LockConfigurationTypeProperty(
                min_retention_days=lock.least_days, max_retention_days=lock.most_days
            ),
        )
        keep(self.resource, props.lasting)
        self.name = self.resource.ref
        self.arn = self.resource.attr_backup_vault_arn
