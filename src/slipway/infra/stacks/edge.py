"""What stands between the internet and the platform: the REST API, the firewall, and the domain's records."""

from collections.abc import Sequence
from typing import Final, Protocol

from aws_cdk import App, CfnDeletionPolicy, aws_apigateway, aws_iam

from slipway.infra.api_document import api_routes, prompt_paths
from slipway.infra.constructs.api_domain import ApiDomain
from slipway.infra.constructs.dns import Alias, HealthCheck, Target
from slipway.infra.constructs.rest_api import STAGE, Backend, Clients, RestApi, RestApiProps, Throttle
from slipway.infra.constructs.vpc_link import VpcLink
from slipway.infra.constructs.web_acl import WebAcl, WebAclProps
from slipway.infra.reasons import accept
from slipway.infra.site import Site
from slipway.infra.stacks.access import Access
from slipway.infra.stacks.platform import host_of
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.topology import VPC_LINK


class Ground(Protocol):
    """What the foundation has for the link."""

    @property
    def private_subnet_ids(self) -> Sequence[str]:
        """Subnets that the internet does not reach."""

    def security_group(self, name: str) -> str:
        """The id of a group, by the name of what stands in it."""


class FrontDoor(Protocol):
    """The platform's load balancer, its own or one that it shares."""

    @property
    def arn(self) -> str:
        """Its ARN."""

    @property
    def dns_name(self) -> str:
        """The name that AWS gave it."""

    @property
    def zone_id(self) -> str:
        """The hosted zone of that name."""


_MANAGED_POLICY: Final = "service-role/AmazonAPIGatewayPushToCloudWatchLogs"


