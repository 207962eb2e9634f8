"""A bucket of S3: encrypted, private, reached by TLS alone, with versions, a lifecycle and, where wanted, a copy.

Used for the platform's objects and, in the recovery region, for their copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aws_cdk import aws_s3 as s3
from constructs import Construct

from slipway.infra.constructs.replication import REPLICATED_WITHIN_MINUTES, Replication, ReplicationRole
from slipway.infra.constructs.retention import keep

_PARTS_KEPT_DAYS: Final = 7  # parts of an upload that was never finished are invisible, and paid for


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Days after which objects move to a cheaper class (None: never), and for which older versions are kept."""

    infrequent_after_days: int | None
    archive_after_days: int | None
    versions_kept_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketProps:
    """`log_bucket` takes the access logs, under `log_prefix`; `origins` are web pages that may load and store
    objects."""

    key_arn: str
    versioning: bool
    lifecycle: Lifecycle
    log_bucket: str
    log_prefix: str
    lasting: bool
    origins: Sequence[str] = field(default=())
    replication: Replication | None = None


class Bucket(Construct):
    """One bucket, by its `name` and `arn`."""

    def __init__(self, scope: Construct, construct_id: str, props: BucketProps) -> None:
        super().__init__(scope, construct_id)
        role = None if props.replication is None else ReplicationRole(self, "Replication", props.replication)
        self.resource = s3.CfnBucket(
            self,
            "Bucket",
            bucket_encryption=_encryption(props.key_arn),
            public_access_block_configuration=s3.CfnBucket.PublicAccessBlockConfigurationProperty(
                block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True
            ),
            ownership_controls=s3.CfnBucket.OwnershipControlsProperty(
                rules=[s3.CfnBucket.OwnershipControlsRuleProperty(object_ownership="BucketOwnerEnforced")]
            ),
            versioning_configuration=s3.CfnBucket.VersioningConfigurationProperty(
                status="Enabled" if props.versioning else "Suspended"
            ),
            lifecycle_configuration=s3.CfnBucket.LifecycleConfigurationProperty(rules=_rules(props)),
            logging_configuration=s3.CfnBucket.LoggingConfigurationProperty(
                destination_bucket_name=props.log_bucket, log_file_prefix=props.log_prefix
            ),
            cors_configuration=_cors(props.origins),
            # Workflows begin with a new object, and AWS Backup follows the changes of a bucket by the same events.
            notification_configuration=s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
            ),
            replication_configuration=None
            if props.replication is None or role is None
            else _replication(props.replication, role.arn),
        )
        keep(self.resource, props.lasting)
        self.name = self.resource.ref
        self.arn = self.resource.attr_arn
        if role is not None:
            role.allow(self.arn, props.key_arn)
        policy = s3.CfnBucketPolicy(self, "Policy", bucket=self.name, policy_document=tls_only(self.arn))
        keep(policy, props.lasting)


def tls_only(bucket_arn: str) -> dict[str, Any]:
    """A policy that refuses whoever comes without TLS, or with a TLS older than 1.2."""
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [bucket_arn, f"{bucket_arn}/*"]}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {**denial, "Sid": "WithoutTls", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {**denial, "Sid": "OldTls", "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}},
        ],
    }


def _encryption(key_arn: str) -> s3.CfnBucket.BucketEncryptionProperty:
    by_default = s3.CfnBucket.ServerSideEncryptionByDefaultProperty(sse_algorithm="aws:kms", kms_master_key_id=key_arn)
    return s3.CfnBucket.BucketEncryptionProperty(
        server_side_encryption_configuration=[
            # One key of KMS a bucket and hour, not one a request.
            s3.CfnBucket.ServerSideEncryptionRuleProperty(
                bucket_key_enabled=True, server_side_encryption_by_default=by_default
            )
        ]
    )


def _rules(props: BucketProps) -> list[s3.CfnBucket.RuleProperty]:
    moves = (
        ("STANDARD_IA", props.lifecycle.infrequent_after_days),
        ("GLACIER_IR", props.lifecycle.archive_after_days),
    )
    rules = [
        s3.CfnBucket.RuleProperty(
            id="unfinished-uploads",
            status="Enabled",
            abort_incomplete_multipart_upload=s3.CfnBucket.AbortIncompleteMultipartUploadProperty(
                days_after_initiation=_PARTS_KEPT_DAYS
            ),
        ),
        s3.CfnBucket.RuleProperty(
            id="older-versions",
            status="Enabled",
            noncurrent_version_expiration=s3.CfnBucket.NoncurrentVersionExpirationProperty(
                noncurrent_days=props.lifecycle.versions_kept_days
            ),
            expired_object_delete_marker=True,
        ),
    ]
    transitions = [
        s3.CfnBucket.TransitionProperty(storage_class=storage_class, transition_in_days=days)
        for storage_class, days in moves
        if days is not None
    ]
    if transitions:
        rules.append(s3.CfnBucket.RuleProperty(id="cheaper-classes", status="Enabled", transitions=transitions))
    return rules


def _cors(origins: Sequence[str]) -> s3.CfnBucket.CorsConfigurationProperty | None:
    """Browsers store and load with signed URLs, so an origin gets these two rights and no others."""
    if not origins:
        return None
    return s3.CfnBucket.CorsConfigurationProperty(
        cors_rules=[
            s3.CfnBucket.CorsRuleProperty(
                allowed_origins=list(origins),
                allowed_methods=["GET", "PUT", "POST"],
                allowed_headers=["content-type", "content-md5", "x-amz-*"],
                exposed_headers=["ETag"],
                max_age=3600,
            )
        ]
    )


def _replication(copy: Replication, role_arn: str) -> s3.CfnBucket.ReplicationConfigurationProperty:
    within = s3.CfnBucket.ReplicationTimeValueProperty(minutes=REPLICATED_WITHIN_MINUTES)
    return s3.CfnBucket.ReplicationConfigurationProperty(
        role=role_arn,
        rules=[
            s3.CfnBucket.ReplicationRuleProperty(
                id="recovery",
                status="Enabled",
                priority=1,
                filter=s3.CfnBucket.ReplicationRuleFilterProperty(prefix=""),
                delete_marker_replication=s3.CfnBucket.DeleteMarkerReplicationProperty(status="Enabled"),
                source_selection_criteria=s3.CfnBucket.SourceSelectionCriteriaProperty(
                    sse_kms_encrypted_objects=s3.CfnBucket.SseKmsEncryptedObjectsProperty(status="Enabled")
                ),
                destination=s3.CfnBucket.ReplicationDestinationProperty(
                    bucket=copy.bucket_arn,
                    encryption_configuration=s3.CfnBucket.EncryptionConfigurationProperty(
                        replica_kms_key_id=copy.key_arn
                    ),
                    replication_time=s3.CfnBucket.ReplicationTimeProperty(status="Enabled", time=within),
                    metrics=s3.CfnBucket.MetricsProperty(status="Enabled", event_threshold=within),
                ),
            )
        ],
    )
