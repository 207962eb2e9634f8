"""What a picture shows: the parts of a site, each with its place, and the flows between them.

A part stands for something that the templates make, or for what is outside and called. Flows are the topology's edges
and the needs that have none, because what they need is reached at AWS's own addresses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from slipway.infra.passages import has_interfaces
from slipway.infra.site import Site
from slipway.infra.topology import (
    FUNCTIONS,
    INTERNAL_LOAD_BALANCER,
    INTERNET,
    LOAD_BALANCER,
    LOG_DOMAIN,
    STORE_PORTS,
    VPC_LINK,
    Edge,
    Workload,
    files_of,
)
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.models import REMOTE
from slipway.manifest.sections.network import FREE_ENDPOINTS

Kind = Literal["people", "edge", "network", "compute", "store", "service", "outside"]
Place = Literal[
    "front", "entry", "around", "public", "entrance", "platform", "inside", "data", "service", "outside", "recovery"
]
USERS: Final = "Users"  # names of a manifest are lower-case, so these are nobody else's
FIREWALL: Final = "WAF"
API: Final = "API Gateway"
CDN: Final = "CloudFront"
BEDROCK: Final = "Bedrock"
PROVIDERS: Final = "Providers"
BACKUPS: Final = "Backups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One box. `types` are the CloudFormation types that the templates must have for it to be there.

    `copy` is what stands for it in the recovery region, as a title and lines; None where nothing does.
    """

    name: str
    title: str
    lines: tuple[str, ...]
    kind: Kind
    place: Place
    types: tuple[str, ...] = ()
    copy: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """`source` opens connections to `target`; `carries` are the topology's edges that run along it."""

    source: str
    target: str
    carries: tuple[Edge, ...] = ()


def parts_of(site: Site) -> tuple[Part, ...]:
    """Every part, in the order in which those of one place stand from top to bottom."""
    groups = (_front, _entry, _entrances, _workloads, _inside, _stores, _services, _outside, _around, _recovery)
    return tuple(part for group in groups for part in group(site))


def flows_of(site: Site, parts: tuple[Part, ...]) -> tuple[Flow, ...]:
    """Every flow between parts: one for each pair."""
    names = {part.name for part in parts}
    found: dict[tuple[str, str], list[Edge]] = {}
    for edge in site.topology.edges:
        hops = _entering(names) if edge.source in (INTERNET, VPC_LINK) else [edge.source]
        for source, target in zip(hops, [*hops[1:], _shown(edge.target)], strict=True):
            found.setdefault((source, target), []).append(edge)
    for workload in site.topology.workloads:
        for need in workload.needs:
            for target in _met_by(need, site.manifest, names):
                found.setdefault((workload.name, target), [])
    if CDN in names:
        found.setdefault((USERS, CDN), [])
    return tuple(Flow(source, target, tuple(edges)) for (source, target), edges in found.items())


def _entering(names: set[str]) -> list[str]:
    """Whoever comes from the internet passes these, in this order."""
    return [name for name in (USERS, FIREWALL, API, VPC_LINK) if name in names]


def _shown(target: str) -> str:
    return "internet" if target == INTERNET else target


def _met_by(need: str, manifest: Manifest, names: set[str]) -> tuple[str, ...]:
    if need == "models":
        return tuple(name for name in (BEDROCK, PROVIDERS) if name in names)
    return ("dynamodb",) if need in manifest.data.dynamodb.tables else (need,)


def _front(site: Site) -> Iterator[Part]:
    edge, recovery = site.manifest.edge, site.manifest.recovery
    yield Part(name=USERS, title="Users", lines=("browsers, programs",), kind="people", place="front")
    if edge.cdn:
        behind = ("behind AWS WAF",) if edge.waf else ()
        name = (edge.domain.console_name,) if edge.domain else ()
        yield Part(
            name=CDN, title="CloudFront", lines=("the console, from S3", *name, *behind), kind="edge", place="front",
            types=("AWS::CloudFront::Distribution", "AWS::S3::Bucket"),
        )  # fmt: skip
    if edge.domain is not None:
        second = (f"leads to {recovery.region} when {site.region} is lost",) if recovery.failover else ()
        yield Part(
            name="Route 53", title="Route 53", lines=(edge.domain.name, *second), kind="edge", place="front",
            types=("AWS::Route53::RecordSet",),
        )  # fmt: skip


