"""The console's edge: CloudFront, its certificate and its firewall, which AWS has in us-east-1 alone."""

from typing import Final

from aws_cdk import App

from slipway.infra.constructs.certificate import Certificate
from slipway.infra.constructs.distribution import Distribution, DistributionProps
from slipway.infra.constructs.dns import CLOUDFRONT_ZONE, Alias, Target
from slipway.infra.constructs.web_acl import WebAcl, WebAclProps
from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack

REGION: Final = "us-east-1"
_OUTPUT: Final = "ConsoleUrl"


class EdgeGlobalStack(SiteStack):
    """The console's pages. `distribution` has its bucket and ids, `web_acl` is None where the firewall is off."""

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Where the manifest has the console on CloudFront."""
        return site.manifest.edge.cdn

    def __init__(self, scope: App, site: Site) -> None:
        super().__init__(
            scope, site, "edge-global", description=f"The console of {site.names.prefix} on CloudFront.", region=REGION
        )
        edge = site.manifest.edge
        days = site.manifest.monitoring.log_retention.days
        self.web_acl: WebAcl | None = None
        if edge.waf:
            self.web_acl = WebAcl(
                self,
                "Firewall",
                WebAclProps(
                    scope="CLOUDFRONT",
                    metric=f"{site.names.prefix}-console",
                    rate=edge.waf_rate,
                    prompt_paths=(),
                    log_days=days,
                ),
            )
        domain = edge.domain
        self.distribution = Distribution(
            self,
            "Console",
            DistributionProps(
                comment=site.names.prefix,
                connects=self._connects(),
                log_group=site.names.log_group("console"),
                log_days=days,
                tls=edge.tls,
                domain=None if domain is None else domain.console_name,
                certificate_arn=self._certificate(),
                web_acl_arn=None if self.web_acl is None else self.web_acl.arn,
                lasting=site.lasting,
            ),
        )
        if domain is not None:
            Alias(
                self,
                "Record",
                name=domain.console_name,
                zone_id=domain.zone_id,
                target=Target(dns_name=self.distribution.domain_name, zone_id=CLOUDFRONT_ZONE),
                ipv6=True,
            )
        self.publish(_OUTPUT, self.distribution.url, "Where the console answers.")
        self.publish("ConsoleBucket", self.distribution.bucket.ref, "Where the console's files are put.")
        self.publish("DistributionId", self.distribution.distribution_id, "To invalidate after new files were put.")

    def console_url_for(self, stack: SiteStack) -> str:
        """Where the console answers, as `stack` may refer to it: by name with a domain, else by a parameter."""
        domain = self.site.manifest.edge.domain
        if domain is not None:
            return f"https://{domain.console_name}"
        return stack.take(_OUTPUT, self, _OUTPUT, "Where the console answers, from the edge-global stack.")

    def _certificate(self) -> str | None:
        domain = self.site.manifest.edge.domain
        if domain is None:
            return None
        if domain.cdn_certificate is not None:
            return domain.cdn_certificate
        return Certificate(self, "Certificate", name=domain.console_name, zone_id=domain.zone_id).arn

    def _connects(self) -> tuple[str, ...]:
        """What the page may call: the API, and Cognito for tokens."""
        site = self.site
        edge = site.manifest.edge
        api = f"https://*.execute-api.{site.region}.amazonaws.com"
        if edge.domain is not None:
            api = f"https://{edge.domain.name}"
        elif not edge.api_gateway:
            api = f"https://*.{site.region}.elb.amazonaws.com"
        if site.manifest.identity.user_pool is None:
            return (api,)
        return (api, f"https://*.auth.{site.region}.amazoncognito.com")
