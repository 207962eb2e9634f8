"""Instances for tasks: an auto scaling group behind a capacity provider, which ECS keeps as full as asked.

For `compute: ec2`. The group's size follows the tasks that wait: ECS scales it between its bounds. Instances are
patched by replacing them (the image's id is a public parameter, read whenever one starts), reached by nobody, and
drained before they go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, Fn, Tags, aws_autoscaling, aws_ec2, aws_ecs, aws_iam
from constructs import Construct

from slipway.infra.constructs.cluster import Cluster
from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.roles import role
from slipway.infra.reasons import accept

HOST_FOLDERS: Final = "/var/lib/slipway"
_IMAGE: Final = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
_WARMUP_S: Final = 120  # arbitrary: an instance boots and joins in about a minute
_DRAIN_S: Final = 300  # tasks stop within 30 s; the rest is for their replacements to become healthy elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFolder:
    """A folder of each instance for one workload; `user` owns it."""

    workload: str
    user: int

    @property
    def path(self) -> str:
        """Where it is on the instance."""
        return f"{HOST_FOLDERS}/{self.workload}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityProps:
    """A group of instances: bounds, how full they are to be (percent), the disk of each in GiB. `files` says that tasks
    mount file systems, which their instances do for them."""

    instance: str
    least: int
    most: int
    target: int
    disk_gib: int
    subnet_ids: Sequence[str]
    security_group_ids: Sequence[str]
    host_folders: Sequence[HostFolder] = ()
    files: bool = False


class Capacity(Construct):
    """The instances of a cluster. `name` is the capacity provider's."""

    def __init__(self, scope: Construct, construct_id: str, props: CapacityProps, cluster: Cluster) -> None:
        super().__init__(scope, construct_id)
        self.role = role(
            self,
            "Role",
            service="ec2.amazonaws.com",
            description="What an instance needs to be part of its cluster; tasks have roles of their own",
            statements=_instance_statements(cluster),
        )
        profile = aws_iam.CfnInstanceProfile(self, "Profile", roles=[self.role.ref])
        template = self._template(props, cluster, profile)
        self.group = self._group(props, template)
        provider = aws_ecs.CfnCapacityProvider(
            self,
            "Provider",
            auto_scaling_group_provider=aws_ecs.CfnCapacityProvider.AutoScalingGroupProviderProperty(
                auto_scaling_group_arn=self.group.attr_auto_scaling_group_arn,
                managed_draining="ENABLED",
                managed_termination_protection="ENABLED",
                managed_scaling=aws_ecs.CfnCapacityProvider.ManagedScalingProperty(
                    status="ENABLED",
                    target_capacity=props.target,
                    minimum_scaling_step_size=1,
                    maximum_scaling_step_size=max(props.most, 1),
                    instance_warmup_period=_WARMUP_S,
                ),
            ),
        )
        self.name = provider.ref

    def _template(
        self, props: CapacityProps, cluster: Cluster, profile: aws_iam.CfnInstanceProfile
    ) -> aws_ec2.CfnLaunchTemplate:
        template = aws_ec2.CfnLaunchTemplate
        return template(
            self,
            "Template",
            launch_template_data=template.LaunchTemplateDataProperty(
                image_id=f"resolve:ssm:{_IMAGE}",
                instance_type=props.instance,
                iam_instance_profile=template.IamInstanceProfileProperty(arn=profile.attr_arn),
                security_group_ids=list(props.security_group_ids),
                monitoring=template.MonitoringProperty(enabled=True),
                ebs_optimized=True,
                metadata_options=template.MetadataOptionsProperty(
                    http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
                ),
                block_device_mappings=[
                    template.BlockDeviceMappingProperty(
                        device_name="/dev/xvda",
                        ebs=template.EbsProperty(
                            encrypted=True, volume_type="gp3", volume_size=props.disk_gib, delete_on_termination=True
                        ),
                    )
                ],
                user_data=Fn.base64(_user_data(cluster.name, props)),
            ),
        )

    def _group(self, props: CapacityProps, template: aws_ec2.CfnLaunchTemplate) -> aws_autoscaling.CfnAutoScalingGroup:
        group = aws_autoscaling.CfnAutoScalingGroup(
            self,
            "Group",
            min_size=str(props.least),
            max_size=str(props.most),
            vpc_zone_identifier=list(props.subnet_ids),
            launch_template=aws_autoscaling.CfnAutoScalingGroup.LaunchTemplateSpecificationProperty(
                launch_template_id=template.ref, version=template.attr_latest_version_number
            ),
            health_check_type="EC2",
            health_check_grace_period=_WARMUP_S,
            default_instance_warmup=_WARMUP_S,
            cooldown=str(_WARMUP_S),
            # ECS takes the protection away from an instance without tasks: no other one is stopped.
            new_instances_protected_from_scale_in=True,
            capacity_rebalance=False,
            termination_policies=["OldestLaunchTemplate", "OldestInstance"],
            metrics_collection=[aws_autoscaling.CfnAutoScalingGroup.MetricsCollectionProperty(granularity="1Minute")],
        )
        Tags.of(group).add("AmazonECSManaged", "", apply_to_launched_instances=True)
        accept(
            group,
            {
                "AwsSolutions-AS3": "Instances come and go with the tasks by themselves; who is told of what stays "
                "stands in the alarms.",
            },
        )
        return group


def _instance_statements(cluster: Cluster) -> tuple[Statement, ...]:
    within = {"ArnEquals": {"ecs:cluster": cluster.arn}}
    instances = f"arn:{Aws.PARTITION}:ecs:{Aws.REGION}:{Aws.ACCOUNT_ID}:container-instance/{cluster.name}/*"
    return (
        Statement("Join", ("ecs:RegisterContainerInstance", "ecs:DeregisterContainerInstance"), (cluster.arn,)),
        Statement(
            "Report",
            ("ecs:SubmitTaskStateChange", "ecs:SubmitContainerStateChange", "ecs:SubmitAttachmentStateChanges"),
            (cluster.arn,),
        ),
        Statement(
            "Listen",
            ("ecs:Poll", "ecs:StartTelemetrySession", "ecs:UpdateContainerInstancesState", "ecs:PutSystemLogEvents"),
            (instances,),
            within,
            reason="An instance learns its id when it joins; the cluster is named.",
        ),
        Statement(
            "Discover",
            ("ecs:DiscoverPollEndpoint",),
            ("*",),
            reason="Where an agent listens is asked before anything is known that a right could name.",
        ),
    )


def _user_data(cluster: str, props: CapacityProps) -> str:
    """What an instance does when it starts: it joins the cluster, makes its folders, and can mount file systems."""
    lines = [
        "#!/bin/bash",
        "set -euo pipefail",
        "cat > /etc/ecs/ecs.config <<'END'",
        f"ECS_CLUSTER={cluster}",
        "ECS_AWSVPC_BLOCK_IMDS=true",
        "ECS_DISABLE_PRIVILEGED=true",
        "ECS_ENABLE_TASK_IAM_ROLE=true",
        "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true",
        "ECS_IMAGE_PULL_BEHAVIOR=once",
        "ECS_CONTAINER_STOP_TIMEOUT=30s",
        "END",
        *(f"install -d -m 0700 -o {each.user} -g {each.user} {each.path}" for each in props.host_folders),
        *(["rpm -q amazon-efs-utils || dnf install -y -q amazon-efs-utils"] if props.files else []),
    ]
    return "\n".join(lines) + "\n"
