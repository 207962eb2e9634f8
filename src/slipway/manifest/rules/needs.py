"""What components and services need must be there, under one name only, and not in a circle."""

from collections.abc import Iterator, Mapping

from slipway.manifest.catalog import CATALOG, STORES, Component, Need, find_circle
from slipway.manifest.fields import nearest
from slipway.manifest.problems import Finding
from slipway.manifest.schema import Manifest

# What brings a store, for those that no key of their name under `data` does.
_BROUGHT_BY: Mapping[str, str] = {
    Need.DYNAMODB: "tables under data.dynamodb",
    Need.NEPTUNE: "`graph: neptune` under data",
    Need.OPENSEARCH: "`search: opensearch` under data",
    Need.QDRANT: "`search: qdrant` under data",
    Need.KNOWLEDGE_BASE: "`knowledge_base: {}` under agents",
}


def met(manifest: Manifest) -> Iterator[Finding]:
    """A store meets each need for a store, and a component or service that runs each need for a part."""
    stores = declared_stores(manifest)
    for name, (needed_by, component) in _running(manifest).items():
        for need in component.needs:
            if need in STORES and need.value not in stores and need.value not in manifest.services:
                because = f"{name} runs because {needed_by} needs it, and " if needed_by else ""
                yield Finding(
                    ("components", needed_by or name) if manifest.components else ("data",),
                    f"{because}{name} needs {need.value}, and no store meets that: "
                    f"write {_bringing(need.value)}, or remove the component",
                )
    parts = {
        *_running(manifest), *manifest.services, *manifest.dependencies, *manifest.data.dynamodb.tables, *stores,
        Need.MODELS.value,
    }  # fmt: skip
    for name, service in manifest.services.items():
        for index, wanted in enumerate(service.needs):
            if wanted not in parts:
                yield Finding(("services", name, "needs", index), _unmet(name, wanted, parts))


def made(manifest: Manifest) -> Iterator[Finding]:
    """On AWS, the store of vectors is one that Slipway makes there."""
    if manifest.region is not None and manifest.data.search == "qdrant":
        yield Finding(
            ("data", "search"),
            "Slipway makes no Qdrant on AWS: write search: pgvector or opensearch here, or run one of your own under "
            "services (image: qdrant/qdrant@sha256:…, port: 6333, volume: {kind: efs, path: /qdrant/storage}) and let "
            "other services need it",
        )


def circular(manifest: Manifest) -> Iterator[Finding]:
    """Services do not need each other in a circle: none of them could start first."""
    circle = find_circle({name: service.needs for name, service in manifest.services.items()})
    if circle:
        yield Finding(
            ("services", circle[0], "needs"),
            f"circular needs, {' → '.join(circle)}: none of them could start first; remove one need",
        )


def names_taken(manifest: Manifest) -> Iterator[Finding]:
    """One name means one thing: a component, a store, a service, a dependency or a table."""
    stores = declared_stores(manifest)
    owners: dict[str, str] = {}
    named = (
        ("service", "services", manifest.services),
        ("dependency", "dependencies", manifest.dependencies),
        ("table", "data.dynamodb.tables", manifest.data.dynamodb.tables),
    )
    for noun, path, names in named:
        for name in names:
            taken = _taken(name, stores) or owners.get(name)
            if taken:
                yield Finding(
                    (*path.split("."), name),
                    f"`{name}` is already {taken}, so a need for it could mean either: rename the {noun}",
                )
            owners[name] = f"a {noun} under {path}"


def discovered(manifest: Manifest) -> Iterator[Finding]:
    """A name in the private DNS leads to one service."""
    owners: dict[str, str] = dict.fromkeys(_running(manifest), "a component")
    for name, service in manifest.services.items():
        found = service.discovery or name
        if found in owners and (service.discovery is not None or owners[found] != "a component"):
            yield Finding(
                ("services", name, "discovery"), f"{found} already leads to {owners[found]}: choose another name"
            )
        owners[found] = f"the service {name}"


def declared_stores(manifest: Manifest) -> frozenset[str]:
    """The stores that the manifest has, by the names that needs use."""
    data = manifest.data
    stores = {
        Need.POSTGRES: data.postgres is not None,
        Need.OBJECTS: data.objects is not None,
        Need.REDIS: data.redis is not None,
        Need.DYNAMODB: bool(data.dynamodb.tables),
        Need.NEPTUNE: data.graph == "neptune",
        Need.OPENSEARCH: data.search == "opensearch",
        Need.QDRANT: data.search == "qdrant",
        Need.KNOWLEDGE_BASE: manifest.knowledge_base is not None,
    }
    return frozenset(need.value for need, there in stores.items() if there)


def _running(manifest: Manifest) -> Mapping[str, tuple[str | None, Component]]:
    """Components that run: each with the declared one that needs it, or None when it is declared itself."""
    declared = tuple(CATALOG if manifest.components is None else manifest.components)
    running: dict[str, tuple[str | None, Component]] = {name: (None, CATALOG[name]) for name in declared}
    for name in declared:
        waiting = [need.value for need in CATALOG[name].needs]
        while waiting:
            need = waiting.pop()
            if need in CATALOG and need not in running:
                running[need] = (name, CATALOG[need])
                waiting.extend(further.value for further in CATALOG[need].needs)
    return running


def _taken(name: str, stores: frozenset[str]) -> str | None:
    if name in CATALOG:
        return "a component of the catalog"
    return "a store under data" if name in stores or name == Need.MODELS.value else None


def _bringing(store: str) -> str:
    return _BROUGHT_BY.get(store, f"`{store}: {{}}` under data")


def _unmet(name: str, wanted: str, parts: set[str]) -> str:
    if wanted in {store.value for store in STORES}:
        return f"{name} needs {wanted}, and no store meets that: write {_bringing(wanted)}"
    if wanted in CATALOG:
        return f"{name} needs {wanted}, which does not run: write `{wanted}: {{}}` under components"
    near = nearest(wanted, tuple(sorted(parts)))
    return f"nothing is called `{wanted}`: " + (
        f"did you mean `{near}`?" if near else f"a need is one of {', '.join(sorted(parts))}"
    )
