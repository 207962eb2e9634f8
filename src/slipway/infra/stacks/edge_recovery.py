"""The domain's second door, in the recovery region: it stands open from the start, and leads on once a failover opened.

A domain name of API Gateway costs nothing while nothing is behind it. So the record that answers when the first region
does not is there before it is needed, and a failover has no DNS to change.
"""

from aws_cdk import App

from slipway.infra.constructs.api_domain import ApiDomain
from slipway.infra.constructs.certificate import Certificate
from slipway.infra.constructs.dns import Alias
from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack


class EdgeRecoveryStack(SiteStack):
    """Certificate, domain name and secondary record. `domain` is what the restored API is put behind."""

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Where the manifest asks for a failover of a domain that an API Gateway answers."""
        recovery, edge = site.manifest.recovery, site.manifest.edge
        return recovery.failover and recovery.region is not None and edge.api_gateway and edge.domain is not None

    def __init__(self, scope: App, site: Site) -> None:
        recovery, edge = site.manifest.recovery, site.manifest.edge
        assert recovery.region is not None
        assert edge.domain is not None
        super().__init__(
            scope,
            site,
            "edge-recovery",
            description=f"Where {site.names.prefix} answers when {site.region} does not.",
            region=recovery.region,
        )
        certificate = Certificate(self, "Certificate", name=edge.domain.name, zone_id=edge.domain.zone_id)
        self.domain = ApiDomain(self, "Domain", name=edge.domain.name, certificate_arn=certificate.arn, tls=edge.tls)
        Alias(
            self,
            "Record",
            name=edge.domain.name,
            zone_id=edge.domain.zone_id,
            target=self.domain.target,
            failover="SECONDARY",
        )
        self.publish("DomainName", self.domain.resource.ref, "The name that the restored API is put behind.")
