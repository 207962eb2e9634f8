"""The bucket for access logs: of load balancers and of other buckets. Used by the foundation.

Its objects are encrypted with S3's own key: load balancers and S3 deliver access logs into no bucket with another one
(Elastic Load Balancing, Access logs; S3, Server access logging).
"""

from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Aws
from aws_cdk import aws_s3 as s3
from constructs import Construct

from slipway.infra.constructs.bucket import tls_only
from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

LOAD_BALANCERS: Final = "load-balancers"  # the prefix under which load balancers write
BUCKETS: Final = "buckets"  # and other buckets
_PARTS_KEPT_DAYS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBucketProps:
    """How long logs are kept, and whether they outlive the stack."""

    keep_days: int
    lasting: bool


class LogBucket(Construct):
    """One bucket, by its `name` and `arn`. `ready` is what a writer has to wait for: S3 refuses it before."""

    def __init__(self, scope: Construct, construct_id: str, props: LogBucketProps) -> None:
        super().__init__(scope, construct_id)
        self.resource = s3.CfnBucket(
            self,
            "Bucket",
            bucket_encryption=s3.CfnBucket.BucketEncryptionProperty(
                server_side_encryption_configuration=[
                    s3.CfnBucket.ServerSideEncryptionRuleProperty(
                        server_side_encryption_by_default=s3.CfnBucket.ServerSideEncryptionByDefaultProperty(
                            sse_algorithm="AES256"
                        )
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
            lifecycle_configuration=s3.CfnBucket.LifecycleConfigurationProperty(rules=[_rule(props.keep_days)]),
        )
        keep(self.resource, props.lasting)
        accept(self.resource, {"AwsSolutions-S1": "It takes access logs: its own would be logged by logging them."})
        self.name = self.resource.ref
        self.arn = self.resource.attr_arn
        document = tls_only(self.arn)
        document["Statement"].extend((self._load_balancers(), self._buckets()))
        self.ready = s3.CfnBucketPolicy(self, "Policy", bucket=self.name, policy_document=document)
        keep(self.ready, props.lasting)

    def _load_balancers(self) -> dict[str, Any]:
        """Load balancers of this account and region alone write under their prefix."""
        source = f"arn:{Aws.PARTITION}:elasticloadbalancing:{Aws.REGION}:{Aws.ACCOUNT_ID}:loadbalancer/*"
        return {
            "Sid": "LoadBalancers",
            "Effect": "Allow",
            "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"{self.arn}/{LOAD_BALANCERS}/AWSLogs/{Aws.ACCOUNT_ID}/*",
            "Condition": {"ArnLike": {"aws:SourceArn": source}},
        }

    def _buckets(self) -> dict[str, Any]:
        return {
            "Sid": "Buckets",
            "Effect": "Allow",
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"{self.arn}/*",
            "Condition": {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        }


def _rule(days: int) -> s3.CfnBucket.RuleProperty:
    rule = s3.CfnBucket
    return rule.RuleProperty(
        id="logs",
        status="Enabled",
        expiration_in_days=days,
        noncurrent_version_expiration=rule.NoncurrentVersionExpirationProperty(noncurrent_days=1),
        abort_incomplete_multipart_upload=rule.AbortIncompleteMultipartUploadProperty(
            days_after_initiation=_PARTS_KEPT_DAYS
        ),
    )
