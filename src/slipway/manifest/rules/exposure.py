"""What the internet may reach: never a data store, and no route twice."""

from collections.abc import Iterator
from typing import Final

from slipway.manifest.catalog import COMPONENTS
from slipway.manifest.problems import Finding
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.services import Service

# Recognised by the image's last word or by the port they listen on (their registered or documented defaults).
_STORE_IMAGES: Final = frozenset(
    {
        "redis", "valkey", "memcached", "postgres", "postgresql", "pgvector", "mysql", "mariadb", "mongo", "mongodb",
        "qdrant", "weaviate", "milvus", "chroma", "elasticsearch", "opensearch", "neo4j", "minio", "cassandra",
        "clickhouse",
    }
)  # fmt: skip
_STORE_PORTS: Final = {
    3306: "MySQL", 5432: "PostgreSQL", 6333: "Qdrant", 6334: "Qdrant", 6379: "Redis", 7687: "Neo4j", 8182: "Neptune",
    9042: "Cassandra", 9200: "OpenSearch", 11211: "memcached", 27017: "MongoDB",
}  # fmt: skip


def store_routes(manifest: Manifest) -> Iterator[Finding]:
    """No public route leads to a data store."""
    for name, service in manifest.services.items():
        store = _store_of(service)
        if store and service.route is not None and service.exposure == "public":
            yield Finding(
                ("services", name, "route"),
                f"{name} is a data store ({store}), and a public route would put its data on the internet: "
                f"write exposure: internal, or remove the route and let services reach it by `needs: [{name}]`",
            )


def routes_taken(manifest: Manifest) -> Iterator[Finding]:
    """A route belongs to one service, and not to a component."""
    owners: dict[str, str] = {}
    for name, service in manifest.services.items():
        if service.route is None:
            continue
        path = ("services", name, "route")
        taken = next((c.name.value for c in COMPONENTS if any(_overlap(service.route, r) for r in c.routes)), None)
        if taken:
            yield Finding(path, f"{service.route} takes requests from the component {taken}: choose another path")
        first = owners.setdefault(service.route.rstrip("*").rstrip("/"), name)
        if first != name:
            yield Finding(path, f"{service.route} already leads to the service {first}: choose another path")


def _store_of(service: Service) -> str | None:
    image = service.image.split("@")[0].rstrip("/").rsplit("/", 1)[-1].split(":")[0].lower()
    if image in _STORE_IMAGES:
        return f"its image is {image}"
    if service.port in _STORE_PORTS:
        return f"port {service.port} is {_STORE_PORTS[service.port]}'s"
    return None


def _overlap(route: str, owned: str) -> bool:
    """Whether some path that `owned` serves would go to `route`. A route `/*` is no overlap: the longest match wins."""
    below = owned.rstrip("*").rstrip("/")
    prefix = route.rstrip("*").rstrip("/")
    return bool(prefix) and (prefix == below or prefix.startswith(f"{below}/") or below.startswith(f"{prefix}/"))
