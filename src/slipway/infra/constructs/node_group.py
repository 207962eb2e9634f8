"""Nodes for pods: instances that EKS keeps between two bounds and replaces when their image is patched.

A pod has a role of its own (`pod_identity`); a node's role may what a node needs to join and to pull images, and pods
cannot reach it: the metadata service answers one hop away alone. Used by the Kubernetes stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, aws_ec2, aws_eks, aws_iam
from constructs import Construct

from slipway.infra.constructs.eks_cluster import EksCluster
from slipway.infra.reasons import accept

_AMI: Final = "AL2023_x86_64_STANDARD"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroupProps:
    """One group of instances, all of one type."""

    instance: str
    least: int
    most: int
    disk_gib: int
    version: str
    subnet_ids: Sequence[str]
    security_group_ids: Sequence[str]


class NodeGroup(Construct):
    """One managed node group."""

    def __init__(self, scope: Construct, construct_id: str, cluster: EksCluster, props: NodeGroupProps) -> None:
        super().__init__(scope, construct_id)
        role = self._role(cluster)
        template = self._template(props)
        group = aws_eks.CfnNodegroup
        self.resource = group(
            self,
            "Nodes",
            cluster_name=cluster.resource.ref,
            version=props.version,
            node_role=role.attr_arn,
            subnets=list(props.subnet_ids),
            ami_type=_AMI,
            capacity_type="ON_DEMAND",
            instance_types=[props.instance],
            launch_template=group.LaunchTemplateSpecificationProperty(
                id=template.ref, version=template.attr_latest_version_number
            ),
            # No desired size: EKS changes it, and a deploy must not set it back.
            scaling_config=group.ScalingConfigProperty(min_size=props.least, max_size=props.most),
            update_config=group.UpdateConfigProperty(max_unavailable=1),
            node_repair_config=group.NodeRepairConfigProperty(enabled=True),
        )

    def _role(self, cluster: EksCluster) -> aws_iam.CfnRole:
        role = aws_iam.CfnRole(
            self,
            "Role",
            description=f"What a node of {cluster.name} needs to join and to pull images.",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
                ],
            },
            managed_policy_arns=[
                f"arn:{Aws.PARTITION}:iam::aws:policy/{name}"
                for name in ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
            ],
        )
        accept(
            role,
            {"AwsSolutions-IAM4": "What a node needs to join is AWS's to know; images are pulled, never pushed."},
        )
        return role

    def _template(self, props: NodeGroupProps) -> aws_ec2.CfnLaunchTemplate:
        template = aws_ec2.CfnLaunchTemplate
        return template(
            self,
            "Template",
            launch_template_data=template.LaunchTemplateDataProperty(
                security_group_ids=list(props.security_group_ids),
                monitoring=template.MonitoringProperty(enabled=True),
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
            ),
        )
