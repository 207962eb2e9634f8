"""A domain of one's own in front of a REST API: its certificate and the oldest TLS that it speaks."""

from typing import Final

from aws_cdk import aws_apigateway
from constructs import Construct

from slipway.infra.constructs.dns import Target

SECURITY_POLICIES: Final = {
    "1.3": "SecurityPolicy_TLS13_1_3_2025_09",
    "1.2": "SecurityPolicy_TLS13_1_2_PQ_2025_09",
}


class ApiDomain(Construct):
    """The domain name; `target` is where its record leads."""

    def __init__(self, scope: Construct, identifier: str, *, name: str, certificate_arn: str, tls: str) -> None:
        super().__init__(scope, identifier)
        self.resource = aws_apigateway.CfnDomainName(
            self,
            "Name",
            domain_name=name,
            regional_certificate_arn=certificate_arn,
            endpoint_configuration={"types": ["REGIONAL"]},
            security_policy=SECURITY_POLICIES[tls],
            endpoint_access_mode="STRICT",
        )
        self.target = Target(
            dns_name=self.resource.attr_regional_domain_name,
            zone_id=self.resource.attr_regional_hosted_zone_id,
        )

    def lead_to(self, api_id: str, stage: str) -> aws_apigateway.CfnBasePathMapping:
        """Every path of the domain is the API's, without the stage's name."""
        return aws_apigateway.CfnBasePathMapping(
            self, "Mapping", domain_name=self.resource.ref, rest_api_id=api_id, stage=stage
        )
