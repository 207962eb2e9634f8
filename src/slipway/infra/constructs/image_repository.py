"""A repository of container images: what is pushed keeps its name and bytes, is scanned, and old images go.

Made by the bootstrap stack; who runs images asks here for a repository's name and for what an image is.
"""

import json
from typing import Final

from aws_cdk import CfnDeletionPolicy, aws_ecr
from constructs import Construct

PLATFORM_IMAGE: Final = "platform"
# The Dockerfile's HEALTHCHECK, as task definitions have it: ECS does not read the image's own.
HEALTH_COMMAND: Final = (
    "CMD",
    "python",
    "-c",
    (
        "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8700, timeout=4); "
        "c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"
    ),
)


def repository_name(platform: str, service: str | None = None) -> str:
    """The repository of a platform's own image, or of a service of the user's that is built from a folder."""
    return f"{platform}/{service or PLATFORM_IMAGE}"


def repository_arn(platform: str, region: str, service: str | None = None) -> str:
    """Its ARN in this account, of whichever partition."""
    return f"arn:${{AWS::Partition}}:ecr:{region}:${{AWS::AccountId}}:repository/{repository_name(platform, service)}"


class ImageRepository(Construct):
    """One repository. Images are deployed by digest, so it is never emptied with its stack."""

    def __init__(self, scope: Construct, construct_id: str, *, name: str, images_kept: int, key_arn: str) -> None:
        super().__init__(scope, construct_id)
        self.resource = aws_ecr.CfnRepository(
            self,
            "Repository",
            repository_name=name,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration=aws_ecr.CfnRepository.ImageScanningConfigurationProperty(scan_on_push=True),
            encryption_configuration=aws_ecr.CfnRepository.EncryptionConfigurationProperty(
                encryption_type="KMS", kms_key=key_arn
            ),
            lifecycle_policy=aws_ecr.CfnRepository.LifecyclePolicyProperty(
                lifecycle_policy_text=_lifecycle(images_kept)
            ),
        )
        self.resource.cfn_options.deletion_policy = CfnDeletionPolicy.RETAIN
        self.resource.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
        self.arn = self.resource.attr_arn
        self.uri = self.resource.attr_repository_uri


def _lifecycle(images_kept: int) -> str:
    """The newest images stay; what lost its tag was part of a push that failed."""
    rules = [
        {
            "rulePriority": 1,
            "description": "Parts of pushes that failed",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 1,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": "Old images",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": images_kept},
            "action": {"type": "expire"},
        },
    ]
    return json.dumps({"rules": rules}, separators=(",", ":"))
