"""Models that are named must exist, do what is asked of them, and not stand in for one another in a circle."""

from collections.abc import Iterator

from slipway.manifest.catalog import find_circle
from slipway.manifest.fields import nearest
from slipway.manifest.problems import Finding, Path
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.models import Models


def models_named(manifest: Manifest) -> Iterator[Finding]:
    """`default` is a chat model and `embeddings` an embedding model."""
    models = manifest.models
    for key, named, kind in (("default", models.default, "chat"), ("embeddings", models.embeddings, "embeddings")):
        yield from _named(models, ("models", key), named, kind)


def fallbacks(manifest: Manifest) -> Iterator[Finding]:
    """What stands in for a model, or shares its requests, does the same work and never waits for that model itself."""
    models = manifest.models
    for name, model in models.available.items():
        for index, other in enumerate(model.fallback):
            yield from _named(models, ("models", "available", name, "fallback", index), other, model.does)
        for other in model.weights or ():
            yield from _shared(models, ("models", "available", name, "weights", other), other, model.does)
    circle = find_circle({name: (*model.fallback, *(model.weights or ())) for name, model in models.available.items()})
    if circle:
        key = "fallback" if models.available[circle[0]].fallback else "weights"
        yield Finding(
            ("models", "available", circle[0], key),
            f"these models stand in for each other in a circle, {' → '.join(circle)}: remove one of them",
        )


def _shared(models: Models, path: Path, name: str, kind: str) -> Iterator[Finding]:
    served = models.served()
    if name in served and served[name].provider == "balance":
        yield Finding(path, f"`{name}` shares requests out itself: name the models under its weights instead")
    else:
        yield from _named(models, path, name, kind)


def _named(models: Models, path: Path, name: str, kind: str) -> Iterator[Finding]:
    served = models.served()
    if name not in served:
        near = nearest(name, tuple(served))
        meant = f"did you mean `{near}`?" if near else f"the models are {', '.join(served)}"
        yield Finding(path, f"there is no model `{name}` under models.available: {meant}")
    elif served[name].does != kind:
        fitting = [other for other, model in served.items() if model.does == kind]
        yield Finding(path, f"`{name}` is no {kind} model: write one of {', '.join(fitting)}")
