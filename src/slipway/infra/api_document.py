"""The API as its OpenAPI document states it: which routes a platform has, who may call them, what a body looks like.

The document stands beside this module as `openapi.json`, so that a template needs none of the servers' libraries; a
test compares it with what a running platform answers. Read by the edge's stack. No CDK here.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from slipway.infra.topology import Topology

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_REFERENCE: Final = "#/components/schemas/"
# Words about a schema, which validate nothing; `format` of draft 4 knows others than ours.
_WORDS: Final = frozenset({"title", "description", "default", "examples", "format", "discriminator"})
HEALTH: Final = "/health"
# What stays inside: probes and metrics of one process, and uploads to a store that is a folder (S3 has an address).
_INSIDE: Final = ("/ready", "/metrics", "/objects/")
_GREEDY: Final = "/v1/models/{model}"  # a model's name may hold slashes


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One operation. `scope` is None for a route that is open, `schema` that of a JSON body in draft 4.

    `streams` says that its answer comes in pieces or is no JSON.
    """

    method: str
    path: str
    scope: str | None
    schema: Mapping[str, Any] | None = None
    model: str | None = None
    streams: bool = False


def api_routes(topology: Topology) -> tuple[ApiRoute, ...]:
    """The routes that a front door offers: those of the components that run, of public services, and `/health`."""
    components = [route for workload in topology.workloads if workload.kind == "component" for route in workload.routes]
    found = [route for route in _documented() if route.path == HEALTH or any(_under(route.path, c) for c in components)]
    return (*found, *_services(topology))


def prompt_paths(topology: Topology) -> tuple[str, ...]:
    """Beginnings of the paths whose bodies are what people write: chats, documents, searches, messages."""
    wanted = ("/v1/chat", "/v1/messages", "/v1/embeddings", "/v1/documents", "/v1/search", "/v1/sessions")
    there = [route.path for route in api_routes(topology) if route.schema is not None or route.streams]
    return tuple(prefix for prefix in wanted if any(path.startswith(prefix) for path in there))


@cache
def document() -> Mapping[str, Any]:
    """The OpenAPI document of the whole catalog."""
    found: Mapping[str, Any] = json.loads(files("slipway.infra").joinpath("openapi.json").read_text("utf-8"))
    return found


@cache
def _documented() -> tuple[ApiRoute, ...]:
    return tuple(
        _route(method, path, operation)
        for path, operations in sorted(document()["paths"].items())
        if not path.startswith(_INSIDE)
        for method, operation in sorted(operations.items())
        if method in _METHODS
    )


def _route(method: str, path: str, operation: Mapping[str, Any]) -> ApiRoute:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    model = body.get("$ref", "").removeprefix(_REFERENCE) or None
    answers = {
        kind
        for status, answer in operation["responses"].items()
        if status[0] == "2"
        for kind in answer.get("content", {})
    }
    return ApiRoute(
        method=method.upper(),
        path=path.replace("{model}", "{model+}") if path == _GREEDY else path,
        scope=operation.get("x-slipway-scope"),
        schema=None if model is None else draft_4(model, document()["components"]["schemas"]),
        model=model,
        streams="text/event-stream" in answers or path.endswith(("/content", "/events")),
    )


def _services(topology: Topology) -> Iterator[ApiRoute]:
    """A service of the user's takes what it likes; whoever calls it needs a token all the same."""
    for workload in topology.workloads:
        if workload.kind != "service" or workload.exposure != "public":
            continue
        for route in workload.routes:
            base = route.removesuffix("*").rstrip("/")
            if base:
                yield ApiRoute(method="ANY", path=base, scope="*")
            if route.endswith("*"):
                yield ApiRoute(method="ANY", path=f"{base}/{{proxy+}}", scope="*")


def _under(path: str, route: str) -> bool:
    """Whether the catalog's `route` (a path, or one that ends in `*`) covers `path`."""
    return path.startswith(route[:-1]) if route.endswith("*") else path == route


def draft_4(name: str, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as API Gateway reads it: JSON Schema draft 4, whole, with what it refers to under `definitions`."""
    needed: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in needed:
            needed[current] = _translated(schemas[current], waiting)
    top = needed.pop(name)
    return {
        "$schema": "http://json-schema.org/draft-04/schema#",
        **top,
        **({"definitions": dict(sorted(needed.items()))} if needed else {}),
    }


def _translated(schema: Any, waiting: list[str], *, names: bool = False) -> Any:
    """`names` says that the keys are names of properties, not words of the schema."""
    if isinstance(schema, list):
        return [_translated(item, waiting) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {key: _translated(value, waiting) for key, value in schema.items()}
    if "$ref" in schema:
        target = schema["$ref"].removeprefix(_REFERENCE)
        waiting.append(target)
        return {"$ref": f"#/definitions/{target}"}
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _WORDS:
            continue
        if key == "const":
            found["enum"] = [value]
        elif key in ("exclusiveMinimum", "exclusiveMaximum"):
            found[key] = True
            found["minimum" if key == "exclusiveMinimum" else "maximum"] = value
        else:
            found[key] = _translated(value, waiting, names=key == "properties")
    return found
