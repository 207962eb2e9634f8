"""Roles of pods: one for each service account, which EKS hands to its pods and to nobody else's.

EKS Pod Identity, not IRSA: the name of an IRSA condition holds the cluster's issuer, which CloudFormation cannot write
without a custom resource. Used by the Kubernetes stack and for add-ons.
"""

from collections.abc import Sequence

from aws_cdk import Aws, aws_eks, aws_iam
from constructs import Construct

from slipway.infra.constructs.eks_cluster import EksCluster
from slipway.infra.constructs.grants import Statement, accepted
from slipway.infra.reasons import accept


def pod_role(
    scope: Construct,
    construct_id: str,
    *,
    cluster: EksCluster,
    namespace: str,
    account: str,
    statements: Sequence[Statement] = (),
    managed: Sequence[str] = (),
) -> aws_iam.CfnRole:
    """The role of a service account: of this cluster, namespace and name alone. `managed` are policies of AWS."""
    role = aws_iam.CfnRole(
        scope,
        construct_id,
        description=f"Pods of {namespace}/{account} in {cluster.name}.",
        assume_role_policy_document={
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "pods.eks.amazonaws.com"},
                    "Action": ["sts:AssumeRole", "sts:TagSession"],
                    "Condition": {
                        "StringEquals": {
                            "aws:SourceAccount": Aws.ACCOUNT_ID,
                            "aws:RequestTag/eks-cluster-name": cluster.name,
                            "aws:RequestTag/kubernetes-namespace": namespace,
                            "aws:RequestTag/kubernetes-service-account": account,
                        }
                    },
                }
            ],
        },
        managed_policy_arns=[f"arn:{Aws.PARTITION}:iam::aws:policy/{name}" for name in managed] or None,
        policies=[
            aws_iam.CfnRole.PolicyProperty(
                policy_name="Needs",
                policy_document={"Version": "2012-10-17", "Statement": [each.document() for each in statements]},
            )
        ]
        if statements
        else None,
    )
    reasons = accepted(statements)
    if managed:
        reasons["AwsSolutions-IAM4"] = "An add-on of AWS: what it needs is AWS's to know, and changes with its version."
    if reasons:
        accept(role, reasons)
    return role


class PodIdentity(Construct):
    """A service account's role, and that its pods get it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: EksCluster,
        namespace: str,
        account: str,
        statements: Sequence[Statement],
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = pod_role(self, "Role", cluster=cluster, namespace=namespace, account=account, statements=statements)
        aws_eks.CfnPodIdentityAssociation(
            self,
            "Association",
            cluster_name=cluster.resource.ref,
            namespace=namespace,
            service_account=account,
            role_arn=self.role.attr_arn,
        )
