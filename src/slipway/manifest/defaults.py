"""The manifest that `slipway up` runs when there is no file: every component, on what is embedded."""

from slipway.manifest.schema import Manifest
from slipway.manifest.sections.models import BUILT_IN, Models


def default_manifest() -> Manifest:
    """All components, the extractive answerer for chat and MiniLM for embeddings."""
    return Manifest(slipway=1, name="local", models=Models(available=dict(BUILT_IN)))
