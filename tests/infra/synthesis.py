"""Synthesized blueprints for tests: each once in a process, and any of them with a part of its manifest changed."""

import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from typing import Any

from aws_cdk import BootstraplessSynthesizer, Stack
from aws_cdk.assertions import Template
from constructs import Construct
from ruamel.yaml import YAML

from slipway.infra.app import Assembly, Resource, new_app, synthesize
from slipway.infra.inputs import Inputs
from slipway.manifest.blueprints import blueprint_text
from slipway.manifest.loading import build
from slipway.manifest.schema import Manifest
from tests.infra.alterations import seen, seen_assembly

INPUTS = Inputs(image_digest="sha256:" + "ab" * 32)
PREVIEW_INPUTS = Inputs(
    image_digest="sha256:" + "ab" * 32, pull_request=123, branch="feature/answers", expires=date(2027, 1, 15)
)


def manifest_of(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> Manifest:
    """The manifest of a blueprint's environment; `changes` are merged in as an environment's overrides are."""
    document: dict[str, Any] = YAML(typ="safe").load(blueprint_text(blueprint))
    overrides = document.pop("environments", {})[environment]
    return build(merged(merged(document, overrides), changes or {}))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merge, everything else replaces."""
    whole = dict(base)
    for key, value in over.items():
        below = whole.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        whole[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return whole


def assembly(blueprint: str, environment: str) -> Assembly:
    """A blueprint's environment, as it stands."""
    return mutated(blueprint, environment, {})


def mutated(blueprint: str, environment: str, changes: Mapping[str, Any]) -> Assembly:
    """A blueprint's environment with other numbers: what a test that holds a number must notice."""
    return seen_assembly(_synthesized(blueprint, environment, json.dumps(changes)))


@cache
def _synthesized(blueprint: str, environment: str, changes: str) -> Assembly:
    manifest = manifest_of(blueprint, environment, json.loads(changes))
    return synthesize(manifest, environment, PREVIEW_INPUTS if manifest.template else INPUTS)


def synthesized(make: Callable[[Construct], object], region: str = "us-east-1") -> dict[str, Resource]:
    """The resources of a stack that holds what `make` makes, by logical id."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(new_app(folder), "Test", synthesizer=BootstraplessSynthesizer(), env={"region": region})
        make(stack)
        resources: dict[str, Resource] = Template.from_stack(stack).to_json().get("Resources", {})
    return seen(resources)


def of_type(resources: Mapping[str, Resource], kind: str) -> list[Resource]:
    """The resources of one type."""
    return [resource for resource in resources.values() if resource["Type"] == kind]


def only(resources: Mapping[str, Resource], kind: str) -> Resource:
    """The one resource of a type."""
    [found] = of_type(resources, kind)
    return found
