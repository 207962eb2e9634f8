"""The catalog of components: one frozen fact about each part of the platform, and the order in which they
start.

`app` wires from it what runs; `infra` derives grants, network edges, secrets and task sizes from the same
needs; `operations` derives the checks. A need is declared here and nowhere else. Code that runs stays in
`services`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from slipway.base.errors import Misconfigured

SizeName = Literal["small", "medium", "large"]


class Need(StrEnum):
    """What a component or a service can ask for: a store, the model providers, or another part."""

    POSTGRES = "postgres"
    OBJECTS = "objects"
    REDIS = "redis"
    DYNAMODB = "dynamodb"
    NEPTUNE = "neptune"
    OPENSEARCH = "opensearch"
    QDRANT = "qdrant"
    KNOWLEDGE_BASE = "knowledge-base"
    MODELS = "models"
    IDENTITY = "identity"
    GATEWAY = "gateway"
    RETRIEVAL = "retrieval"
    MEMORY = "memory"
    CHAT = "chat"


STORES: Final = frozenset(
    {
        Need.POSTGRES, Need.OBJECTS, Need.REDIS, Need.DYNAMODB, Need.NEPTUNE, Need.OPENSEARCH, Need.QDRANT,
        Need.KNOWLEDGE_BASE,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskSize:
    """What one copy of a component gets: CPU units (1024 are one core) and MiB."""

    cpu: int
    memory_mib: int


# Pairs that Fargate has. Medium and large stand for t3.medium and c5.xlarge, whose types do not apply to Fargate.
# Small holds the embedding model (90 MB of weights) beside the process, measured below 1 GiB.
TASK_SIZES: Final[Mapping[SizeName, TaskSize]] = {
    "small": TaskSize(512, 1024),
    "medium": TaskSize(2048, 4096),
    "large": TaskSize(4096, 8192),
}


@dataclass(frozen=True, slots=True)
class Probes:
    """Where a component says that it lives, and that it can serve."""

    health: str = "/health"
    ready: str = "/ready"


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the platform.

    `needs` must be met for it to start; `uses` it takes when the manifest declares them. A route that ends
    in `*` stands for everything below it.
    """

    name: Need
    summary: str
    routes: tuple[str, ...]
    needs: tuple[Need, ...]
    uses: tuple[Need, ...] = ()
    probes: Probes = Probes()
    default_size: SizeName = "small"


COMPONENTS: Final[tuple[Component, ...]] = (
    Component(
        Need.IDENTITY,
        "tenants, users and keys, and the built-in OpenID issuer",
        routes=("/v1/admin/*", "/oauth2/*", "/.well-known/*"),
        needs=(Need.POSTGRES,),
    ),
    Component(
        Need.GATEWAY,
        "models behind one OpenAI-compatible API: limits, plans, usage",
        routes=("/v1/chat/completions", "/v1/messages*", "/v1/embeddings", "/v1/models*", "/v1/usage*", "/v1/plans*"),
        needs=(Need.POSTGRES, Need.MODELS),
        uses=(Need.REDIS, Need.DYNAMODB),
    ),
    Component(
        Need.RETRIEVAL,
        "documents, their ingestion, collections and search",
        routes=("/v1/documents*", "/v1/search", "/v1/collections*", "/objects/*"),
        needs=(Need.POSTGRES, Need.OBJECTS, Need.GATEWAY),
        uses=(Need.OPENSEARCH, Need.QDRANT, Need.NEPTUNE, Need.KNOWLEDGE_BASE),
    ),
    Component(
        Need.MEMORY,
        "sessions and their messages",
        routes=("/v1/sessions*",),
        needs=(Need.POSTGRES,),
    ),
    Component(
        Need.CHAT,
        "answers from the documents, with citations",
        routes=("/v1/chat",),
        needs=(Need.POSTGRES, Need.GATEWAY, Need.RETRIEVAL, Need.MEMORY),
    ),
)
CATALOG: Final[Mapping[str, Component]] = {component.name.value: component for component in COMPONENTS}


def closure(names: Iterable[str], catalog: Mapping[str, Component] = CATALOG) -> frozenset[str]:
    """`names` and every component that they need, directly or not; raises Misconfigured for an unknown name."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in catalog:
            raise Misconfigured(f"{name!r} is not a component: the catalog has {', '.join(catalog)}.")
        if name not in found:
            found.add(name)
            waiting.extend(need.value for need in catalog[name].needs if need.value in catalog)
    return frozenset(found)


def start_order(names: Iterable[str], catalog: Mapping[str, Component] = CATALOG) -> tuple[str, ...]:
    """The components of `names` and of their needs, each after what it needs; catalog order decides between
    equals.

    Raises Misconfigured when needs are circular, naming the circle, or when a name is no component.
    """
    chosen = closure(names, catalog)
    needs = {
        name: tuple(need.value for need in catalog[name].needs if need.value in chosen)
        for name in catalog
        if name in chosen
    }
    circle = find_circle(needs)
    if circle:
        raise Misconfigured(f"The components need each other in a circle: {' → '.join(circle)}.")
    order: list[str] = []
    while len(order) < len(needs):
        order.append(next(n for n in needs if n not in order and all(need in order for need in needs[n])))
    return tuple(order)


def find_circle(needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """One circle among `needs` as `a, b, a`, or nothing. Names that are no key of `needs` lead nowhere."""
    done: set[str] = set()
    for first in needs:
        trail: list[str] = []
        pending = [(first, iter(needs[first]))] if first not in done else []
        while pending:
            name, rest = pending[-1]
            if not trail or trail[-1] != name:
                trail.append(name)
            following = next((need for need in rest if need in needs and need not in done), None)
            if following is None:
                done.add(name)
                trail.pop()
                pending.pop()
            elif following in trail:
                return (*trail[trail.index(following) :], following)
            else:
                pending.append((following, iter(needs[following])))
    return ()
