"""The cluster's add-ons, which EKS installs and keeps: network, names, disks, secrets, certificates, telemetry.

Without a version EKS takes the one that it tests the cluster's version of Kubernetes with. The AWS Load Balancer
Controller is none of EKS's add-ons: `applier` installs it. Used by the Kubernetes stack.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aws_cdk import CfnResource, aws_eks
from constructs import Construct

from slipway.infra.constructs.eks_cluster import EksCluster
from slipway.infra.constructs.pod_identity import pod_role
from slipway.infra.naming import Names

_SYSTEM: Final = "kube-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addon:
    """One add-on. `account` gets a role with AWS's `policies`; `settings` are values of the add-on's own schema."""

    name: str
    account: str = ""
    policies: Sequence[str] = ()
    namespace: str = _SYSTEM
    settings: Mapping[str, Any] = field(default_factory=dict)


# What a node asks of before it is ready, and so before the nodes.
BEFORE_NODES: Final = (
    Addon(
        name="vpc-cni",
        account="aws-node",
        policies=("AmazonEKS_CNI_Policy",),
        # Network policies hold; and a node has room for 110 pods, not for one an address (17 of t3.medium).
        settings={
            "enableNetworkPolicy": "true",
            "env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"},
        },
    ),
    Addon(name="kube-proxy"),
    Addon(name="eks-pod-identity-agent"),
)
AFTER_NODES: Final = (
    Addon(name="coredns"),
    Addon(
        name="aws-ebs-csi-driver", account="ebs-csi-controller-sa", policies=("service-role/AmazonEBSCSIDriverPolicy",)
    ),
    Addon(name="cert-manager", namespace="cert-manager"),
    Addon(name="metrics-server"),
    Addon(
        name="aws-secrets-store-csi-driver-provider",
        settings={"secrets-store-csi-driver": {"syncSecret": {"enabled": True}}},
    ),
)
# ADOT's operator asks cert-manager for the certificate of its webhook.
TELEMETRY: Final = Addon(name="adot", namespace="opentelemetry-operator-system")
# Logs of containers, and what Container Insights shows.
OBSERVABILITY: Final = Addon(
    name="amazon-cloudwatch-observability",
    account="cloudwatch-agent",
    policies=("CloudWatchAgentServerPolicy",),
    namespace="amazon-cloudwatch",
)


class Addons(Construct):
    """Add-ons of a cluster, all behind `after`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: EksCluster,
        addons: Sequence[Addon],
        after: Sequence[CfnResource] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.resources = {addon.name: self._install(cluster, addon, after) for addon in addons}

    def _install(self, cluster: EksCluster, addon: Addon, after: Sequence[CfnResource]) -> aws_eks.CfnAddon:
        name = Names.construct(addon.name)
        identities = None
        if addon.account:
            role = pod_role(
                self,
                f"{name}Role",
                cluster=cluster,
                namespace=addon.namespace,
                account=addon.account,
                managed=addon.policies,
            )
            identities = [
                aws_eks.CfnAddon.PodIdentityAssociationProperty(role_arn=role.attr_arn, service_account=addon.account)
            ]
        installed = aws_eks.CfnAddon(
            self,
            name,
            addon_name=addon.name,
            cluster_name=cluster.resource.ref,
            resolve_conflicts="OVERWRITE",
            preserve_on_delete=False,
            pod_identity_associations=identities,
            configuration_values=json.dumps(addon.settings, sort_keys=True) if addon.settings else None,
        )
        for resource in after:
            installed.add_resource_dependency(resource)
        return installed
