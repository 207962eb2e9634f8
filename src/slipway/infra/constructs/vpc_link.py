"""A VPC link (version 2): how API Gateway reaches the private load balancer itself.

REST APIs wanted a network load balancer in between until November 2025; `Integration.IntegrationTarget` names the
application load balancer instead, and the link's interfaces stand in the private subnets under a security group.
"""

from collections.abc import Sequence

from aws_cdk import aws_apigatewayv2
from constructs import Construct


class VpcLink(Construct):
    """The link; `link_id` is what an integration names."""

    def __init__(
        self,
        scope: Construct,
        identifier: str,
        *,
        name: str,
        subnet_ids: Sequence[str],
        security_group_ids: Sequence[str],
    ) -> None:
        super().__init__(scope, identifier)
        self.resource = aws_apigatewayv2.CfnVpcLink(
            self, "Link", name=name, subnet_ids=list(subnet_ids), security_group_ids=list(security_group_ids)
        )
        self.link_id = self.resource.ref
