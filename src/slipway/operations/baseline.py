"""What the plan is compared with: the deployed stacks, another manifest, or nothing.

`deployed` asks CloudFormation when there are credentials. `declared` synthesizes a file or the manifest of a git
reference. A Baseline says which of them it is, so that nobody reads "created" as "new" where nothing was compared.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.base.errors import InvalidRequest, Unavailable
from slipway.infra.app import Assembly, synthesize
from slipway.infra.inputs import Inputs
from slipway.infra.naming import MANAGED_BY
from slipway.manifest.loading import Document, open_document, parse
from slipway.manifest.source import Unreadable
from slipway.operations.references import Feeding, StackState

NOTHING_COMPARED: Final = "nothing: neither AWS nor --against was asked, so everything counts as created"
_GIT_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Baseline:
    """The stacks before, and in words what they are."""

    label: str
    stacks: tuple[StackState, ...] = ()


def states(assembly: Assembly) -> tuple[StackState, ...]:
    """The stacks of an assembly as the comparison takes them."""
    return tuple(
        StackState(
            part=stack.part,
            name=stack.name,
            region=stack.region,
            template=stack.template,
            feeds=tuple(Feeding(feed.parameter, feed.source_stack, feed.source_output) for feed in stack.feeds),
        )
        for stack in assembly.stacks
    )


def declared(against: str, manifest_file: Path, environment: str, inputs: Inputs) -> Baseline:
    """The stacks of another manifest: a file, or the same file at a git reference.

    Raises InvalidRequest when `against` is neither, ManifestProblems when that manifest does not hold.
    """
    document, label = _document(against, manifest_file)
    if environment not in document.environments:
        return Baseline(f"{label}, which has no environment {environment}")
    other = document.loaded(environment).manifest
    return Baseline(label, states(synthesize(other, environment, inputs)))


def _document(against: str, manifest_file: Path) -> tuple[Document, str]:
    if Path(against).exists():
        return open_document(against), against
    label = f"{manifest_file.name} at {against}"
    try:
        return parse(_shown(against, manifest_file), label), label
    except Unreadable as refused:
        raise InvalidRequest(f"{label} is no manifest: {refused.problem.message}.") from refused


def _shown(reference: str, manifest_file: Path) -> str:
    command = ("git", "show", "--end-of-options", f"{reference}:./{manifest_file.name}")
    try:
        done = subprocess.run(  # noqa: S603 - git itself; the reference cannot be taken for an option
            command, cwd=manifest_file.resolve().parent, capture_output=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable("git does not answer: name a file instead.", detail=repr(error)) from error
    if done.returncode:
        raise InvalidRequest(
            f"{reference!r} is neither a file nor a git reference that has {manifest_file.name} in this folder."
        )
    return done.stdout.decode("utf-8", "replace")


def deployed(session: Any, assembly: Assembly) -> Baseline:
    """The stacks of this environment that CloudFormation has, those that the manifest no longer asks for among them.

    Raises Unavailable when AWS cannot be asked: a plan that compares with a part would be wrong.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    names, prefix = {stack.name: stack for stack in assembly.stacks}, assembly.site.names.stack("")
    regions = dict.fromkeys(stack.region for stack in assembly.stacks)
    found: dict[str, StackState] = {}
    try:
        for region in regions:
            client = session.client("cloudformation", region_name=region)
            for page in client.get_paginator("describe_stacks").paginate():
                for stack in page["Stacks"]:
                    name = stack["StackName"]
                    if (name in names and names[name].region == region) or _ours(stack, prefix):
                        part = names[name].part if name in names else name.removeprefix(prefix)
                        found[name] = StackState(part=part, name=name, region=region, template=_got(client, name))
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(
            "What is deployed cannot be read from CloudFormation: --offline plans without it, --against compares with"
            " another manifest.",
            detail=repr(error),
        ) from error
    order = [*names, *sorted(set(found) - set(names))]
    return Baseline("the deployed stacks", tuple(found[name] for name in order if name in found))


def _ours(stack: Mapping[str, Any], prefix: str) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", ())}
    return stack["StackName"].startswith(prefix) and tags.get("ManagedBy") == MANAGED_BY


def _got(client: Any, name: str) -> Mapping[str, Any]:
    body = client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
    if isinstance(body, Mapping):
        return body
    raise Unavailable(f"The template of {name} is not JSON: it was not deployed by Slipway.")
