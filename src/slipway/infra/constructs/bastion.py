"""The operators' instance: in a private subnet, reached by Session Manager alone, with an operator's tools.

Nobody can connect to it: its group lets nothing in, and code-server listens on its own loopback, to which Session
Manager forwards a port. Used by the Kubernetes stack, or by the platform's where containers run on ECS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, CfnTag, Fn, aws_ec2, aws_iam
from constructs import Construct

from slipway.infra.constructs.grants import Statement, accepted
from slipway.infra.constructs.tools import kubectl
from slipway.infra.reasons import accept

_IMAGE: Final = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
_CODE_SERVER: Final = "4.139.1"
CODE_SERVER_PORT: Final = 8080
_CODE_SERVER_OPTIONS: Final = "--auth none --disable-telemetry --disable-update-check"
_PACKAGES: Final = (
    "docker",
    "gcc-c++",
    "git-core",
    "make",
    "nodejs24",  # code-server asks for 24
    "nodejs24-npm",
    "python3.12",
    "python3.12-devel",
    "python3.12-pip",
)
_USER: Final = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class BastionProps:
    """One instance. `cluster` is the name of the Kubernetes cluster that it is to reach, if there is one; `kubernetes`
    the version of that one."""

    name: str
    instance: str
    disk_gib: int
    subnet_id: str
    security_group_id: str
    protected: bool
    cluster: str | None = None
    kubernetes: str = ""


class Bastion(Construct):
    """One instance with its `role`."""

    def __init__(self, scope: Construct, construct_id: str, props: BastionProps) -> None:
        super().__init__(scope, construct_id)
        self.role = _role(self, props)
        profile = aws_iam.CfnInstanceProfile(self, "Profile", roles=[self.role.ref])
        template = self._template(props)
        self.resource = aws_ec2.CfnInstance(
            self,
            "Instance",
            instance_type=props.instance,
            subnet_id=props.subnet_id,
            security_group_ids=[props.security_group_id],
            iam_instance_profile=profile.ref,
            launch_template=aws_ec2.CfnInstance.LaunchTemplateSpecificationProperty(
                launch_template_id=template.ref, version=template.attr_latest_version_number
            ),
            ebs_optimized=True,
            monitoring=True,
            disable_api_termination=props.protected,
            tags=[CfnTag(key="Name", value=props.name)],
        )
        if not props.protected:
            accept(
                self.resource,
                {"AwsSolutions-EC29": "It holds nothing that is not elsewhere; outside production it goes."},
            )

    def _template(self, props: BastionProps) -> aws_ec2.CfnLaunchTemplate:
        """The image's id is read at launch: stated for the instance, each newer one would replace it."""
        template = aws_ec2.CfnLaunchTemplate
        return template(
            self,
            "Template",
            launch_template_data=template.LaunchTemplateDataProperty(
                image_id=f"resolve:ssm:{_IMAGE}",
                metadata_options=template.MetadataOptionsProperty(
                    http_endpoint="enabled",
                    http_tokens="required",
                    http_put_response_hop_limit=1,
                    instance_metadata_tags="disabled",
                ),
                block_device_mappings=[
                    template.BlockDeviceMappingProperty(
                        device_name="/dev/xvda",
                        ebs=template.EbsProperty(
                            encrypted=True, volume_type="gp3", volume_size=props.disk_gib, delete_on_termination=True
                        ),
                    )
                ],
                user_data=Fn.base64("\n".join(_user_data(props)) + "\n"),
            ),
        )


def _role(scope: Construct, props: BastionProps) -> aws_iam.CfnRole:
    statements = _reach(props.cluster)
    role = aws_iam.CfnRole(
        scope,
        "Role",
        description=f"What {props.name} may do; operators' own rights are in their own roles.",
        assume_role_policy_document={
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        },
        managed_policy_arns=[f"arn:{Aws.PARTITION}:iam::aws:policy/AmazonSSMManagedInstanceCore"],
        policies=[
            aws_iam.CfnRole.PolicyProperty(
                policy_name="Needs",
                policy_document={"Version": "2012-10-17", "Statement": [each.document() for each in statements]},
            )
        ]
        if statements
        else None,
    )
    accept(
        role,
        {
            "AwsSolutions-IAM4": "What Session Manager's agent needs is AWS's to know.",
            **accepted(statements),
        },
    )
    return role


def _reach(cluster: str | None) -> tuple[Statement, ...]:
    if cluster is None:
        return ()
    arn = f"arn:{Aws.PARTITION}:eks:{Aws.REGION}:{Aws.ACCOUNT_ID}:cluster/{cluster}"
    return (Statement("FindCluster", ("eks:DescribeCluster",), (arn,)),)


def _user_data(props: BastionProps) -> Sequence[str]:
    """What the instance installs when it starts first. Packages come from the release of Amazon Linux that the image is
    of, which fixes their versions, signed; the rest by version and checksum or npm's lock."""
    return (
        "#!/bin/bash",
        "set -euo pipefail",
        f"dnf -y -q install {' '.join(_PACKAGES)}",
        "systemctl enable --now docker",
        f"useradd --create-home --groups docker {_USER}",
        kubectl(props.kubernetes or "1.35").fetch("/usr/local/bin/kubectl"),
        "chmod 0755 /usr/local/bin/kubectl",
        # Its package holds a lock with hashes of all that it needs; scripts build what is native.
        f"npm-24 install --global --no-audit --no-fund --unsafe-perm code-server@{_CODE_SERVER}",
        "cat > /etc/systemd/system/code-server.service <<'END'",
        "[Unit]",
        "Description=VS Code in the browser, behind Session Manager's port forwarding",
        "After=network-online.target",
        "[Service]",
        f"User={_USER}",
        # Who reaches the loopback has come through Session Manager, with a right to it.
        f"ExecStart=/usr/bin/env code-server --bind-addr 127.0.0.1:{CODE_SERVER_PORT} {_CODE_SERVER_OPTIONS}",
        "Restart=always",
        "NoNewPrivileges=true",
        "[Install]",
        "WantedBy=multi-user.target",
        "END",
        "systemctl daemon-reload",
        "systemctl enable --now code-server",
        *(_kubeconfig(props.cluster) if props.cluster else ()),
    )


def _kubeconfig(cluster: str) -> tuple[str, ...]:
    return (f"runuser -u {_USER} -- aws eks update-kubeconfig --region {Aws.REGION} --name {cluster}",)
