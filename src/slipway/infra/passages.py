"""Which security groups there are and what passes between them: the topology's edges, as groups carry them.

No CDK here. On EKS all pods share the group of their nodes: `t3` instances cannot give a pod an interface of its own,
so what pods may say to each other is said by network policies there. Elsewhere each workload has a group.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

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
from slipway.manifest.catalog import Need
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.models import REMOTE
from slipway.manifest.sections.network import FREE_ENDPOINTS

ANYWHERE: Final = "0.0.0.0/0"
INSTANCES: Final = "instances"  # of ECS
NODES: Final = "nodes"  # of EKS
BASTION: Final = "bastion"
ENDPOINTS: Final = "endpoints"  # of AWS's services, inside the VPC
HTTPS: Final = 443
# What is called at AWS's own addresses, with TLS, by whoever needs it.
_AT_AWS: Final = frozenset({Need.OBJECTS.value, Need.DYNAMODB.value, Need.KNOWLEDGE_BASE.value})
_PURPOSES: Final[Mapping[str, str]] = {
    LOAD_BALANCER: "The load balancer",
    INTERNAL_LOAD_BALANCER: "The load balancer of internal routes",
    VPC_LINK: "Interfaces of API Gateway in the VPC",
    FUNCTIONS: "Functions of Lambda",
    LOG_DOMAIN: "The domain that logs are searched in",
}


@dataclass(frozen=True, slots=True, order=True)
class Passage:
    """`source` opens connections to `target` at `port`, over TCP. Either may be a range of addresses, not a group."""

    source: str
    target: str
    port: int
    why: str


@dataclass(frozen=True, slots=True)
class Passages:
    """`groups` are names with what each is for; `members` says which nodes of the topology share another's group."""

    groups: Mapping[str, str]
    members: Mapping[str, str]
    passages: tuple[Passage, ...]

    def group_of(self, name: str) -> str:
        """The group that a node of the topology is in."""
        return self.members.get(name, name)


def passages_of(site: Site) -> Passages:
    """The groups of a site and every passage, one for each source, target and port, sorted."""
    workloads = site.topology.workloads
    members = {workload.name: NODES for workload in workloads} if site.manifest.compute == "eks" else {}
    groups = {members.get(name, name): purpose for name, purpose in _groups(site)}
    found: dict[tuple[str, str, int], Passage] = {}
    for passage in (
        *_along_edges(site, members),
        *_of_operators(site),
        *_to_models(site, members),
        *_to_aws(site, members),
    ):
        found.setdefault((passage.source, passage.target, passage.port), passage)
    return Passages(groups, members, tuple(sorted(found.values())))


def _groups(site: Site) -> Iterator[tuple[str, str]]:
    manifest, ends = site.manifest, _ends(site.topology.edges)
    for name, purpose in _PURPOSES.items():
        if name in ends:
            yield name, purpose
    for workload in site.topology.workloads:
        yield workload.name, "Nodes and their pods" if manifest.compute == "eks" else f"Tasks of {workload.name}"
        if workload.files:
            yield files_of(workload.name), f"Files of {workload.name}"
    for store in site.topology.stores:
        if store in STORE_PORTS and store not in _elsewhere(manifest):
            yield store, f"The store {store}"
    if manifest.compute == "ec2":
        yield INSTANCES, "Instances that tasks run on"
    if manifest.bastion is not None:
        yield BASTION, "The instance of operators"
    if has_interfaces(manifest):
        yield ENDPOINTS, "Services of AWS, inside the VPC"


def has_interfaces(manifest: Manifest) -> bool:
    """Whether some service of AWS has an interface in the VPC: one of Slipway's, its own or shared."""
    network = manifest.network
    return network.vpc is None and not FREE_ENDPOINTS.issuperset(network.endpoints)


def _along_edges(site: Site, members: Mapping[str, str]) -> Iterator[Passage]:
    manifest = site.manifest
    for edge in site.topology.edges:
        source = ANYWHERE if edge.source == INTERNET else members.get(edge.source, edge.source)
        for target in _targets(manifest, edge):
            yield Passage(source, members.get(target, target), edge.port, f"{edge.source} calls {edge.target}")


