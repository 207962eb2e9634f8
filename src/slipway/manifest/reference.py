"""The reference of the manifest as Markdown, made from the schema: `python -m slipway.manifest.reference >
docs/manifest.md`.

A test compares the file with what this prints, so the two cannot drift apart.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from slipway.manifest.catalog import COMPONENTS
from slipway.manifest.fields import inner, models
from slipway.manifest.schema import ENVIRONMENT_ONLY_KEYS
from slipway.manifest.units import Count, Duration, Money, Percent, Quantity, Size, TimeOfDay

_HEAD: Final = """# The manifest

One file, `slipway.yaml`, says what the platform is. Only `slipway` and `name` are required; `slipway up`
needs no file at all. This page is generated from the schema (`python -m slipway.manifest.reference >
docs/manifest.md`).

- `slipway init [BLUEPRINT]` writes a commented manifest to start from.
- `slipway check [PATH] [--env NAME] [--explain] [--json]` reports every problem at once; `--explain` shows
  each value with the line it came from. It exits with 0 when the manifest holds, 1 when it has problems, 2
  when it cannot be read.
- `slipway schema` prints the JSON Schema (2020-12) that editors complete from.

The file is one YAML 1.2 document in UTF-8, at most 1 MiB. Tags, duplicate keys and merge keys are refused;
anchors may be used. A secret never stands in it: keys that end in `_env`, and `secret` and `secrets`, take the name
of an environment variable.
"""
_ENVIRONMENTS: Final = """## Environments

Each entry of `environments` is an override: mappings merge key by key, and everything else (lists, texts,
numbers, `null`) replaces what it overrides. Every key may be overridden but `slipway`, `name` and
`environments` itself. Only an environment has {only}.
"""
_RULES: Final = """## Rules

Beside the form of each key, `slipway check` holds these, and says what to write instead:

- A backup that moves to cold storage stays there at least 90 days (AWS Backup).
- `recovery.objectives` are compared, store by store, with what point-in-time recovery, copies, replication
  and backups reach when the store is lost and, with `recovery.region`, when the region is lost. A store that
  misses stands under `recovery.accepted_gaps` with the figure that it does reach and the reason why that is
  accepted.
- No public route leads to a data store, takes another service's route, or takes a route of a component.
- Every need of a component or service is met by a store, a table, a dependency, a component that runs, or a
  service; services do not need each other in a circle. A name means one of them, and so does one in the private DNS.
- On Fargate a service's CPU and memory are a pair that Fargate has. On instances each task fits one of them, and the
  copies that always run fit all of them. A host volume needs `compute: ec2` and one copy.
- A part with a public route that runs on spare capacity has two copies at least, unless its environment is stopped
  at night or is a template.
- EKS has two zones, no predictive scaling and no blue-green strategy.
- Exact subnets lie in the VPC's range, one a zone in each tier, and do not overlap. A VPC that exists is stated with
  the ids of its subnets.
- Without a NAT gateway there is an endpoint for all that is called, and nothing that is called lies on the internet.
- Without API Gateway, what serves the internet has a domain (and so TLS) and public subnets. A certificate that
  exists lies in the region that uses it.
- With API Gateway, the alarm on latency is below its 29 s, and no plan promises more than `edge.throttle`.
- A failover has a recovery region and a domain.
- An agent of Bedrock has a chat model of Bedrock; a knowledge base has objects in S3, and Aurora or OpenSearch.
- A variable whose name reads like a secret stands under `secrets`, by its name alone.
- A service's image is a folder to build or an image by digest: the same manifest always gives the same
  deployment.
- `models.default`, `models.embeddings`, each `fallback` and each of `weights` name a model of the right kind, and
  no two stand in for each other. What is under `weights` does not share requests out itself.
- A template has `share` and `ttl`; `share` names another environment of the same region that is no template.
"""
_UNITS: Final[Mapping[type[Quantity], str]] = {
    Duration: "ms, s, m (minutes), h, d, w, y (365 days); whole numbers",
    Size: "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB; whole numbers",
    Money: "US dollars, up to six decimals",
    Percent: "up to two decimals",
    Count: "plain, or k (thousand), M (million), B (billion)",
    TimeOfDay: "UTC, every day or weekdays",
}
_PLAIN: Final[Mapping[Any, str]] = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text"}


def reference() -> str:
    """The whole page."""
    sections = [_HEAD, *(_section(where, model) for where, model in models())]
    only = ", ".join(f"`{key}`" for key in ENVIRONMENT_ONLY_KEYS)
    sections += [_ENVIRONMENTS.format(only=only), _units(), _catalog(), _RULES]
    return "\n".join(sections)


def _section(where: str, model: type[BaseModel]) -> str:
    title = f"`{where}`" if where else "Keys"
    rows = "\n".join(_row(where, name, field) for name, field in model.model_fields.items())
    return f"## {title}\n\n{model.__doc__}\n\n| key | value | default | |\n|---|---|---|---|\n{rows}\n"


def _row(where: str, name: str, field: FieldInfo) -> str:
    path = f"{where}.{name}" if where else name
    default = "required" if field.is_required() else _default(field)
    return f"| `{name}` | {_value(path, field.annotation)} | {default} | {field.description} |"


def _value(path: str, annotation: Any) -> str:
    kind = inner(annotation)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{option}`" for option in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of: {_value(f'{path}[]', get_args(kind)[0])}"
    if get_origin(kind) is Mapping:
        return f"by name: {_value(f'{path}.<name>', get_args(kind)[1])}"
    if isinstance(kind, type) and issubclass(kind, Quantity):
        return f"[{kind.NOUN.removeprefix('a ').removeprefix('an ')}](#units)"
    return f"keys of `{path}`"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=False)
    if value is PydanticUndefined or value is None or value in ({}, ()):
        return ""
    if isinstance(value, BaseModel):
        return "see its keys" if value == type(value)() else f"`{_compact(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{value}`"


def _compact(value: BaseModel) -> str:
    def text(node: Any) -> str:
        if isinstance(node, dict):
            return "{" + ", ".join(f"{key}: {text(child)}" for key, child in node.items()) + "}"
        return str(node)

    return text(value.model_dump(mode="json", exclude_none=True))


def _units() -> str:
    rows = "\n".join(
        f"| {kind.NOUN} | {', '.join(f'`{example}`' for example in kind.EXAMPLES)} | {units} |"
        for kind, units in _UNITS.items()
    )
    return f"## Units\n\nA quantity carries its unit.\n\n| quantity | examples | units |\n|---|---|---|\n{rows}\n"


def _catalog() -> str:
    def listed(words: tuple[str, ...]) -> str:
        return ", ".join(f"`{word}`" for word in words)

    rows = "\n".join(
        f"| `{part.name}` | {part.summary} | {listed(part.routes)} | {listed(part.needs)} | {listed(part.uses)} |"
        for part in COMPONENTS
    )
    return (
        "## Components\n\nWhat a component needs runs with it; what it uses it takes when the manifest declares it.\n\n"
        f"| component | what it is | routes | needs | uses |\n|---|---|---|---|---|\n{rows}\n"
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
