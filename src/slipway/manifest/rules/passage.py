"""The way in and the way out: what the internet meets first, and what private subnets can still reach."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from slipway.manifest.problems import Finding
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.models import REMOTE
from slipway.manifest.units import Duration

# What a task asks of AWS before its first line runs: its image (kept in ECR, whose layers lie in S3), its log, its
# secrets. EC2 instances also join their cluster, nodes of EKS theirs.
_ENDPOINTS: Final = {
    "fargate": ("s3", "ecr", "logs", "secrets"),
    "ec2": ("s3", "ecr", "logs", "secrets", "ecs"),
    "eks": ("s3", "ecr", "logs", "secrets", "sts", "ec2", "eks"),
}
# API Gateway's default for one integration (quotas of REST APIs), after which it answers 504 itself.
API_GATEWAY_TIMEOUT: Final = Duration(29_000)


def without_nat(manifest: Manifest) -> Iterator[Finding]:
    """Without a NAT gateway, everything that is called has an endpoint in the VPC or an address within reach."""
    network = manifest.network
    if network.nat != "none" or network.vpc is not None:
        return
    needed = [*_ENDPOINTS[manifest.compute], *(("ssm",) if manifest.bastion else ())]
    models = manifest.models.available
    if any(model.provider == "bedrock" for model in models.values()):
        needed.append("bedrock")
    if manifest.knowledge_base is not None:
        needed.append("bedrock-agent")
    missing = [name for name in needed if name not in network.endpoints]
    if missing:
        yield Finding(
            ("network", "nat"),
            f"without a NAT gateway nothing reaches {', '.join(missing)}: write "
            f"endpoints: [{', '.join((*network.endpoints, *missing))}], or nat: single",
        )
    for name, model in models.items():
        if model.provider in REMOTE - {"bedrock"} and not _is_private(model.base_url):
            yield Finding(
                ("models", "available", name),
                f"`{name}` is served on the internet, which nothing reaches without a NAT gateway: write nat: single",
            )
    for name, dependency in manifest.dependencies.items():
        if not dependency.cidrs or not all(ipaddress.IPv4Network(cidr).is_private for cidr in dependency.cidrs):
            yield Finding(
                ("dependencies", name),
                f"{name} may lie on the internet, which nothing reaches without a NAT gateway: write nat: single, or "
                "its private addresses under cidrs",
            )
    if manifest.identity.user_pool is not None or manifest.identity.issuers:
        yield Finding(
            ("network", "nat"),
            "the keys of issuers are fetched over the internet, which nothing reaches without a NAT gateway: write "
            "nat: single",
        )


def front_door(manifest: Manifest) -> Iterator[Finding]:
    """Whoever comes from the internet meets TLS, in a subnet that the internet reaches."""
    if manifest.edge.api_gateway or not _serves(manifest):
        return
    if manifest.edge.domain is None:
        yield Finding(
            ("edge", "domain"),
            "without api_gateway the load balancer faces the internet, and has no certificate for a name that is not "
            "yours: write domain: {name: …, zone_id: …}, or api_gateway: true",
        )
    if "public" not in manifest.network.present_tiers:
        where = ("network", "subnets") if manifest.network.vpc else ("network", "tiers")
        yield Finding(
            where,
            "without api_gateway the load balancer faces the internet and stands in public subnets: add public, or "
            "write edge.api_gateway: true",
        )


def certificate_region(manifest: Manifest) -> Iterator[Finding]:
    """A certificate that exists lies in the region that uses it."""
    domain = manifest.edge.domain
    if domain is None or domain.certificate is None or manifest.region is None:
        return
    region = domain.certificate.split(":")[3]
    if region != manifest.region:
        yield Finding(
            ("edge", "domain", "certificate"),
            f"the certificate lies in {region}, and the API is served from {manifest.region}: name one of there, or "
            "leave it out, and one is made",
        )


def firewall(manifest: Manifest) -> Iterator[Finding]:
    """A firewall stands before something."""
    if manifest.edge.waf and not manifest.edge.cdn and not _serves(manifest):
        yield Finding(
            ("edge", "waf"), "nothing is served to the internet that a firewall could stand before: remove waf"
        )


def api_limits(manifest: Manifest) -> Iterator[Finding]:
    """What is promised and watched lies within what API Gateway lets through."""
    if not manifest.edge.api_gateway:
        return
    if manifest.monitoring.alarms.latency >= API_GATEWAY_TIMEOUT:
        yield Finding(
            ("monitoring", "alarms", "latency"),
            f"API Gateway gives an answer up after {API_GATEWAY_TIMEOUT}, so the alarm would never fire: write less",
        )
    throttle = manifest.edge.throttle
    for name, plan in manifest.plans.items():
        if plan.requests_per_second is not None and plan.requests_per_second > throttle.rate:
            yield Finding(
                ("plans", name, "requests_per_second"),
                f"{plan.requests_per_second} requests per second are promised, and edge.throttle.rate lets "
                f"{throttle.rate} through over all clients: write at most that, or a larger rate",
            )


def second_region(manifest: Manifest) -> Iterator[Finding]:
    """A failover has somewhere to go, and a name that leads there."""
    if not manifest.recovery.failover:
        return
    path = ("recovery", "failover")
    if manifest.recovery.region is None:
        yield Finding(path, "there is no region to fail over to: write recovery.region, like us-west-2")
    if manifest.edge.domain is None:
        yield Finding(
            path,
            "clients follow a failover by the domain's name, and there is none: write edge.domain: "
            "{name: …, zone_id: …}",
        )


def _serves(manifest: Manifest) -> bool:
    """Whether anything has a route from the internet."""
    if manifest.component_order():
        return True
    return any(service.route is not None and service.exposure == "public" for service in manifest.services.values())


def _is_private(url: str | None) -> bool:
    """Whether a URL names an address of a private network; a name that has to be looked up may lie anywhere."""
    host = (url or "").split("//")[-1].split("/")[0].split(":")[0]
    try:
        return ipaddress.IPv4Address(host).is_private
    except ValueError:
        return host.endswith((".internal", ".local"))
