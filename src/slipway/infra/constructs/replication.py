"""The copy of a bucket in another region, and the role with which S3 makes it."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, Fn, aws_iam
from constructs import Construct

from slipway.infra.reasons import accept

# S3 Replication Time Control knows this figure alone; `manifest.rules.reach` counts with the same.
REPLICATED_WITHIN_MINUTES: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Where to: a bucket with versions in `region`, and the key that encrypts what is there."""

    region: str
    bucket_arn: str
    key_arn: str


class ReplicationRole(Construct):
    """The role of S3 for one bucket. `allow` gives it the source, which is made after its role."""

    def __init__(self, scope: Construct, construct_id: str, copy: Replication) -> None:
        super().__init__(scope, construct_id)
        self._copy = copy
        self._role = aws_iam.CfnRole(
            self,
            "Role",
            description="S3 copies objects to the recovery region",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "S3",
                        "Effect": "Allow",
                        "Principal": {"Service": "s3.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
        )
        self.arn = self._role.attr_arn

    def allow(self, source_arn: str, source_key_arn: str) -> None:
        """Lets S3 read the source and write the copy; each key only by way of S3, in its own region."""
        copy = self._copy
        policy = aws_iam.CfnPolicy(
            self,
            "Policy",
            policy_name="replicate",
            roles=[self._role.ref],
            policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    _allow("Source", ("s3:GetReplicationConfiguration", "s3:ListBucket"), source_arn),
                    _allow(
                        "SourceVersions",
                        (
                            "s3:GetObjectVersionForReplication",
                            "s3:GetObjectVersionAcl",
                            "s3:GetObjectVersionTagging",
                        ),
                        f"{source_arn}/*",
                    ),
                    _allow(
                        "Copies",
                        ("s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags"),
                        f"{copy.bucket_arn}/*",
                    ),
                    {**_allow("SourceKey", ("kms:Decrypt",), source_key_arn), **_by_s3(Aws.REGION)},
                    {**_allow("CopyKey", ("kms:Encrypt",), copy.key_arn), **_by_s3(copy.region)},
                ],
            },
        )
        every_object = "All objects of these two buckets are copied, whatever they are called."
        accept(policy, {"SourceVersions": every_object, "Copies": every_object})


def _allow(sid: str, actions: tuple[str, ...], resource: str) -> dict[str, object]:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": [resource]}


def _by_s3(region: str) -> dict[str, object]:
    service = Fn.join(".", ["s3", region, Aws.URL_SUFFIX])
    return {"Condition": {"StringEquals": {"kms:ViaService": service}}}
