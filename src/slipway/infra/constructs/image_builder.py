"""Builds images where there is no container engine at hand: a CodeBuild project over sources in the template bucket.

Made by the bootstrap stack. `operations` uploads the sources, starts a build with the version of the upload, and reads
the digest from the build's exported variables.
"""

import json
from dataclasses import dataclass
from typing import Final

from aws_cdk import CfnDeletionPolicy, Fn, aws_codebuild, aws_iam, aws_logs
from constructs import Construct

from slipway.infra.reasons import accept

SOURCES_PREFIX: Final = "sources/"
# AWS's mirror of the official images: Docker's own registry counts pulls by address, and builds share theirs.
BASE_IMAGE: Final = "public.ecr.aws/docker/library/python:3.11-slim-bookworm"
TAG_PATTERN: Final = "[0-9a-f]{7,40}-[0-9]{14}"  # commit and second: what ADR 19 calls a tag
_BUILD_MACHINE: Final = "aws/codebuild/amazonlinux-x86_64-standard:5.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuilderProps:
    """`repositories`: their ARNs by name, in the region of the build and in those that hold a copy."""

    name: str
    bucket_name: str
    bucket_arn: str
    key_arn: str
    repository_arns: tuple[str, ...]
    registry_regions: tuple[str, ...]
    boundary_arn: str | None = None
    minutes: int = 30
    log_days: int = 30


class ImageBuilder(Construct):
    """The project, its role and its log."""

    def __init__(self, scope: Construct, construct_id: str, props: ImageBuilderProps) -> None:
        super().__init__(scope, construct_id)
        log = aws_logs.CfnLogGroup(
            self,
            "Log",
            log_group_name=f"/slipway/shared/{props.name}/logs/image-builder",
            retention_in_days=props.log_days,
            kms_key_id=props.key_arn,
        )
        log.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        role = _role(self, props, log.attr_arn)
        self.project_name = f"{props.name}-image-builder"
        self.project = aws_codebuild.CfnProject(
            self,
            "Project",
            name=self.project_name,
            description="Builds container images of Slipway and pushes them by tag; deploys take the digest.",
            service_role=role.attr_arn,
            encryption_key=props.key_arn,
            timeout_in_minutes=props.minutes,
            queued_timeout_in_minutes=60,
            artifacts=aws_codebuild.CfnProject.ArtifactsProperty(type="NO_ARTIFACTS"),
            # Each build says which version of which object: `sourceLocationOverride` and `sourceVersion`.
            source=aws_codebuild.CfnProject.SourceProperty(
                type="S3",
                location=Fn.join("/", [props.bucket_name, f"{SOURCES_PREFIX}platform.zip"]),
                build_spec=buildspec(props.registry_regions),
            ),
            environment=aws_codebuild.CfnProject.EnvironmentProperty(
                type="LINUX_CONTAINER",
                compute_type="BUILD_GENERAL1_MEDIUM",
                image=_BUILD_MACHINE,
                image_pull_credentials_type="CODEBUILD",
                privileged_mode=True,
                environment_variables=[
                    aws_codebuild.CfnProject.EnvironmentVariableProperty(name=name, value=value, type="PLAINTEXT")
                    for name, value in {"PYTHON_IMAGE": BASE_IMAGE, "ACCOUNT": Fn.ref("AWS::AccountId")}.items()
                ],
            ),
            logs_config=aws_codebuild.CfnProject.LogsConfigProperty(
                cloud_watch_logs=aws_codebuild.CfnProject.CloudWatchLogsConfigProperty(
                    status="ENABLED", group_name=log.ref
                )
            ),
        )
        accept(
            self.project,
            {"AwsSolutions-CB3": "Docker needs it to build; the project has no network of ours and no other right."},
        )


def buildspec(regions: tuple[str, ...]) -> str:
    """What a build does, as YAML's subset JSON: build once, push the same bytes to each region, export the digest.

    REPOSITORY and IMAGE_TAG come with the build's start; a tag of another form, or one that is there, ends it.
    """
    registries = [f"$ACCOUNT.dkr.ecr.{region}.amazonaws.com" for region in regions]
    sign_in = [
        f"aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin {registry}"
        for region, registry in zip(regions, registries, strict=True)
    ]
    push = [
        command
        for registry in registries
        for command in (
            f'docker tag built "{registry}/$REPOSITORY:$IMAGE_TAG"',
            f'docker push "{registry}/$REPOSITORY:$IMAGE_TAG"',
        )
    ]
    digest = (
        f'IMAGE_DIGEST=$(aws ecr describe-images --region {regions[0]} --repository-name "$REPOSITORY" '
        '--image-ids imageTag="$IMAGE_TAG" --query "imageDetails[0].imageDigest" --output text)'
    )
    phases: dict[str, dict[str, object]] = {
        "pre_build": {"commands": [f'echo "$IMAGE_TAG" | grep -Eqx "{TAG_PATTERN}"', *sign_in]},
        "build": {
            "on-failure": "ABORT",
            "commands": ['docker build --build-arg PYTHON_IMAGE="$PYTHON_IMAGE" -t built .'],
        },
        "post_build": {"commands": [*push, digest, "export IMAGE_DIGEST"]},
    }
    document = {
        "version": 0.2,
        "env": {"shell": "bash", "exported-variables": ["IMAGE_DIGEST"]},
        "phases": {name: {"on-failure": "ABORT", **phase} for name, phase in phases.items()},
    }
    return json.dumps(document, indent=1)


def _role(scope: Construct, props: ImageBuilderProps, log_arn: str) -> aws_iam.CfnRole:
    statements = [
        {
            "Sid": "ReadSources",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": Fn.join("", [props.bucket_arn, f"/{SOURCES_PREFIX}*"]),
        },
        {
            "Sid": "FindBucket",
            "Effect": "Allow",
            "Action": ["s3:GetBucketLocation", "s3:GetBucketVersioning"],
            "Resource": props.bucket_arn,
        },
        {
            "Sid": "UseKey",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": props.key_arn,
        },
        {"Sid": "SignIn", "Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {
            "Sid": "Push",
            "Effect": "Allow",
            "Action": [
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:CompleteLayerUpload",
                "ecr:DescribeImages",
                "ecr:GetDownloadUrlForLayer",
                "ecr:InitiateLayerUpload",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
            "Resource": list(props.repository_arns),
        },
        {
            "Sid": "WriteLog",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": log_arn,
        },
    ]
    role = aws_iam.CfnRole(
        scope,
        "Role",
        description="Builds and pushes images; reads nothing but their sources.",
        assume_role_policy_document=_trust("codebuild.amazonaws.com"),
        permissions_boundary=props.boundary_arn,
        policies=[
            aws_iam.CfnRole.PolicyProperty(
                policy_name="build", policy_document={"Version": "2012-10-17", "Statement": statements}
            )
        ],
    )
    accept(
        role,
        {
            "SignIn": "ecr:GetAuthorizationToken has no resource to name; what it lets one do is in Push.",
            "ReadSources": "Every build has a source of its own below this prefix, and nothing else is there.",
            "WriteLog": "Streams of the project's own log group: their names end in the build's id.",
        },
    )
    return role


def _trust(service: str) -> dict[str, object]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": Fn.ref("AWS::AccountId")}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
