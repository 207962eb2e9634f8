"""The control plane of Kubernetes: reached from inside the VPC alone, logged, its secrets encrypted by a key of ours.

Who may do what in it is said by access entries, not by a list inside the cluster. Used by the Kubernetes stack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aws_cdk import Aws, aws_ec2, aws_eks, aws_iam, aws_logs
from constructs import Construct

from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

LOG_TYPES: Final = ("api", "audit", "authenticator", "controllerManager", "scheduler")
AccessPolicy = Literal["AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy", "AmazonEKSViewPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EksClusterProps:
    """One cluster. `version` is that of Kubernetes; `log_key_arn` encrypts the control plane's logs."""

    name: str
    version: str
    subnet_ids: Sequence[str]
    secrets_key_arn: str
    log_days: int
    log_key_arn: str
    protected: bool


class EksCluster(Construct):
    """One control plane. `security_group` is the group that EKS makes for it and its nodes."""

    def __init__(self, scope: Construct, construct_id: str, props: EksClusterProps) -> None:
        super().__init__(scope, construct_id)
        self.name = props.name
        self.arn = f"arn:{Aws.PARTITION}:eks:{Aws.REGION}:{Aws.ACCOUNT_ID}:cluster/{props.name}"
        role = self._role(props)
        # Under the name that EKS writes to: made by EKS it would be kept for ever, and not with our key.
        log = aws_logs.CfnLogGroup(
            self,
            "Log",
            log_group_name=f"/aws/eks/{props.name}/cluster",
            retention_in_days=props.log_days,
            kms_key_id=props.log_key_arn,
        )
        keep(log, lasting=False)
        cluster = aws_eks.CfnCluster
        self.resource = cluster(
            self,
            "Cluster",
            name=props.name,
            version=props.version,
            role_arn=role.attr_arn,
            deletion_protection=props.protected,
            resources_vpc_config=cluster.ResourcesVpcConfigProperty(
                subnet_ids=list(props.subnet_ids), endpoint_private_access=True, endpoint_public_access=False
            ),
            access_config=cluster.AccessConfigProperty(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=False
            ),
            bootstrap_self_managed_addons=False,
            upgrade_policy=cluster.UpgradePolicyProperty(support_type="STANDARD"),
            encryption_config=[
                cluster.EncryptionConfigProperty(
                    provider=cluster.ProviderProperty(key_arn=props.secrets_key_arn), resources=["secrets"]
                )
            ],
            logging=cluster.LoggingProperty(
                cluster_logging=cluster.ClusterLoggingProperty(
                    enabled_types=[cluster.LoggingTypeConfigProperty(type=each) for each in LOG_TYPES]
                )
            ),
        )
        self.resource.add_resource_dependency(log)
        self.security_group = self.resource.attr_cluster_security_group_id

    def admit(self, scope: Construct, construct_id: str, security_group_id: str, why: str) -> None:
        """Lets a group call the cluster's API."""
        aws_ec2.CfnSecurityGroupIngress(
            scope,
            construct_id,
            group_id=self.security_group,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            source_security_group_id=security_group_id,
            description=why,
        )

    def entitle(
        self, scope: Construct, construct_id: str, role_arn: str, rights: Mapping[AccessPolicy, Sequence[str]]
    ) -> aws_eks.CfnAccessEntry:
        """Gives a role rights in the cluster: each of `rights` in some namespaces, or in all when it names none."""
        entry = aws_eks.CfnAccessEntry
        return entry(
            scope,
            construct_id,
            cluster_name=self.resource.ref,
            principal_arn=role_arn,
            type="STANDARD",
            access_policies=[
                entry.AccessPolicyProperty(
                    policy_arn=f"arn:{Aws.PARTITION}:eks::aws:cluster-access-policy/{policy}",
                    access_scope=entry.AccessScopeProperty(
                        type="namespace" if namespaces else "cluster", namespaces=list(namespaces) or None
                    ),
                )
                for policy, namespaces in rights.items()
            ],
        )

    def _role(self, props: EksClusterProps) -> aws_iam.CfnRole:
        role = aws_iam.CfnRole(
            self,
            "Role",
            description=f"What the control plane of {props.name} does in the VPC.",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "eks.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
                    }
                ],
            },
            managed_policy_arns=[f"arn:{Aws.PARTITION}:iam::aws:policy/AmazonEKSClusterPolicy"],
            policies=[
                aws_iam.CfnRole.PolicyProperty(
                    policy_name="key",
                    policy_document={
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Sid": "SecretsKey",
                                "Effect": "Allow",
                                "Action": ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt"],
                                "Resource": props.secrets_key_arn,
                            }
                        ],
                    },
                )
            ],
        )
        accept(
            role,
            {"AwsSolutions-IAM4": "What EKS itself needs is AWS's to know, and changes with versions of Kubernetes."},
        )
        return role
