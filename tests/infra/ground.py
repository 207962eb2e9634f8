"""The foundation of a blueprint alone, fast and without the stacks of others, and how to read what it refers to."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from aws_cdk.assertions import Template

from slipway.infra.app import Resource, new_app
from slipway.infra.inputs import Inputs
from slipway.infra.site import Site, site_of
from slipway.infra.stacks.foundation import FoundationStack
from tests.infra.alterations import seen
from tests.infra.synthesis import INPUTS, PREVIEW_INPUTS, manifest_of

Resources = Mapping[str, Resource]
ANYWHERE = "0.0.0.0/0"


def site(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> Site:
    manifest = manifest_of(blueprint, environment, changes)
    return site_of(manifest, environment, PREVIEW_INPUTS if manifest.template else INPUTS)


def foundation(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> Resources:
    """The resources of the foundation, by logical id."""
    return seen(_foundation(blueprint, environment, json.dumps(changes)))


def foundation_in(zones: tuple[str, ...]) -> Resources:
    """That of `microservices` in zones that somebody names."""
    return seen(_resources(site_of(manifest_of("microservices", "prod"), "prod", Inputs(zones=zones))))


def named(resources: Resources, kind: str) -> dict[str, Resource]:
    """The resources of a type by their Name tag."""
    return {tag_of(each, "Name"): each for each in resources.values() if each["Type"] == kind}


def tag_of(resource: Resource, key: str) -> str:
    tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in resource["Properties"].get("Tags", ())}
    return tags[key]


def referred(value: Any) -> str:
    """The logical id that a value refers to."""
    if "Ref" in value:
        return str(value["Ref"])
    return str(value["Fn::GetAtt"][0])


def texts(value: Any) -> Iterator[str]:
    """Every text within a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


@cache
def _foundation(blueprint: str, environment: str, changes: str) -> Resources:
    return _resources(site(blueprint, environment, json.loads(changes)))


def _resources(of: Site) -> Resources:
    with tempfile.TemporaryDirectory() as folder:
        resources: Resources = Template.from_stack(FoundationStack(new_app(folder), of)).to_json()["Resources"]
        return resources