def _entry(site: Site) -> Iterator[Part]:
    edge, identity = site.manifest.edge, site.manifest.identity
    if edge.waf and site.manifest.share is None:
        yield Part(
            name=FIREWALL, title="AWS WAF", lines=("managed rules", f"{edge.waf_rate:,} requests an address in 5 min"),
            kind="edge", place="entry", types=("AWS::WAFv2::WebACL",),
        )  # fmt: skip
    if edge.api_gateway:
        yield Part(
            name=API, title="API Gateway",
            lines=(f"{edge.throttle.rate:,} requests/s", "keys, usage plans, checks of bodies"), kind="edge",
            place="entry", types=("AWS::ApiGateway::RestApi",),
        )  # fmt: skip
    if identity.user_pool is not None:
        yield Part(
            name="Cognito", title="Cognito", lines=("sign-in", f"second factor {identity.mfa}"), kind="edge",
            place="entry", types=("AWS::Cognito::UserPool",),
        )  # fmt: skip


def _entrances(site: Site) -> Iterator[Part]:
    """Load balancers, and the way out. A public one stands in public subnets, where there are some."""
    manifest, edges = site.manifest, site.topology.edges
    public = any(edge.source == INTERNET for edge in edges) and "public" in manifest.network.present_tiers
    spoken = "HTTP" if manifest.edge.domain is None else f"TLS {manifest.edge.tls}"
    if any(edge.source == VPC_LINK for edge in edges):
        yield Part(
            name=VPC_LINK, title="VPC link", lines=("into the network",), kind="network", place="entrance",
            types=("AWS::ApiGatewayV2::VpcLink",),
        )  # fmt: skip
    if any(LOAD_BALANCER in (edge.source, edge.target) for edge in edges):
        routed = any(edge.source == LOAD_BALANCER for edge in edges)
        kept = f"of {manifest.share}, shared" if manifest.share else f"ALB, {spoken}"
        yield Part(
            name=LOAD_BALANCER, title="Load balancer",
            lines=(kept if routed else "none: nothing has a route",), kind="network",
            place="public" if public else "entrance",
            types=("AWS::ElasticLoadBalancingV2::LoadBalancer",) if routed and manifest.share is None else (),
        )  # fmt: skip
    if any(edge.source == INTERNAL_LOAD_BALANCER for edge in edges):
        yield Part(
            name=INTERNAL_LOAD_BALANCER, title="Internal balancer", lines=("of internal routes", f"ALB, {spoken}"),
            kind="network", place="entrance", types=("AWS::ElasticLoadBalancingV2::LoadBalancer",),
        )  # fmt: skip
    network = manifest.network
    if network.vpc is None and manifest.share is None and network.nat != "none" and "public" in network.tiers:
        count = network.azs if network.nat == "per-az" else 1
        yield Part(
            name="NAT", title="NAT gateway" if count == 1 else f"{count} NAT gateways",
            lines=("the way out of private subnets",), kind="network", place="public", types=("AWS::EC2::NatGateway",),
        )  # fmt: skip


def _workloads(site: Site) -> Iterator[Part]:
    """Callers above what they call, so that most lines lead down."""
    on_pods = site.manifest.compute == "eks"
    for workload in _callers_first(site.topology.workloads):
        scale = workload.scale
        copies = f"{scale.min}–{scale.max}" if scale.min != scale.max else f"{scale.min}"
        yield Part(
            name=workload.name, title=workload.name,
            lines=(f"{copies} × {workload.cpu / 1024:g} vCPU, {workload.memory_mib / 1024:g} GiB",
                   f"port {workload.port}{', on Spot' if _on_spot(site.manifest, workload) else ''}"),
            kind="compute", place="platform", types=("AWS::EKS::Cluster",) if on_pods else ("AWS::ECS::Service",),
        )  # fmt: skip


def _on_spot(manifest: Manifest, workload: Workload) -> bool:
    if workload.kind == "service":
        return manifest.services[workload.name].spot
    return manifest.component(workload.name).spot


def _callers_first(workloads: tuple[Workload, ...]) -> list[Workload]:
    names = {workload.name: workload for workload in workloads}

    def depth(name: str) -> int:
        return 1 + max((depth(caller.name) for caller in workloads if name in caller.needs), default=0)

    return sorted(names.values(), key=lambda workload: depth(workload.name))


def _inside(site: Site) -> Iterator[Part]:
    manifest = site.manifest
    if any(edge.source == FUNCTIONS for edge in site.topology.edges):
        every = manifest.monitoring.synthetic_every
        lines = ["AWS Lambda", *([f"a canary each {every}"] if every is not None and site.lasting else [])]
        yield Part(name=FUNCTIONS, title="Functions", lines=tuple(lines), kind="compute", place="inside")
    if manifest.bastion is not None:
        yield Part(
            name="Bastion", title="Bastion", lines=(f"{manifest.bastion.instance}, by Session Manager",),
            kind="compute", place="inside", types=("AWS::EC2::Instance",),
        )  # fmt: skip
    if has_interfaces(manifest) and manifest.share is None:
        paid = [name for name in manifest.network.endpoints if name not in FREE_ENDPOINTS]
        yield Part(
            name="Endpoints", title="VPC endpoints", lines=(", ".join(paid),), kind="network", place="inside",
            types=("AWS::EC2::VPCEndpoint",),
        )  # fmt: skip


