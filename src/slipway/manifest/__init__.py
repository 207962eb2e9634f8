"""The manifest: what the platform is. Its schema, loading, environments, rules, and the catalog of components.

Public: `load(path, environment)` and `default_manifest()` give a frozen Manifest; `catalog` says what there
is to run. YAML is read here and nowhere else. Refused: unknown keys, secrets, and whatever the rules say
cannot work, all at once.
"""

from slipway.manifest.defaults import default_manifest
from slipway.manifest.environments import Origin
from slipway.manifest.loading import Document, Loaded, build, load, open_document
from slipway.manifest.problems import ManifestProblems, Problem
from slipway.manifest.schema import Manifest

__all__ = [
    "Document",
    "Loaded",
    "Manifest",
    "ManifestProblems",
    "Origin",
    "Problem",
    "build",
    "default_manifest",
    "load",
    "open_document",
]
