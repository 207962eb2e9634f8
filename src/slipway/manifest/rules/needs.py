"""What components and services need must be there, under one name only, and not in a circle."""

from collections.abc import Iterator, Mapping

from slipway.manifest.catalog import CATALOG, STORES, Component, Need, find_circle
from slipway.manifest.fields import nearest
from slipway.manifest.problems import Finding
from slipway.manifest.schema import Manifest


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
                    f"write `{need.value}: {{}}` under data, or remove the component",
                )
    parts = {*_running(manifest), *manifest.services, *stores, Need.MODELS.value}
    for name, service in manifest.services.items():
        for index, wanted in enumerate(service.needs):
            if wanted not in parts:
                yield Finding(("services", name, "needs", index), _unmet(name, wanted, parts))


def circular(manifest: Manifest) -> Iterator[Finding]:
    """Services do not need each other in a circle: none of them could start first."""
    circle = find_circle({name: service.needs for name, service in manifest.services.items()})
    if circle:
        yield Finding(
            ("services", circle[0], "needs"),
            f"circular needs, {' → '.join(circle)}: none of them could start first; remove one need",
        )


def names_taken(manifest: Manifest) -> Iterator[Finding]:
    """A service does not take the name of a component, or of a store that is declared."""
    for name in manifest.services:
        if name in CATALOG or name in declared_stores(manifest) or name == Need.MODELS.value:
            what = "a component of the catalog" if name in CATALOG else "a store under data"
            yield Finding(
                ("services", name),
                f"`{name}` is already {what}, so a need for it could mean either: rename the service",
            )


def declared_stores(manifest: Manifest) -> frozenset[str]:
    """The stores that the manifest has, by the names that needs use."""
    data = manifest.data
    stores = {Need.POSTGRES: data.postgres, Need.OBJECTS: data.objects, Need.REDIS: data.redis}
    return frozenset(need.value for need, store in stores.items() if store is not None)


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


def _unmet(name: str, wanted: str, parts: set[str]) -> str:
    if wanted in {store.value for store in STORES}:
        return f"{name} needs {wanted}, and no store meets that: write `{wanted}: {{}}` under data"
    if wanted in CATALOG:
        return f"{name} needs {wanted}, which does not run: write `{wanted}: {{}}` under components"
    near = nearest(wanted, tuple(sorted(parts)))
    return f"nothing is called `{wanted}`: " + (
        f"did you mean `{near}`?" if near else f"a need is one of {', '.join(sorted(parts))}"
    )