def _stores(site: Site) -> Iterator[Part]:
    """Stores in the VPC."""
    manifest, data, stores = site.manifest, site.manifest.data, site.topology.stores
    copied = manifest.recovery.region is not None and site.lasting
    if data.postgres is not None and data.postgres.engine == "aurora":
        postgres = data.postgres
        readers = f", {postgres.readers} reader{'s' if postgres.readers > 1 else ''}" if postgres.readers else ""
        yield Part(
            name="postgres", title="Aurora PostgreSQL",
            lines=(f"{postgres.min_acu:g}–{postgres.max_acu:g} ACU{readers}", f"port {STORE_PORTS['postgres']}"),
            kind="store", place="data", types=("AWS::RDS::DBCluster",),
            copy=("Aurora", "a copy, no instance yet") if copied and postgres.copy_to_recovery_region else None,
        )  # fmt: skip
    if data.redis is not None and data.redis.url_env is None:
        yield Part(
            name="redis", title="ElastiCache Redis",
            lines=(f"{data.redis.node}{', two zones' if data.redis.multi_az else ''}", f"port {STORE_PORTS['redis']}"),
            kind="store", place="data", types=("AWS::ElastiCache::ReplicationGroup",),
        )  # fmt: skip
    if "neptune" in stores:
        count = data.neptune.readers + 1
        yield Part(
            name="neptune", title="Neptune",
            lines=(f"{f'{count} × ' if count > 1 else ''}{data.neptune.instance}", f"port {STORE_PORTS['neptune']}"),
            kind="store", place="data", types=("AWS::Neptune::DBCluster",),
        )  # fmt: skip
    if "qdrant" in stores:
        yield Part(name="qdrant", title="Qdrant", lines=("vectors",), kind="store", place="data")
    if data.logs == "opensearch":
        domain = data.log_domain
        yield Part(
            name=LOG_DOMAIN, title="OpenSearch", lines=(f"logs, {domain.nodes} × {domain.instance}",), kind="store",
            place="data", types=("AWS::OpenSearchService::Domain",),
        )  # fmt: skip
    for workload in site.topology.workloads:
        if workload.files:
            volume = manifest.services[workload.name].volume
            size = f"EFS, {volume.size}" if volume is not None and volume.size is not None else "EFS"
            yield Part(
                name=files_of(workload.name), title=f"Files of {workload.name}", lines=(size,), kind="store",
                place="data", types=("AWS::EFS::FileSystem",),
            )  # fmt: skip


def _services(site: Site) -> Iterator[Part]:
    """What is reached at AWS's own addresses."""
    manifest, data = site.manifest, site.manifest.data
    copied = manifest.recovery.region is not None and site.lasting
    if data.objects is not None and data.objects.endpoint_url is None:
        mine = data.objects.bucket or ("files, with older versions" if data.objects.versioning else "files")
        replicated = copied and data.objects.copy_to_recovery_region and data.objects.bucket is None
        yield Part(
            name="objects", title="S3", lines=(mine,), kind="store", place="service",
            types=("AWS::S3::Bucket",), copy=("S3", "objects replicated") if replicated else None,
        )  # fmt: skip
    if data.dynamodb.tables:
        yield Part(
            name="dynamodb", title="DynamoDB", lines=(", ".join(data.dynamodb.tables),), kind="store", place="service",
            types=("AWS::DynamoDB::GlobalTable",),
            copy=("DynamoDB", "global tables") if copied and data.dynamodb.copy_to_recovery_region else None,
        )  # fmt: skip
    if "opensearch" in site.topology.stores:
        yield Part(
            name="opensearch", title="OpenSearch Serverless",
            lines=(f"vectors{', two zones' if data.opensearch.standby else ''}", f"port {STORE_PORTS['opensearch']}"),
            kind="store", place="service", types=("AWS::OpenSearchServerless::Collection",),
        )  # fmt: skip
    on_bedrock = [name for name, model in manifest.models.available.items() if model.provider == "bedrock"]
    if on_bedrock and _asks_models(site):
        yield Part(
            name=BEDROCK, title="Amazon Bedrock", lines=(", ".join(on_bedrock),), kind="service", place="service"
        )
    base = manifest.knowledge_base
    if base is not None:
        yield Part(
            name="knowledge-base", title="Knowledge base",
            lines=(f"{base.chunk_tokens} tokens a chunk, every {base.refresh}", "vectors in S3 Vectors"), kind="store",
            place="service", types=("AWS::Bedrock::KnowledgeBase", "AWS::S3Vectors::Index"),
        )  # fmt: skip
    backups = manifest.recovery.backups
    kept = {"daily": backups.daily, "weekly": backups.weekly, "monthly": backups.monthly}
    said = tuple(f"{name}, kept {each.keep}" for name, each in kept.items() if each is not None)
    if said and site.lasting:
        yield Part(
            name=BACKUPS, title="AWS Backup", lines=said, kind="service", place="service",
            types=("AWS::Backup::BackupPlan",), copy=("Backup vault", "a copy of each backup") if copied else None,
        )  # fmt: skip


