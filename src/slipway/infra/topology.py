"""What there is and who reaches what: workloads, stores and the edges between them, from the catalog and the manifest.

No CDK here. Stacks read it for tasks, routes, grants and security groups, so that a need is declared once: an edge that
is not here is not opened, and a grant that no need asks for is not made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from slipway.manifest.catalog import CATALOG, Need, SizeName
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.components import Scale
from slipway.manifest.sections.services import Service

# vCPU units and MiB. Medium and large stand for t3.medium and c5.xlarge: Fargate has sizes of tasks, no instance types.
SIZES: Final[Mapping[SizeName, tuple[int, int]]] = {
    "small": (512, 1024),
    "medium": (2048, 4096),
    "large": (4096, 8192),
}
COMPONENT_PORT: Final = 8700
LOAD_BALANCER: Final = "load-balancer"
INTERNET: Final = "internet"
STORE_PORTS: Final[Mapping[str, int]] = {
    "postgres": 5432,
    "redis": 6379,
    "neptune": 8182,
    "opensearch": 443,
}
EFS_PORT: Final = 2049

WorkloadKind = Literal["component", "service"]
Exposure = Literal["public", "internal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of container that runs: a component of the catalog, or a service of the user's.

    `cpu` in units of 1/1024 core, `needs` are names: of stores, components, services, dependencies, or `models`.
    `source` is the folder or image of a service; None is the platform's own image.
    """

    name: str
    kind: WorkloadKind
    port: int
    cpu: int
    memory_mib: int
    scale: Scale
    routes: tuple[str, ...]
    exposure: Exposure
    health: str
    needs: tuple[str, ...]
    source: str | None = None

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
    stores = _stores(manifest)
    return Topology(workloads, stores, tuple(sorted(set(_edges(manifest, workloads, stores)))))


def _stores(manifest: Manifest) -> tuple[str, ...]:
    """Every store that Slipway makes or reaches on AWS, by the name that a need uses."""
    data = manifest.data
    found = {
        "postgres": data.postgres is not None,
        "objects": data.objects is not None,
        "redis": data.redis is not None,
        "neptune": data.graph == "neptune",
        "opensearch": data.search == "opensearch",
        "dynamodb": bool(data.dynamodb.tables),
    }
    return tuple(name for name, there in found.items() if there)


def _components(manifest: Manifest) -> Iterator[Workload]:
    stores = _stores(manifest)
    order = manifest.component_order()
    for name in order:
        component, settings = CATALOG[name], manifest.component(name)
        cpu, memory_mib = SIZES[settings.size or component.default_size]
        used = (need.value for need in component.uses if need.value in stores or need.value in order)
        # Every part checks tokens that identity issues.
        identity = (Need.IDENTITY.value,) if name != Need.IDENTITY and Need.IDENTITY.value in order else ()
        needs = dict.fromkeys((*(need.value for need in component.needs), *used, *identity))
        yield Workload(
            name=name,
            kind="component",
            port=COMPONENT_PORT,
            cpu=cpu,
            memory_mib=memory_mib,
            scale=settings.scale,
            routes=component.routes,
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
            scale=_scale_of(service),
            routes=() if service.route is None else (service.route,),
            exposure=service.exposure,
            health=service.health,
            needs=service.needs,
            source=service.image,
        )


def _scale_of(service: Service) -> Scale:
    """A service without a scale of its own runs as many copies as it says, always."""
    return service.scale or Scale(min=service.count, max=max(service.count, 1))


def _edges(manifest: Manifest, workloads: tuple[Workload, ...], stores: tuple[str, ...]) -> Iterator[Edge]:
    by_name = {workload.name: workload for workload in workloads}
    for port in (80, 443):
        yield Edge(INTERNET, LOAD_BALANCER, port)
    for workload in workloads:
        if workload.routes:
            yield Edge(LOAD_BALANCER, workload.name, workload.port)
        for need in workload.needs:
            if need in by_name:
                yield Edge(workload.name, need, by_name[need].port)
            elif need in stores and need in STORE_PORTS:
                yield Edge(workload.name, need, STORE_PORTS[need])
            elif need in manifest.dependencies:
                yield Edge(workload.name, need, manifest.dependencies[need].port)