def _targets(manifest: Manifest, edge: Edge) -> tuple[str, ...]:
    if edge.target == INTERNET or edge.target in _elsewhere(manifest):
        return (ANYWHERE,)
    dependency = manifest.dependencies.get(edge.target)
    if dependency is not None:
        return dependency.cidrs or (ANYWHERE,)
    return (edge.target,)


def _of_operators(site: Site) -> Iterator[Passage]:
    """Who operates the platform reaches what its functions reach, from the bastion."""
    if site.manifest.bastion is not None:
        for edge in site.topology.edges:
            inside = edge.target != INTERNET and edge.target not in site.manifest.dependencies
            if edge.source == FUNCTIONS and inside:
                yield Passage(BASTION, edge.target, edge.port, f"operators call {edge.target}")


def _to_models(site: Site, members: Mapping[str, str]) -> Iterator[Passage]:
    """Models that are served elsewhere than at AWS, at the port of their URL."""
    for workload in site.topology.needing(Need.MODELS.value):
        for name, model in site.manifest.models.available.items():
            if model.provider in REMOTE and model.provider != "bedrock":
                url = urlsplit(model.base_url or "")  # without one, the provider's own
                yield Passage(
                    members.get(workload.name, workload.name),
                    _range_of(url.hostname or ""),
                    url.port or (80 if url.scheme == "http" else HTTPS),
                    f"{workload.name} calls the model {name}",
                )


def _to_aws(site: Site, members: Mapping[str, str]) -> Iterator[Passage]:
    """Whoever calls services of AWS, by an endpoint in the VPC where there is one.

    Also to any address: gateway endpoints of S3 and DynamoDB have AWS's public ones, whose list has another id in each
    region, and no template can look it up. Where there is no NAT gateway, that leads to these two alone.
    """
    for caller in dict.fromkeys(members.get(name, name) for name in _callers(site)):
        if has_interfaces(site.manifest):
            yield Passage(caller, ENDPOINTS, HTTPS, f"{caller} calls services of AWS inside the VPC")
        yield Passage(caller, ANYWHERE, HTTPS, f"{caller} calls services of AWS")


def _callers(site: Site) -> Iterator[str]:
    manifest = site.manifest
    for workload in site.topology.workloads:
        if _calls_aws(manifest, workload):
            yield workload.name
    if FUNCTIONS in _ends(site.topology.edges):
        yield FUNCTIONS
    if manifest.compute == "ec2":
        yield INSTANCES
    if manifest.bastion is not None:
        yield BASTION


def _calls_aws(manifest: Manifest, workload: Workload) -> bool:
    """Whether its own interface carries calls of AWS or, for the platform's parts, of issuers outside.

    On instances it is the instance that fetches a task's image and secrets and sends its output away.
    """
    if manifest.compute != "ec2" or manifest.monitoring.tracing:  # the collector beside it sends traces
        return True
    if _AT_AWS.intersection(workload.needs) or manifest.data.dynamodb.tables.keys() & set(workload.needs):
        return True
    bedrock = any(model.provider == "bedrock" for model in manifest.models.available.values())
    if Need.MODELS in workload.needs and bedrock:
        return True
    outside = manifest.identity.issuers or manifest.identity.user_pool is not None or manifest.features
    return workload.kind == "component" and bool(outside)


def _elsewhere(manifest: Manifest) -> frozenset[str]:
    """Stores that are servers of the user's, at an address that only their URL has, and at their usual port."""
    data = manifest.data
    external = {
        Need.POSTGRES.value: data.postgres is not None and data.postgres.engine == "external",
        Need.REDIS.value: data.redis is not None and data.redis.url_env is not None,
    }
    return frozenset(name for name, outside in external.items() if outside)


def _ends(edges: tuple[Edge, ...]) -> frozenset[str]:
    return frozenset(end for edge in edges for end in (edge.source, edge.target))


def _range_of(host: str) -> str:
    """The one address of a host that is written as one; else any."""
    try:
        return f"{ipaddress.IPv4Address(host)}/32"
    except ValueError:
        return ANYWHERE
