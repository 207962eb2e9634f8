"""The OpenAPI document: what FastAPI knows of its routes, with the hot routes and the problem schema added."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from slipway.runtime.http.problems import PROBLEM_SCHEMA
from slipway.runtime.http.routes import HotRoute, error_responses

_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of a configured issuer."},
    "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same as `bearer`."},
}
_DESCRIPTION = (
    "Errors are `application/problem+json` (RFC 9457) with a stable `code`; the OpenAI routes answer OpenAI's "
    "envelope. Every answer carries `x-request-id`."
)
_OPENAI_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}


def document(app: FastAPI, hot_routes: Sequence[HotRoute]) -> dict[str, Any]:
    """The whole document; built at the first request and kept."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes, description=_DESCRIPTION)
        components = schema.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas["Problem"] = PROBLEM_SCHEMA
        schemas["OpenAIError"] = _OPENAI_ERROR
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        components["securitySchemes"] = _SECURITY
        models = sorted({model for route in hot_routes for model in (route.request, route.response) if model}, key=repr)
        schemas.update(_schemas(models))
        for route in hot_routes:
            schema["paths"].setdefault(route.path, {})[route.method.lower()] = _operation(route)
        _drop_validation_answers(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _schemas(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    found: dict[str, Any] = definitions.get("$defs", {})
    return found


def _operation(route: HotRoute) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.response is not None:
        content["application/json"] = {"schema": {"$ref": f"#/components/schemas/{route.response.__name__}"}}
    if route.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    operation: dict[str, Any] = {
        "tags": ["gateway"],
        "summary": route.summary,
        "operationId": f"{route.method}_{route.path}".lower().translate(str.maketrans("/{}.", "____")),
        "security": [{"bearer": []}, {"api_key": []}],
        "x-slipway-scope": route.scope.value,
        "responses": {
            "200": {"description": "OK", "content": content},
            **{
                str(status): answer for status, answer in error_responses(route.possible_errors, _ERROR_CONTENT).items()
            },
        },
    }
    if route.request is not None:
        reference = {"$ref": f"#/components/schemas/{route.request.__name__}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference}}}
    if "{" in route.path:
        name = route.path.rpartition("{")[2].rstrip("}")
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]
    return operation


def _drop_validation_answers(schema: dict[str, Any]) -> None:
    """FastAPI adds its own 422 to each route; ours answer 400 with a problem."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict):
                operation.get("responses", {}).pop("422", None)
