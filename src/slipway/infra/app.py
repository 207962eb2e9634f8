"""One synthesis: a manifest, an environment and inputs in; the templates of every stack out, as values.

Called by `operations` and by `cdk synth` (`cdk_app`). The same arguments give the same bytes.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_cdk import App

from slipway.infra.composition import compose
from slipway.infra.inputs import Inputs
from slipway.infra.site import Site, site_of
from slipway.infra.stacks.stack import Feed, SiteStack
from slipway.manifest.schema import Manifest

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StackTemplate:
    """A stack as it is deployed. `part` names it within its site, `text` is the template's JSON.

    `paths` leads from the path of each construct to its logical id.
    """

    part: str
    name: str
    region: str
    template: Mapping[str, Any]
    text: str
    after: tuple[str, ...]
    feeds: tuple[Feed, ...]
    paths: Mapping[str, str]

    def resources(self, kind: str | None = None) -> dict[str, Resource]:
        """Resources by logical id, those of one type when it is given."""
        found: Mapping[str, Resource] = self.template.get("Resources", {})
        return {name: resource for name, resource in found.items() if kind is None or resource["Type"] == kind}


@dataclass(frozen=True, slots=True)
class Assembly:
    """Every stack of a site, each after those that it needs."""

    site: Site
    stacks: tuple[StackTemplate, ...]

    def stack(self, part: str) -> StackTemplate:
        """The stack of that part; raises KeyError for none."""
        for stack in self.stacks:
            if stack.part == part:
                return stack
        raise KeyError(part)

    def resources(self, kind: str | None = None) -> dict[str, Resource]:
        """Resources of all stacks by `part/logical id`, those of one type when it is given."""
        return {
            f"{stack.part}/{name}": resource
            for stack in self.stacks
            for name, resource in stack.resources(kind).items()
        }

    @property
    def digest(self) -> str:
        """A hash over all templates: two assemblies with the same one deploy the same."""
        whole = hashlib.sha256()
        for stack in self.stacks:
            whole.update(f"{stack.name}\0{stack.region}\0{stack.text}\0".encode())
        return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class Synthesis:
    """An assembly with the tree of constructs that it came from, which `checks` looks at."""

    app: App
    assembly: Assembly


def synthesize(manifest: Manifest, environment: str, inputs: Inputs | None = None) -> Assembly:
    """The templates of one environment. Raises Misconfigured or InvalidRequest as `site_of` does."""
    return synthesize_tree(manifest, environment, inputs).assembly


def synthesize_tree(manifest: Manifest, environment: str, inputs: Inputs | None = None) -> Synthesis:
    """The same with its tree, so that one synthesis does for all gates."""
    site = site_of(manifest, environment, inputs or Inputs())
    with tempfile.TemporaryDirectory(prefix="slipway-synth-") as folder:
        app = new_app(folder)
        stacks = compose(app, site)
        app.synth()
        return Synthesis(app, Assembly(site, tuple(template_of(stack, Path(folder)) for stack in stacks)))


def new_app(folder: str | None = None) -> App:
    """An app that asks nobody anything, without the validation of CDK itself, which prints: `checks` has the gates."""
    return App(outdir=folder, analytics_reporting=False, tree_metadata=False, builtin_cloud_formation_validation=False)


def template_of(stack: SiteStack, folder: Path) -> StackTemplate:
    """A stack that `App.synth` wrote to `folder`, as a value."""
    text = (folder / f"{stack.artifact_id}.template.json").read_text("utf-8")
    return StackTemplate(
        part=stack.part,
        name=stack.stack_name,
        region=stack.region,
        template=json.loads(text),
        text=text,
        after=tuple(sorted(each.stack_name for each in stack.dependencies)),
        feeds=tuple(stack.feeds),
        paths=_paths(folder / f"{stack.artifact_id}.metadata.json"),
    )


def _paths(metadata: Path) -> Mapping[str, str]:
    """Logical ids by construct path, as synthesis writes them beside the template."""
    if not metadata.exists():
        return {}
    entries: Mapping[str, Any] = json.loads(metadata.read_bytes())
    return {
        path.removeprefix("/"): entry["data"]
        for path, found in entries.items()
        for entry in found
        if entry["type"] == "aws:cdk:logicalId"
    }
