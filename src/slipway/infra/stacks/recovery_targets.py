"""What copies are sent to, in the recovery region: keys, a vault for backups, and a bucket for the copy of objects.

It stands before the data stack, whose stores name it. What runs there after a loss belongs to `recovery`.
"""

from typing import Final

from aws_cdk import App

from slipway.base.errors import Misconfigured
from slipway.infra.constructs.backup_vault import BackupVault, BackupVaultProps
from slipway.infra.constructs.bucket import Bucket, BucketProps
from slipway.infra.constructs.keys import Key, KeyProps, logs_user
from slipway.infra.constructs.log_bucket import LogBucket, LogBucketProps
from slipway.infra.site import Site
from slipway.infra.stacks import store_props as wanted
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.stacks.store_props import Elsewhere

_USED_HERE_ALONE: Final = frozenset(
    {"backups", "logs", "postgres"}
)  # by the vault, by logs and clusters of this region


class RecoveryTargetsStack(SiteStack):
    """`keys` by store, `vault`, `log_bucket`, and `bucket` where objects are copied.

    Other stacks of the recovery region use these as they are; the data stack takes them by `known_to`.
    """

    def __init__(self, scope: App, site: Site) -> None:
        super().__init__(
            scope,
            site,
            "recovery-targets",
            description=f"Where copies of the data of {site.names.prefix} are kept.",
            region=region_of(site),
            stateful=True,
        )
        self.keys = {store: self._key(store) for store in _copied(site)}
        self.vault = BackupVault(
            self,
            "Backups",
            BackupVaultProps(
                name=wanted.vault_name(site),
                key_arn=self.keys["backups"].arn,
                lock=wanted.lock_of(site),
                lasting=site.lasting,
            ),
        )
        self.log_bucket = LogBucket(
            self, "AccessLogs", LogBucketProps(keep_days=site.manifest.audit.keep.days, lasting=site.lasting)
        )
        self.bucket = self._bucket() if "objects" in self.keys else None
        self.publish("VaultArn", self.vault.arn, "The vault that backups are copied to.")
        for store, key in self.keys.items():
            self.publish(f"{site.names.construct(store)}KeyArn", key.arn, f"The key of the copy of {store}.")
        if self.bucket is not None:
            self.publish("BucketArn", self.bucket.arn, "The bucket that objects are copied to.")

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether there is a second region; a preview has none, as its data goes with it."""
        return site.manifest.recovery.region is not None and site.lasting

    def known_to(self, stack: SiteStack) -> Elsewhere:
        """What is here, as a stack of another region refers to it: by parameters that deploying fills."""
        names = self.site.names
        return Elsewhere(
            region=self.region,
            vault_arn=stack.take("RecoveryVaultArn", self, "VaultArn", "The vault that backups are copied to."),
            keys={
                store: stack.take(
                    f"Recovery{names.construct(store)}KeyArn",
                    self,
                    f"{names.construct(store)}KeyArn",
                    f"The key of the copy of {store}.",
                )
                for store in self.keys
                if store not in _USED_HERE_ALONE
            },
            bucket_arn=None
            if self.bucket is None
            else stack.take("RecoveryBucketArn", self, "BucketArn", "The bucket that objects are copied to."),
        )

    def _key(self, store: str) -> Key:
        return Key(
            self,
            f"{self.site.names.construct(store)}Key",
            KeyProps(
                alias=f"{self.site.names.prefix}/recovery/{store}",
                description=f"The copy of {store} of {self.site.names.prefix}",
                rotate_days=self.site.manifest.data.keys.rotate_every.days,
                lasting=self.site.lasting,
                users=[logs_user()] if store == "logs" else [],
            ),
        )

    def _bucket(self) -> Bucket | None:
        section = self.site.manifest.data.objects
        if section is None:
            return None
        return Bucket(
            self,
            "Objects",
            BucketProps(
                key_arn=self.keys["objects"].arn,
                versioning=True,  # S3 copies into no bucket without versions
                lifecycle=wanted.lifecycle_of(section),
                log_bucket=self.log_bucket.name,
                log_prefix="buckets/objects/",
                lasting=self.site.lasting,
                origins=self.site.manifest.edge.cors,
            ),
        )


def region_of(site: Site) -> str:
    """The recovery region; raises Misconfigured where there is none."""
    if site.manifest.recovery.region is None:
        raise Misconfigured(f"{site.environment} has no recovery.region.")
    return site.manifest.recovery.region


def _copied(site: Site) -> tuple[str, ...]:
    """What has a copy of its own in the recovery region, sorted; each has a key of its own there, as at home."""
    data = site.manifest.data
    copied = {"backups", "logs", "secrets"}
    if data.objects is not None and data.objects.copy_to_recovery_region and wanted.makes_bucket(data.objects):
        copied.add("objects")
    if data.dynamodb.tables and data.dynamodb.copy_to_recovery_region:
        copied.add("dynamodb")
    if data.postgres is not None and data.postgres.engine == "aurora" and data.postgres.copy_to_recovery_region:
        copied.add("postgres")
    return tuple(sorted(copied))
