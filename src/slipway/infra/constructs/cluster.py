"""The cluster that tasks run in, and where their capacity comes from. Made once by the platform stack."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import aws_ecs
from constructs import Construct

FARGATE: Final = "FARGATE"
FARGATE_SPOT: Final = "FARGATE_SPOT"


class Cluster(Construct):
    """An ECS cluster. Container Insights measure each task and container when `insights` says so."""

    def __init__(self, scope: Construct, construct_id: str, *, name: str, insights: bool) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        self.resource = aws_ecs.CfnCluster(
            self,
            "Cluster",
            cluster_name=name,
            cluster_settings=[
                aws_ecs.CfnCluster.ClusterSettingsProperty(
                    name="containerInsights", value="enhanced" if insights else "disabled"
                )
            ],
        )
        self.arn = self.resource.attr_arn

    def provide(self, providers: Sequence[str], default: str) -> aws_ecs.CfnClusterCapacityProviderAssociations:
        """Ties capacity providers to the cluster, and says which one serves who names none."""
        return aws_ecs.CfnClusterCapacityProviderAssociations(
            self,
            "Capacity",
            cluster=self.resource.ref,
            capacity_providers=list(providers),
            default_capacity_provider_strategy=[
                aws_ecs.CfnClusterCapacityProviderAssociations.CapacityProviderStrategyProperty(
                    capacity_provider=default, base=0, weight=1
                )
            ],
        )
