"""The operators' stack: one instance inside the network, whatever containers run on."""

from aws_cdk import App

from slipway.infra.constructs.bastion import CODE_SERVER_PORT, Bastion, BastionProps
from slipway.infra.constructs.eks_cluster import EksCluster
from slipway.infra.passages import BASTION
from slipway.infra.site import Site
from slipway.infra.stacks.foundation import FoundationStack
from slipway.infra.stacks.kubernetes import NAMESPACE
from slipway.infra.stacks.stack import SiteStack

_GIB = 2**30


class BastionStack(SiteStack):
    """The bastion, and its way into the cluster where there is one: all rights in the platform's namespace, and to see
    what is in the others."""

    def __init__(self, scope: App, site: Site, *, foundation: FoundationStack, cluster: EksCluster | None) -> None:
        super().__init__(scope, site, "bastion", description=f"The instance of operators of {site.names.prefix}.")
        settings = site.manifest.bastion
        if settings is None:
            raise ValueError("This site has no bastion.")
        group = foundation.security_group(BASTION)
        self.bastion = Bastion(
            self,
            "Bastion",
            BastionProps(
                name=f"{site.names.prefix}-bastion",
                instance=settings.instance,
                disk_gib=-(-settings.disk.bytes // _GIB),
                subnet_id=foundation.task_subnet_ids[0],
                security_group_id=group,
                protected=site.production,
                cluster=None if cluster is None else cluster.name,
                kubernetes=site.manifest.capacity.kubernetes,
            ),
        )
        if cluster is not None:
            cluster.admit(self, "CallsCluster", group, "Operators call the cluster")
            cluster.entitle(
                self,
                "Access",
                self.bastion.role.attr_arn,
                {"AmazonEKSAdminPolicy": (NAMESPACE,), "AmazonEKSViewPolicy": ()},
            )
        self.publish("BastionId", self.bastion.resource.ref, f"Session Manager forwards {CODE_SERVER_PORT} from it.")

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether the manifest has a bastion."""
        return site.manifest.bastion is not None
