"""The bootstrap stack: what must be there before anything else of a platform can be deployed to a region of an account.

Templates go to its bucket, images to its repositories; its roles deploy. Made by `infra/bootstrap.py`, deployed once by
somebody who may make roles; every later deploy needs no more than a role of it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import App, CfnDeletionPolicy, Fn, aws_iam, aws_kms, aws_s3

from slipway.infra.constructs.deploy_role import ISSUER, DeployRole, DeployRoleProps, subjects_of
from slipway.infra.constructs.image_builder import SOURCES_PREFIX, ImageBuilder, ImageBuilderProps
from slipway.infra.constructs.image_repository import ImageRepository, repository_arn, repository_name
from slipway.infra.reasons import accept
from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack
from slipway.manifest.schema import Manifest

TEMPLATES_PREFIX = "templates/"
_NAME_KEPT = 20
_SOURCES_DAYS = 30
_VERSIONS_DAYS = 90


def template_bucket_name(platform: str, region: str) -> str:
    """The bucket's name with `${AWS::AccountId}` in it: whoever deploys knows it without asking."""
    short = platform
    if len(platform) > _NAME_KEPT:  # a bucket's name has 63 characters
        short = f"{platform[: _NAME_KEPT - 7].rstrip('-')}-{hashlib.sha256(platform.encode()).hexdigest()[:6]}"
    return f"slipway-{short}-${{AWS::AccountId}}-{region}"


