"""Who did what in the account: CloudTrail in every region, into a bucket of its own, and GuardDuty, which reads along.

Used by the foundation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Aws, aws_cloudtrail, aws_guardduty
from aws_cdk import aws_s3 as s3
from constructs import Construct

from slipway.infra.constructs.bucket import tls_only
from slipway.infra.constructs.log_bucket import BUCKETS
from slipway.infra.constructs.retention import keep

_PARTS_KEPT_DAYS: Final = 7
_PREFIX: Final = "trail"
# What GuardDuty reads on request, each at a price of its own.
FEATURES: Final = ("EKS_AUDIT_LOGS", "LAMBDA_NETWORK_LOGS", "RDS_LOGIN_EVENTS", "S3_DATA_EVENTS")


def trail_arn(name: str) -> str:
    """The ARN of this account's trail of that name: its key and bucket name it before it is there."""
    return f"arn:{Aws.PARTITION}:cloudtrail:{Aws.REGION}:{Aws.ACCOUNT_ID}:trail/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailProps:
    """`log_bucket` takes the access logs of the trail's own bucket."""

    name: str
    key_arn: str
    keep_days: int
    log_bucket: str
    lasting: bool


class Trail(Construct):
    """One trail of all regions, whose files are signed, and its bucket, which nobody but CloudTrail writes."""

    def __init__(self, scope: Construct, construct_id: str, props: TrailProps) -> None:
        super().__init__(scope, construct_id)
        self.bucket = self._bucket(props)
        policy = s3.CfnBucketPolicy(
            self, "Policy", bucket=self.bucket.ref, policy_document=_policy(self.bucket.attr_arn, trail_arn(props.name))
        )
        keep(policy, props.lasting)
        self.resource = aws_cloudtrail.CfnTrail(
            self,
            "Trail",
            trail_name=props.name,
            is_logging=True,
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            s3_bucket_name=self.bucket.ref,
            s3_key_prefix=_PREFIX,
            kms_key_id=props.key_arn,
        )
        self.resource.add_resource_dependency(policy)

    def _bucket(self, props: TrailProps) -> s3.CfnBucket:
        rule = s3.CfnBucket
        bucket = s3.CfnBucket(
            self,
            "Bucket",
            bucket_encryption=s3.CfnBucket.BucketEncryptionProperty(
                server_side_encryption_configuration=[
                    s3.CfnBucket.ServerSideEncryptionRuleProperty(
                        bucket_key_enabled=True,
                        server_side_encryption_by_default=s3.CfnBucket.ServerSideEncryptionByDefaultProperty(
                            sse_algorithm="aws:kms", kms_master_key_id=props.key_arn
                        ),
                    )
                ]
            ),
            public_access_block_configuration=s3.CfnBucket.PublicAccessBlockConfigurationProperty(
                block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True
            ),
            ownership_controls=s3.CfnBucket.OwnershipControlsProperty(
                rules=[s3.CfnBucket.OwnershipControlsRuleProperty(object_ownership="BucketOwnerEnforced")]
            ),
            versioning_configuration=s3.CfnBucket.VersioningConfigurationProperty(status="Enabled"),
            logging_configuration=s3.CfnBucket.LoggingConfigurationProperty(
                destination_bucket_name=props.log_bucket, log_file_prefix=f"{BUCKETS}/trail/"
            ),
            lifecycle_configuration=s3.CfnBucket.LifecycleConfigurationProperty(
                rules=[
                    rule.RuleProperty(
                        id="records",
                        status="Enabled",
                        expiration_in_days=props.keep_days,
                        # Who overwrites or deletes a record leaves the former version for as long again.
                        noncurrent_version_expiration=rule.NoncurrentVersionExpirationProperty(
                            noncurrent_days=props.keep_days
                        ),
                        abort_incomplete_multipart_upload=rule.AbortIncompleteMultipartUploadProperty(
                            days_after_initiation=_PARTS_KEPT_DAYS
                        ),
                    )
                ]
            ),
        )
        keep(bucket, props.lasting)
        return bucket


class ThreatDetector(Construct):
    """GuardDuty's detector of this account and region. `features` are what it reads beside what it always does."""

    def __init__(self, scope: Construct, construct_id: str, *, features: Sequence[str]) -> None:
        super().__init__(scope, construct_id)
        detector = aws_guardduty.CfnDetector
        self.resource = detector(
            self,
            "Detector",
            enable=True,
            finding_publishing_frequency="FIFTEEN_MINUTES",
            features=[
                detector.CFNFeatureConfigurationProperty(
                    name=name, status="ENABLED" if name in features else "DISABLED"
                )
                for name in FEATURES
            ],
        )


def _policy(bucket_arn: str, trail: str) -> dict[str, Any]:
    document = tls_only(bucket_arn)
    only = {"StringEquals": {"aws:SourceArn": trail}}
    principal = {"Service": "cloudtrail.amazonaws.com"}
    document["Statement"] += [
        {
            "Sid": "TrailLooks",
            "Effect": "Allow",
            "Principal": principal,
            "Action": "s3:GetBucketAcl",
            "Resource": bucket_arn,
            "Condition": only,
        },
        {
            "Sid": "TrailWrites",
            "Effect": "Allow",
            "Principal": principal,
            "Action": "s3:PutObject",
            "Resource": f"{bucket_arn}/{_PREFIX}/AWSLogs/{Aws.ACCOUNT_ID}/*",
            "Condition": only,
        },
    ]
    return document