def _asks_models(site: Site) -> bool:
    return bool(site.topology.needing("models"))


def _outside(site: Site) -> Iterator[Part]:
    manifest, data = site.manifest, site.manifest.data
    if data.postgres is not None and data.postgres.engine == "external":
        yield _elsewhere("postgres", "PostgreSQL", "a server of yours")
    if data.redis is not None and data.redis.url_env is not None:
        yield _elsewhere("redis", "Redis", "a server of yours")
    if data.objects is not None and data.objects.endpoint_url is not None:
        yield _elsewhere("objects", "Objects", "a store of yours, as S3")
    asked = [
        name
        for name, model in manifest.models.available.items()
        if model.provider in REMOTE and model.provider != "bedrock"
    ]
    if asked and _asks_models(site):
        yield _elsewhere(PROVIDERS, "Model providers", ", ".join(asked))
    for name, dependency in manifest.dependencies.items():
        yield _elsewhere(name, name, f"{dependency.kind}, port {dependency.port}")
    if any(edge.target == INTERNET for edge in site.topology.edges):
        yield _elsewhere("internet", "Internet", "HTTPS, by functions")


def _elsewhere(name: str, title: str, line: str) -> Part:
    return Part(name=name, title=title, lines=(line,), kind="outside", place="outside")


def _around(site: Site) -> Iterator[Part]:
    """What serves every part, without a line of its own."""
    manifest = site.manifest
    keys = manifest.data.keys
    yield Part(
        name="KMS", title="KMS, Secrets Manager",
        lines=("a key for each store", f"made anew each {keys.rotate_every}"), kind="service", place="around",
        types=("AWS::KMS::Key",),
    )  # fmt: skip
    if site.lasting:
        told: Mapping[str, tuple[str, ...]] = {
            "critical": manifest.monitoring.notify.critical,
            "warning": manifest.monitoring.notify.warning,
            "security": manifest.monitoring.notify.security,
        }
        audiences = ", ".join(name for name, addresses in told.items() if addresses) or "nobody yet"
        yield Part(
            name="CloudWatch", title="CloudWatch, SNS",
            lines=(f"alarms to {audiences}", f"logs kept {manifest.monitoring.log_retention}"),
            kind="service", place="around", types=("AWS::CloudWatch::Alarm", "AWS::SNS::Topic"),
        )  # fmt: skip
    audit = manifest.audit
    chosen = (("CloudTrail", audit.trail), ("GuardDuty", audit.guard_duty))
    watching = [name for name, there in chosen if there]
    if watching and site.lasting:
        line = f"records kept {audit.keep}" if audit.trail else "looks for what should not be"
        types = {"CloudTrail": "AWS::CloudTrail::Trail", "GuardDuty": "AWS::GuardDuty::Detector"}
        yield Part(
            name="Audit", title=", ".join(watching), lines=(line,), kind="service", place="around",
            types=tuple(types[name] for name in watching),
        )  # fmt: skip
    if manifest.features:
        yield Part(
            name="AppConfig", title="AppConfig", lines=(", ".join(manifest.features),), kind="service", place="around",
            types=("AWS::AppConfig::Application",),
        )  # fmt: skip


def _recovery(site: Site) -> Iterator[Part]:
    """What stands ready in the second region besides copies."""
    manifest, postgres = site.manifest, site.manifest.data.postgres
    recovery = manifest.recovery
    if recovery.region is None or not site.lasting:
        return
    if recovery.failover or (postgres is not None and postgres.engine == "aurora" and postgres.copy_to_recovery_region):
        yield Part(
            name="Second VPC", title="VPC", lines=("ready, nothing runs in it",), kind="network", place="recovery",
            types=("AWS::EC2::VPC",),
        )  # fmt: skip
    if recovery.failover:
        yield Part(
            name="Failover", title="Failover", lines=("restores and starts it all here",),
            kind="service", place="recovery", types=("AWS::StepFunctions::StateMachine",),
        )  # fmt: skip
