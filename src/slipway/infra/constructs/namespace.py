"""Private names: parts find each other as `redis.<namespace>`, inside the VPC alone. Used by the foundation."""

from aws_cdk import aws_servicediscovery
from constructs import Construct


class Namespace(Construct):
    """A namespace of Cloud Map, over a private hosted zone."""

    def __init__(self, scope: Construct, construct_id: str, *, name: str, vpc_id: str) -> None:
        super().__init__(scope, construct_id)
        self.resource = aws_servicediscovery.CfnPrivateDnsNamespace(
            self, "Namespace", name=name, vpc=vpc_id, description="Where parts of the platform find each other"
        )
        self.id = self.resource.attr_id
        self.arn = self.resource.attr_arn
        self.name = name
