"""A name in the private DNS for one workload, which leads to its tasks that are well."""

from typing import Final

from aws_cdk import aws_servicediscovery
from constructs import Construct

_TTL_S: Final = 10  # how long who asked goes on calling a task that is gone


class DiscoveredName(Construct):
    """`<name>.<namespace>`: an address record of each task."""

    def __init__(self, scope: Construct, construct_id: str, *, name: str, namespace_id: str) -> None:
        super().__init__(scope, construct_id)
        service = aws_servicediscovery.CfnService
        self.resource = service(
            self,
            "Name",
            name=name,
            namespace_id=namespace_id,
            dns_config=service.DnsConfigProperty(
                routing_policy="MULTIVALUE",
                dns_records=[service.DnsRecordProperty(type="A", ttl=_TTL_S)],
            ),
            health_check_custom_config=service.HealthCheckCustomConfigProperty(failure_threshold=1),
        )
        self.arn = self.resource.attr_arn
