"""Manifests to start from, as packaged YAML: `slipway init` writes one out. Blueprints hold no code."""

from importlib import resources


def blueprint_names() -> tuple[str, ...]:
    """The blueprints that there are, sorted."""
    return tuple(sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml")))


def blueprint_text(name: str) -> str:
    """The commented YAML of a blueprint that `blueprint_names` lists."""
    return (_folder() / f"{name}.yaml").read_text("utf-8")


def _folder() -> resources.abc.Traversable:
    return resources.files(__name__)