class EdgeStack(SiteStack):
    """The way in.

    `rest_api` and `web_acl` are None where the manifest has none; `api_url` is where the platform answers; there is a
    `health_check` where the recovery region may take over.
    """

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether there is anything to make: CloudFormation takes no empty stack."""
        edge = site.manifest.edge
        return edge.api_gateway or edge.domain is not None or (edge.waf and site.manifest.share is None)

    def __init__(self, scope: App, site: Site, *, foundation: Ground, access: Access, front_door: FrontDoor) -> None:
        super().__init__(scope, site, "edge", description=f"The way into {site.names.prefix}.")
        edge = site.manifest.edge
        self._front_door = front_door
        self._access = access
        self._name = None if edge.domain is None else host_of(site) or edge.domain.name
        self.rest_api = self._api(foundation) if edge.api_gateway else None
        # In front of a load balancer that is another environment's stands that one's.
        self.web_acl = self._firewall() if edge.waf and (edge.api_gateway or site.manifest.share is None) else None
        self.health_check: HealthCheck | None = None
        self.api_url = self._address()
        if edge.domain is not None:
            self._records()
        self.publish("ApiUrl", self.api_url, "Where the platform answers.")

    @property
    def _fails_over(self) -> bool:
        recovery = self.site.manifest.recovery
        return recovery.failover and recovery.region is not None

    def _address(self) -> str:
        if self._name is not None:
            return f"https://{self._name}"
        if self.rest_api is not None:
            return f"https://{self.rest_api.api_id}.execute-api.{self.region}.{self.url_suffix}/{STAGE}"
        return f"http://{self._front_door.dns_name}"

    def _api(self, foundation: Ground) -> RestApi:
        site = self.site
        edge, monitoring = site.manifest.edge, site.manifest.monitoring
        link = VpcLink(
            self,
            "Link",
            name=site.names.prefix,
            subnet_ids=foundation.private_subnet_ids,
            security_group_ids=(foundation.security_group(VPC_LINK),),
        )
        pool = self._access.user_pool
        # With a domain the load balancer's certificate is the domain's, and the link checks it by the URL's name. That
        # name is also the host that a preview's rules on a shared listener ask for.
        scheme, name = ("https", edge.domain.name) if edge.domain else ("http", self._front_door.dns_name)
        url = f"{scheme}://{host_of(site) or name}"
        api = RestApi(
            self,
            "Api",
            RestApiProps(
                name=site.names.prefix,
                routes=api_routes(site.topology),
                backend=Backend(link_id=link.link_id, load_balancer_arn=self._front_door.arn, url=url),
                clients=Clients(
                    user_pool_arn=None if pool is None else pool.arn,
                    ids={} if pool is None else pool.client_ids,
                    plans=_plans(site),
                ),
                throttle=Throttle(rate=edge.throttle.rate, burst=edge.throttle.burst),
                origins=edge.origins,
                log_group=site.names.log_group("api") if edge.access_logs else None,
                log_days=monitoring.log_retention.days,
                # Route 53's health checks speak TLS 1.2 at most, and AWS's own name is what they ask.
                tls="1.2" if self._fails_over else edge.tls,
                own_domain=edge.domain is not None and not self._fails_over,
                tracing=monitoring.tracing,
            ),
        )
        api.stage.add_resource_dependency(self._logging_allowed())
        if not edge.waf:
            accept(api.stage, {"AwsSolutions-APIG3": "The manifest turns the firewall off."})
        return api

    def _logging_allowed(self) -> aws_apigateway.CfnAccount:
        """API Gateway logs by one role of the account and region. Both stay: other environments use them too."""
        role = aws_iam.CfnRole(
            self,
            "GatewayLogs",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "Take",
                        "Effect": "Allow",
                        "Principal": {"Service": "apigateway.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
            managed_policy_arns=[f"arn:{self.partition}:iam::aws:policy/{_MANAGED_POLICY}"],
        )
        accept(role, {"AwsSolutions-IAM4": "AWS's own policy for exactly this; the account has one such role."})
        account = aws_apigateway.CfnAccount(self, "GatewayAccount", cloud_watch_role_arn=role.attr_arn)
        for each in (role, account):
            each.cfn_options.deletion_policy = CfnDeletionPolicy.RETAIN
            each.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
        return account

    def _firewall(self) -> WebAcl:
        site = self.site
        firewall = WebAcl(
            self,
            "Firewall",
            WebAclProps(
                scope="REGIONAL",
                metric=site.names.prefix,
                rate=site.manifest.edge.waf_rate,
                prompt_paths=prompt_paths(site.topology),
                log_days=site.manifest.monitoring.log_retention.days,
            ),
        )
        if self.rest_api is not None:
            firewall.attach("OnApi", self.rest_api.stage_arn).add_resource_dependency(self.rest_api.stage)
        else:
            firewall.attach("OnLoadBalancer", self._front_door.arn)
        return firewall

    def _records(self) -> None:
        """The API's name, with a health check where another region may take over."""
        edge = self.site.manifest.edge
        assert edge.domain is not None
        assert self._name is not None
        target = Target(dns_name=self._front_door.dns_name, zone_id=self._front_door.zone_id, evaluate_health=True)
        host, path = self._front_door.dns_name, "/health"
        if self.rest_api is not None:
            assert self._access.certificate_arn is not None
            door = ApiDomain(
                self,
                "Domain",
                name=self._name,
                certificate_arn=self._access.certificate_arn,
                tls=edge.tls,
            )
            door.lead_to(self.rest_api.api_id, self.rest_api.stage_name)
            target = door.target
            host, path = f"{self.rest_api.api_id}.execute-api.{self.region}.{self.url_suffix}", f"/{STAGE}/health"
        if self._fails_over:
            self.health_check = HealthCheck(self, "Health", host=host, path=path)
        Alias(
            self,
            "Record",
            name=self._name,
            zone_id=edge.domain.zone_id,
            target=target,
            failover="PRIMARY" if self._fails_over else None,
            check_id=None if self.health_check is None else self.health_check.check_id,
        )


def _plans(site: Site) -> dict[str, Throttle]:
    """The manifest's plans that bound requests, at most by what the whole API lets through."""
    throttle = site.manifest.edge.throttle
    return {
        name: Throttle(
            rate=min(plan.requests_per_second or throttle.rate, throttle.rate),
            burst=min(plan.burst or plan.requests_per_second or throttle.burst, throttle.burst),
        )
        for name, plan in site.manifest.plans.items()
    }