def key_alias(platform: str) -> str:
    """The alias of the key that bucket, images and builds are encrypted with."""
    return f"{platform}-bootstrap"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a region gets. `environments` are those whose manifests say that they live here; only the first region, the
    `home`, has roles and builds: roles hold in all regions, and images are pushed from one build to every one."""

    environments: Mapping[str, Manifest]
    home: bool
    regions: tuple[str, ...]


class BootstrapStack(SiteStack):
    """Bucket, repositories and, in the platform's first region, builds and deploy roles."""

    def __init__(self, scope: App, site: Site, ground: Ground) -> None:
        super().__init__(
            scope,
            site,
            "bootstrap",
            description=f"What {site.manifest.name} is deployed with: templates, images, builds, deploy roles.",
        )
        self.termination_protection = True
        self._ground = ground
        self._key = self._make_key()
        self._bucket = self._make_bucket()
        self.repositories = {
            name: ImageRepository(
                self,
                f"Images{site.names.construct(name)}",
                name=name,
                images_kept=max(each.delivery.images_kept for each in ground.environments.values()),
                key_arn=self._key.attr_arn,
            )
            for name in repository_names(ground.environments)
        }
        if ground.home:
            self._make_roles(self._make_builder())
        self.publish("TemplateBucket", self._bucket.ref, "Where templates and sources of images are put.")

    def _make_key(self) -> aws_kms.CfnKey:
        account = Fn.sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")
        log_groups = Fn.sub(
            f"arn:${{AWS::Partition}}:logs:{self.region}:${{AWS::AccountId}}:log-group:/slipway/shared/"
            f"{self.site.manifest.name}/*"
        )
        logs = {"Service": f"logs.{self.region}.amazonaws.com"}
        statements = [
            {
                "Sid": "AccountDecides",
                "Effect": "Allow",
                "Principal": {"AWS": account},
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "EncryptLogs",
                "Effect": "Allow",
                "Principal": logs,
                "Action": ["kms:Decrypt*", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
                "Resource": "*",
                "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}},
            },
        ]
        key = aws_kms.CfnKey(
            self,
            "Key",
            description=f"Templates, images and builds of {self.site.manifest.name}.",
            enable_key_rotation=True,
            pending_window_in_days=30,
            key_policy={"Version": "2012-10-17", "Statement": statements},
        )
        _keep(key)
        accept(
            key,
            {
                "AccountDecides": "A key's own policy names the key as *; with this the account's IAM policies decide.",
                "EncryptLogs": "A key's own policy names the key as *; the condition leaves the platform's logs alone.",
            },
        )
        aws_kms.CfnAlias(
            self, "KeyAlias", alias_name=f"alias/{key_alias(self.site.manifest.name)}", target_key_id=key.ref
        )
        return key

    def _make_bucket(self) -> aws_s3.CfnBucket:
        rule = aws_s3.CfnBucket.RuleProperty
        bucket = aws_s3.CfnBucket(
            self,
            "Templates",
            bucket_name=Fn.sub(template_bucket_name(self.site.manifest.name, self.region)),
            bucket_encryption=aws_s3.CfnBucket.BucketEncryptionProperty(
                server_side_encryption_configuration=[
                    aws_s3.CfnBucket.ServerSideEncryptionRuleProperty(
                        bucket_key_enabled=True,
                        server_side_encryption_by_default=aws_s3.CfnBucket.ServerSideEncryptionByDefaultProperty(
                            sse_algorithm="aws:kms", kms_master_key_id=self._key.attr_arn
                        ),
                    )
                ]
            ),
            public_access_block_configuration=aws_s3.CfnBucket.PublicAccessBlockConfigurationProperty(
                block_public_acls=True,
                block_public_policy=True,
                ignore_public_acls=True,
                restrict_public_buckets=True,
            ),
            ownership_controls=aws_s3.CfnBucket.OwnershipControlsProperty(
                rules=[aws_s3.CfnBucket.OwnershipControlsRuleProperty(object_ownership="BucketOwnerEnforced")]
            ),
            versioning_configuration=aws_s3.CfnBucket.VersioningConfigurationProperty(status="Enabled"),
            lifecycle_configuration=aws_s3.CfnBucket.LifecycleConfigurationProperty(
                rules=[
                    rule(
                        id="old-versions",
                        status="Enabled",
                        noncurrent_version_expiration=aws_s3.CfnBucket.NoncurrentVersionExpirationProperty(
                            noncurrent_days=_VERSIONS_DAYS
                        ),
                        abort_incomplete_multipart_upload=aws_s3.CfnBucket.AbortIncompleteMultipartUploadProperty(
                            days_after_initiation=7
                        ),
                    ),
                    rule(id="sources", status="Enabled", prefix=SOURCES_PREFIX, expiration_in_days=_SOURCES_DAYS),
                ]
            ),
        )
        _keep(bucket)
        accept(
            bucket, {"AwsSolutions-S1": "It holds templates and sources that git has; CloudTrail tells who changed it."}
        )
        tls_only = {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket.attr_arn, Fn.join("", [bucket.attr_arn, "/*"])],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        aws_s3.CfnBucketPolicy(
            self,
            "TemplatesPolicy",
            bucket=bucket.ref,
            policy_document={"Version": "2012-10-17", "Statement": [tls_only]},
        )
        return bucket

    def _repository_arns(self) -> tuple[str, ...]:
        platform = self.site.manifest.name
        services = [name.removeprefix(f"{platform}/") for name in repository_names(self._ground.environments)]
        return tuple(
            Fn.sub(repository_arn(platform, region, service)) for region in self._ground.regions for service in services
        )

    def _make_builder(self) -> ImageBuilder:
        return ImageBuilder(
            self,
            "Builder",
            ImageBuilderProps(
                name=self.site.manifest.name,
                bucket_name=self._bucket.ref,
                bucket_arn=self._bucket.attr_arn,
                key_arn=self._key.attr_arn,
                repository_arns=self._repository_arns(),
                registry_regions=self._ground.regions,
                boundary_arn=_boundary_of(self.site.manifest),
            ),
        )

    def _make_roles(self, builder: ImageBuilder) -> None:
        """One role for each environment whose manifest names a repository of GitHub."""
        provider: str | None = None
        for name, manifest in self._ground.environments.items():
            delivery = manifest.delivery
            if delivery.github is None:
                continue
            provider = provider or delivery.oidc_provider or self._make_provider()
            role = DeployRole(
                self,
                f"Deploy{self.site.names.construct(name)}",
                DeployRoleProps(
                    environment=name,
                    prefix=f"{manifest.name}-{name}",
                    provider_arn=provider,
                    subjects=subjects_of(delivery.github, name, delivery.branch, preview=manifest.template),
                    regions=_regions_of(manifest),
                    bucket_arns=tuple(
                        Fn.sub(f"arn:${{AWS::Partition}}:s3:::{template_bucket_name(manifest.name, region)}")
                        for region in self._ground.regions
                    ),
                    key_alias=key_alias(manifest.name),
                    project_arn=builder.project.attr_arn,
                    repository_arns=self._repository_arns(),
                    boundary_arn=_boundary_of(manifest),
                ),
            )
            self.publish(f"DeployRole{self.site.names.construct(name)}", role.arn, f"GitHub deploys {name} with it.")

    def _make_provider(self) -> str:
        provider = aws_iam.CfnOIDCProvider(
            self, "GitHub", url=f"https://{ISSUER}", client_id_list=["sts.amazonaws.com"]
        )
        return provider.attr_arn


def repository_names(environments: Mapping[str, Manifest]) -> tuple[str, ...]:
    """The platform's repository and one for each service that some environment builds from a folder."""
    platform = next(iter(environments.values())).name
    services = {
        name: None
        for manifest in environments.values()
        for name, service in manifest.services.items()
        if service.image.startswith(".")
    }
    return (repository_name(platform), *(repository_name(platform, name) for name in sorted(services)))


def _regions_of(manifest: Manifest) -> tuple[str, ...]:
    """Where stacks of an environment stand: its region, the one for recovery, and us-east-1, where CloudFront's do."""
    found = (manifest.region, manifest.recovery.region, "us-east-1" if manifest.edge.cdn else None)
    return tuple(dict.fromkeys(region for region in found if region is not None))


def _boundary_of(manifest: Manifest) -> str | None:
    name = manifest.delivery.boundary
    return None if name is None else Fn.sub(f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:policy/{name}")


def _keep(resource: aws_kms.CfnKey | aws_s3.CfnBucket) -> None:
    resource.cfn_options.deletion_policy = CfnDeletionPolicy.RETAIN
    resource.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
