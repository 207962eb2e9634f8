"""Records in a hosted zone that exists: where the API and the console answer, and where the API answers instead."""

from dataclasses import dataclass
from typing import Final, Literal

from aws_cdk import aws_route53
from constructs import Construct

from slipway.infra.naming import Names

# The zone of every CloudFront distribution (docs.aws.amazon.com/Route53, AliasTarget).
CLOUDFRONT_ZONE: Final = "Z2FDTNDATAQYW2"
_EVERY_S: Final = 30
_FAILURES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an alias leads: the name that AWS gave, and the hosted zone which that is in."""

    dns_name: str
    zone_id: str
    evaluate_health: bool = False


class HealthCheck(Construct):
    """Asks `host` by HTTPS from several places in the world; three failures in a row, 90 s, and it is unhealthy."""

    def __init__(self, scope: Construct, identifier: str, *, host: str, path: str) -> None:
        super().__init__(scope, identifier)
        self.resource = aws_route53.CfnHealthCheck(
            self,
            "Check",
            health_check_config={
                "type": "HTTPS",
                "fullyQualifiedDomainName": host,
                "resourcePath": path,
                "port": 443,
                "enableSni": True,
                "requestInterval": _EVERY_S,
                "failureThreshold": _FAILURES,
                "measureLatency": True,
            },
        )
        self.check_id = self.resource.attr_health_check_id


class Alias(Construct):
    """`name` leads to `target`, by IPv4 and where the target has it by IPv6.

    With `failover` it is one of two records of that name: the primary answers while its health check says so.
    """

    def __init__(
        self,
        scope: Construct,
        identifier: str,
        *,
        name: str,
        zone_id: str,
        target: Target,
        failover: Literal["PRIMARY", "SECONDARY"] | None = None,
        check_id: str | None = None,
        ipv6: bool = False,
    ) -> None:
        super().__init__(scope, identifier)
        self.records = [
            aws_route53.CfnRecordSet(
                self,
                Names.construct(kind.lower()),
                name=name,
                type=kind,
                hosted_zone_id=zone_id,
                alias_target={
                    "dnsName": target.dns_name,
                    "hostedZoneId": target.zone_id,
                    "evaluateTargetHealth": target.evaluate_health,
                },
                failover=failover,
                set_identifier=failover.lower() if failover else None,
                health_check_id=check_id,
            )
            for kind in (("A", "AAAA") if ipv6 else ("A",))
        ]
