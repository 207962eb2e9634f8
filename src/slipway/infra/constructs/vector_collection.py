"""A collection of OpenSearch Serverless for vectors: encrypted with its own key, reached from the VPC alone.

Who may read and write it says the access policy of the platform stack, which knows the roles of the tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Stack, aws_opensearchserverless
from constructs import Construct

from slipway.infra.constructs.retention import keep


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorCollectionProps:
    """`name` has 3 to 32 characters; `standby` runs it in a second zone as well.

    `services` are services of AWS that reach it too, like `bedrock.amazonaws.com` for a knowledge base.
    """

    name: str
    standby: bool
    key_arn: str
    vpc_id: str
    subnet_ids: Sequence[str]
    security_group_id: str
    lasting: bool
    services: Sequence[str] = ()


class VectorCollection(Construct):
    """One collection with its endpoint in the VPC."""

    def __init__(self, scope: Construct, construct_id: str, props: VectorCollectionProps) -> None:
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        whole = f"collection/{props.name}"
        encryption = aws_opensearchserverless.CfnSecurityPolicy(
            self,
            "Encryption",
            name=props.name,
            type="encryption",
            policy=stack.to_json_string(
                {
                    "Rules": [{"ResourceType": "collection", "Resource": [whole]}],
                    "AWSOwnedKey": False,
                    "KmsARN": props.key_arn,
                }
            ),
        )
        endpoint = aws_opensearchserverless.CfnVpcEndpoint(
            self,
            "Endpoint",
            name=props.name,
            vpc_id=props.vpc_id,
            subnet_ids=list(props.subnet_ids),
            security_group_ids=[props.security_group_id],
        )
        network = aws_opensearchserverless.CfnSecurityPolicy(
            self,
            "Network",
            name=props.name,
            type="network",
            policy=stack.to_json_string([self._reached(whole, endpoint.attr_id, props.services)]),
        )
        self.resource = aws_opensearchserverless.CfnCollection(
            self,
            "Collection",
            name=props.name,
            type="VECTORSEARCH",
            description="Vectors of the documents",
            standby_replicas="ENABLED" if props.standby else "DISABLED",
        )
        for policy in (encryption, network):
            self.resource.add_resource_dependency(policy)
        keep(self.resource, props.lasting)
        self.name = props.name
        self.id = self.resource.ref
        self.arn = self.resource.attr_arn
        self.endpoint = self.resource.attr_collection_endpoint

    @staticmethod
    def _reached(whole: str, endpoint_id: str, services: Sequence[str]) -> dict[str, object]:
        rule: dict[str, object] = {
            "Rules": [{"ResourceType": "collection", "Resource": [whole]}],
            "AllowFromPublic": False,
            "SourceVPCEs": [endpoint_id],
        }
        return {**rule, "SourceServices": list(services)} if services else rule
