"""A file system of EFS for one service: encrypted, by TLS alone, entered at a folder that belongs to the service."""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import aws_efs
from constructs import Construct

from slipway.infra.constructs.retention import keep


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemProps:
    """`folder` is the one that the service sees as its root, and `user` the number of the user that it runs as."""

    folder: str
    user: int
    subnet_ids: Sequence[str]
    security_group_id: str
    key_arn: str
    backups: bool
    lasting: bool


class FileSystem(Construct):
    """The file system, a way in from each subnet, and the service's access point."""

    def __init__(self, scope: Construct, construct_id: str, props: FileSystemProps) -> None:
        super().__init__(scope, construct_id)
        self.resource = aws_efs.CfnFileSystem(
            self,
            "Files",
            encrypted=True,
            kms_key_id=props.key_arn,
            performance_mode="generalPurpose",
            throughput_mode="elastic",
            # What nobody reads for a month costs a tenth, and comes back when somebody does.
            lifecycle_policies=[
                aws_efs.CfnFileSystem.LifecyclePolicyProperty(transition_to_ia="AFTER_30_DAYS"),
                aws_efs.CfnFileSystem.LifecyclePolicyProperty(transition_to_primary_storage_class="AFTER_1_ACCESS"),
            ],
            backup_policy=aws_efs.CfnFileSystem.BackupPolicyProperty(status="ENABLED" if props.backups else "DISABLED"),
            file_system_policy=_policy(),
        )
        keep(self.resource, props.lasting)
        for index, subnet in enumerate(props.subnet_ids):
            aws_efs.CfnMountTarget(
                self,
                f"Mount{index}",
                file_system_id=self.resource.ref,
                subnet_id=subnet,
                security_groups=[props.security_group_id],
            )
        user = str(props.user)
        point = aws_efs.CfnAccessPoint(
            self,
            "Entrance",
            file_system_id=self.resource.ref,
            posix_user=aws_efs.CfnAccessPoint.PosixUserProperty(uid=user, gid=user),
            root_directory=aws_efs.CfnAccessPoint.RootDirectoryProperty(
                path=props.folder,
                creation_info=aws_efs.CfnAccessPoint.CreationInfoProperty(
                    owner_uid=user, owner_gid=user, permissions="0750"
                ),
            ),
        )
        self.id = self.resource.ref
        self.arn = self.resource.attr_arn
        self.access_point_id = point.ref
        self.access_point_arn = point.attr_arn


def _policy() -> dict[str, object]:
    """It only refuses: with a policy there is no entry without an identity, and IAM says which may come."""
    refusal = {"Effect": "Deny", "Principal": {"AWS": "*"}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                **refusal,
                "Sid": "WithoutTls",
                "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            {**refusal, "Sid": "AsRoot", "Action": "elasticfilesystem:ClientRootAccess"},
        ],
    }
