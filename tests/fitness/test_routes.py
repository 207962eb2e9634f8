"""Authorization, proven over every route: no credential, wrong scope, another tenant's object.

The list of routes is the OpenAPI document, so a new route is tested from its first day, or fails here until this file
knows how to make an object of another tenant for it.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from slipway.base.callers import Scope
from slipway.base.ids import new_id
from tests.platforms import Platform

OPEN_ROUTES = {
    "/health",
    "/ready",
    "/metrics",
    "/objects/{token}",
    "/oauth2/authorize",
    "/oauth2/token",
    "/oauth2/revoke",
    "/.well-known/openid-configuration",
    "/.well-known/jwks.json",
}
# Ids that name nothing of a tenant.
SHARED = {
    "/v1/models/{model}",
    "/v1/models/{id}",
    "/v1/models/{model_id}",
    # Tenants themselves: only platform administrators get as far as their ids.
    "/v1/admin/tenants/{tenant_id}",
    "/v1/admin/tenants/{tenant_id}/keys",
    "/v1/plans/tenants/{tenant_id}",
}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    scope: str | None
    body: dict[str, Any] | None


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def routes(client: httpx.Client) -> list[Route]:
    document = client.get("/openapi.json").json()
    return [
        Route(method.upper(), path, operation.get("x-slipway-scope"), body_of(operation))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]


def body_of(operation: dict[str, Any]) -> dict[str, Any] | None:
    return {} if "application/json" in operation.get("requestBody", {}).get("content", {}) else None


def filled(path: str, value: str = "absent") -> str:
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + value + rest.partition("}")[2]
    return path


def send(client: httpx.Client, route: Route, path: str, headers: dict[str, str]) -> httpx.Response:
    return client.request(route.method, path, json=route.body, headers=headers)


def key_with(client: httpx.Client, admin: dict[str, str], *scopes: str) -> dict[str, str]:
    made = client.post("/v1/admin/keys", headers=admin, json={"name": "narrow", "role": "service", "scopes": [*scopes]})
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['secret']}"}


def test_every_route_has_a_scope_or_is_known_to_be_open(routes: list[Route]):
    assert len(routes) > 25
    assert {route.path for route in routes if route.scope is None} <= OPEN_ROUTES
    assert {route.scope for route in routes if route.scope} <= set(Scope)


@pytest.mark.requirement("SEC-03", "R")
def test_no_route_answers_without_a_credential(client: httpx.Client, routes: list[Route]):
    for route in (route for route in routes if route.scope):
        answers = [
            send(client, route, filled(route.path), headers)
            for headers in ({}, {"authorization": "Bearer sk-slip-made-up"}, {"x-api-key": "a.b.c"})
        ]
        for answer in answers:
            assert answer.status_code == 401, f"{route.method} {route.path}: {answer.status_code} {answer.text}"
            assert "www-authenticate" in answer.headers
            assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.requirement("SEC-03", "R")
def test_no_route_answers_a_credential_without_its_scope(client: httpx.Client, routes: list[Route], platform: Platform):
    reader = key_with(client, platform.headers(), "documents:read")
    writer = key_with(client, platform.headers(), "sessions:write")
    for route in (route for route in routes if route.scope):
        headers = writer if route.scope == "documents:read" else reader
        answer = send(client, route, filled(route.path), headers)
        assert answer.status_code == 403, f"{route.method} {route.path}: {answer.status_code} {answer.text}"


def test_both_headers_mean_the_same(client: httpx.Client, routes: list[Route], platform: Platform):
    for route in (route for route in routes if route.scope and route.method == "GET" and "{" not in route.path):
        bearer = send(client, route, route.path, {"authorization": f"Bearer {platform.api_key}"})
        x_api_key = send(client, route, route.path, {"x-api-key": platform.api_key})
        assert bearer.status_code == x_api_key.status_code == 200, f"{route.path}: {bearer.text} {x_api_key.text}"
    both = {"authorization": f"Bearer {platform.api_key}", "x-api-key": "another"}
    assert client.get("/v1/models", headers=both).status_code == 401


@pytest.fixture(scope="module")
def foreign_objects(client: httpx.Client, platform: Platform) -> dict[str, str]:
    """An object of the first tenant for every path parameter that names one."""
    headers = platform.headers()

    def made(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = client.post(path, headers=headers, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    document = client.post(
        "/v1/documents", headers=headers, files={"file": ("secret.txt", io.BytesIO(b"The code is 4711."), "text/plain")}
    )
    assert document.status_code == 202, document.text
    session = made("/v1/sessions", {"title": "private"})["id"]
    return {
        "document_id": document.json()["id"],
        "session_id": session,
        "name": made("/v1/collections", {"name": "private-things"})["name"],
        "key_id": made("/v1/admin/keys", {"name": "private"})["id"],
        "user_id": made("/v1/admin/users", {"email": f"{new_id('usr')}@example.com"})["id"],
        "client_id": made("/v1/admin/clients", {"name": "private"})["id"],
    }


BODIES = {
    ("POST", "/v1/sessions/{session_id}/messages"): {"role": "user", "content": "hello"},
    ("PUT", "/v1/plans/keys/{key_id}"): {"plan": None},
}


@pytest.mark.requirement("SEC-03", "R")
def test_another_tenants_object_is_as_absent_as_one_that_never_was(
    client: httpx.Client, routes: list[Route], platform: Platform, foreign_objects: dict[str, str], other_tenant
):
    tried = 0
    # The platform's administration goes over tenants by its purpose; only its administrators hold that scope.
    tenants_own = [route for route in routes if route.scope and route.scope != Scope.TENANTS_ADMIN]
    for route in (route for route in tenants_own if "{" in route.path and route.path not in SHARED):
        parameter = route.path.partition("{")[2].partition("}")[0]
        assert parameter in foreign_objects, f"{route.path}: make an object for {{{parameter}}} in foreign_objects"
        real = foreign_objects[parameter]
        absent = "nothing-here" if parameter == "name" else new_id(real.split("_")[0])
        sent = Route(route.method, route.path, route.scope, BODIES.get((route.method, route.path), route.body))
        theirs = send(client, sent, route.path.replace(f"{{{parameter}}}", real), other_tenant)
        never = send(client, sent, route.path.replace(f"{{{parameter}}}", absent), other_tenant)
        where = f"{route.method} {route.path}"
        assert theirs.status_code == never.status_code == 404, f"{where}: {theirs.text} {never.text}"
        assert comparable(theirs, real) == comparable(never, absent), where
        tried += 1
    assert tried >= 10
    for path, value in (("/v1/sessions/{}", "session_id"), ("/v1/documents/{}", "document_id")):
        mine = client.get(path.format(foreign_objects[value]), headers=platform.headers())
        assert mine.status_code == 200, "what another tenant tried to delete is still there"


def comparable(answer: httpx.Response, identifier: str) -> dict[str, Any]:
    body = answer.json()
    body.pop("request_id", None)
    return {name: value.replace(identifier, "ID") if isinstance(value, str) else value for name, value in body.items()}


def test_lists_of_another_tenant_show_nothing_of_the_first(
    client: httpx.Client, routes: list[Route], foreign_objects: dict[str, str], other_tenant
):
    listed = 0
    for route in routes:
        if route.scope and route.method == "GET" and "{" not in route.path and route.path != "/v1/admin/tenants":
            answer = client.get(route.path, headers=other_tenant)
            assert answer.status_code == 200, f"{route.path}: {answer.text}"
            for identifier in foreign_objects.values():
                assert identifier not in answer.text, route.path
            listed += 1
    assert listed >= 5


@pytest.fixture(scope="module")
def other_tenant(client: httpx.Client, platform: Platform) -> dict[str, str]:
    """The key of a second tenant's administrator: every scope but the platform's own."""
    admin = platform.headers()
    tenant = client.post("/v1/admin/tenants", headers=admin, json={"name": "Other"})
    assert tenant.status_code == 201, tenant.text
    key = client.post(
        f"/v1/admin/tenants/{tenant.json()['id']}/keys", headers=admin, json={"name": "first", "role": "tenant_admin"}
    )
    assert key.status_code == 201, key.text
    return {"authorization": f"Bearer {key.json()['secret']}"}
