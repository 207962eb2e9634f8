"""What there is and who reaches what: workloads, stores and the edges between them, from the catalog and the manifest.

No CDK here. Stacks read it for tasks, routes, grants and security groups, so that a need is declared once: an edge that
is not here is not opened, and a grant that no need asks for is not made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from slipway.manifest.catalog import CATALOG, TASK_SIZES, Need
from slipway.manifest.rules.needs import declared_stores
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.components import Scale

COMPONENT_PORT: Final = 8700
LOAD_BALANCER: Final = "load-balancer"
INTERNAL_LOAD_BALANCER: Final = "internal-load-balancer"  # of routes that the internet must not reach
INTERNET: Final = "internet"
VPC_LINK: Final = "vpc-link"  # API Gateway's way into the network
FUNCTIONS: Final = "functions"  # every Lambda function
LOG_DOMAIN: Final = "log-domain"  # where logs are searched; one of the functions brings them there
STORE_PORTS: Final[Mapping[str, int]] = {
    "postgres": 5432,
    "redis": 6379,
    "neptune": 8182,
    "opensearch": 443,
}
EFS_PORT: Final = 2049

# Whoever asks from outside whether the platform lives (the canary, Route 53) is answered by its first part.
FRONT_PROBE: Final = ("/health",)

WorkloadKind = Literal["component", "service"]
Exposure = Literal["public", "internal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of container that runs: a component of the catalog, or a service of the user's.

    `cpu` in units of 1/1024 core, `needs` are names: of stores, components, services, dependencies, or `models`.
    `source` is the folder or image of a service; None is the platform's own image. `health` is the path of its probe;
    without one it answers no HTTP. `files` says that it mounts a file system that is shared and kept.
    """

    name: str
    kind: WorkloadKind
    port: int
    cpu: int
    memory_mib: int
    scale: Scale
    routes: tuple[str, ...]
    exposure: Exposure
    health: str | None
    needs: tuple[str, ...]
    source: str | None = None
    files: bool = False

    @property
    def built(self) -> bool:
        """Whether its image is built from a folder, or is the platform's own."""
        return self.source is None or self.source.startswith(".")


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """`source` opens connections to `target` at `port`, and nobody else does."""

    source: str
    target: str
    port: int


@dataclass(frozen=True, slots=True)
class Topology:
    """Workloads in start order, what stores there are, and every edge, sorted."""

    workloads: tuple[Workload, ...]
    stores: tuple[str, ...]
    edges: tuple[Edge, ...]

    def workload(self, name: str) -> Workload:
        """The workload of that name; raises KeyError for none."""
        for workload in self.workloads:
            if workload.name == name:
                return workload
        raise KeyError(name)

    def needing(self, need: str) -> tuple[Workload, ...]:
        """The workloads that need something, by its name."""
        return tuple(workload for workload in self.workloads if need in workload.needs)

    def edges_to(self, target: str) -> tuple[Edge, ...]:
        """Who may reach `target`."""
        return tuple(edge for edge in self.edges if edge.target == target)


def topology_of(manifest: Manifest) -> Topology:
    """The topology of one environment."""
    workloads = (*_components(manifest), *_services(manifest))
    stores = tuple(sorted(declared_stores(manifest)))
    return Topology(workloads, stores, tuple(sorted(set(_edges(manifest, workloads, stores)))))


def files_of(workload: str) -> str:
    """What the file system of a workload is called among the targets of edges."""
    return f"{workload}-files"


def _components(manifest: Manifest) -> Iterator[Workload]:
    stores = declared_stores(manifest)
    order = manifest.component_order()
    for name in order:
        component, settings = CATALOG[name], manifest.component(name)
        size = TASK_SIZES[settings.size or component.default_size]
        used = (need.value for need in component.uses if need.value in stores or need.value in order)
        # Every part checks tokens that identity issues.
        identity = (Need.IDENTITY.value,) if name != Need.IDENTITY and Need.IDENTITY.value in order else ()
        needs = dict.fromkeys((*(need.value for need in component.needs), *used, *identity))
        yield Workload(
            name=name,
            kind="component",
            port=COMPONENT_PORT,
            cpu=size.cpu,
            memory_mib=size.memory_mib,
            scale=settings.scale,
            routes=component.routes + (FRONT_PROBE if name == order[0] else ()),
            exposure="public",
            health=component.probes.ready,
            needs=tuple(needs),
        )


def _services(manifest: Manifest) -> Iterator[Workload]:
    for name, service in manifest.services.items():
        yield Workload(
            name=name,
            kind="service",
            port=service.port,
            cpu=service.cpu,
            memory_mib=service.memory_mib,
            scale=service.bounds(),
            routes=() if service.route is None else (service.route,),
            exposure=service.exposure,
            health=service.health,
            needs=service.needs,
            source=service.image,
            files=service.volume is not None and service.volume.kind == "efs",
        )


def _edges(manifest: Manifest, workloads: tuple[Workload, ...], stores: tuple[str, ...]) -> Iterator[Edge]:
    by_name = {workload.name: workload for workload in workloads}
    # Without a domain there is no certificate, and so no TLS at the load balancer.
    front = 443 if manifest.edge.domain is not None else 80
    if manifest.edge.api_gateway:
        yield Edge(VPC_LINK, LOAD_BALANCER, front)
    else:
        for port in {80, front}:
            yield Edge(INTERNET, LOAD_BALANCER, port)
    yield from _of_functions(manifest, front)
    for workload in workloads:
        if workload.routes and workload.exposure == "internal":
            yield Edge(INTERNAL_LOAD_BALANCER, workload.name, workload.port)
            yield Edge(FUNCTIONS, INTERNAL_LOAD_BALANCER, front)
        elif workload.routes:
            yield Edge(LOAD_BALANCER, workload.name, workload.port)
        if workload.files:
            yield Edge(workload.name, files_of(workload.name), EFS_PORT)
        for need in workload.needs:
            if need in by_name:
                yield Edge(workload.name, need, by_name[need].port)
            elif need in stores and need in STORE_PORTS:
                yield Edge(workload.name, need, STORE_PORTS[need])
            elif need in manifest.dependencies:
                yield Edge(workload.name, need, manifest.dependencies[need].port)


def _of_functions(manifest: Manifest, front: int) -> Iterator[Edge]:
    """Where functions go: to the platform, to services of AWS, and to what is asked whether it is there."""
    yield Edge(FUNCTIONS, LOAD_BALANCER, front)
    yield Edge(FUNCTIONS, INTERNET, 443)
    if manifest.data.logs == "opensearch":
        yield Edge(FUNCTIONS, LOG_DOMAIN, 443)
    if manifest.monitoring.synthetic_every is not None:
        for name, dependency in manifest.dependencies.items():
            if dependency.health != "none":
                yield Edge(FUNCTIONS, name, dependency.port)
