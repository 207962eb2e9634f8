"""The OpenAPI document: valid, whole, and every refusal in it."""

import json
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

from slipway.infra import api_document
from tests.platforms import Platform

SNAPSHOT = Path(api_document.__file__).with_name("openapi.json")
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document(platform: Platform) -> dict:
    return httpx.get(f"{platform.url}/openapi.json").json()


def operations(document: dict):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield f"{method.upper()} {path}", operation


def test_the_document_is_valid(document: dict):
    validate(document)


def test_every_operation_says_what_it_does_and_how_it_refuses(document: dict):
    names = []
    for name, operation in operations(document):
        assert operation.get("summary") or operation.get("description"), name
        names.append(operation["operationId"])
        answers = operation["responses"]
        assert "422" not in answers, name
        assert {"400", "500"} <= set(answers), name
        if operation.get("x-slipway-scope"):
            assert {"401", "403"} <= set(answers), name
            assert operation["security"], name
        if "requestBody" in operation:
            assert "413" in answers or not operation.get("x-slipway-scope"), name
        for status, answer in answers.items():
            if status >= "400":
                assert answer.get("content"), f"{name} {status}"
    assert len(names) == len(set(names))


def test_what_a_model_answers_is_an_answer_of_chat_too(document: dict):
    """Each status that the gateway has for a model that fails reaches whoever chats."""
    of_models = set(document["paths"]["/v1/chat/completions"]["post"]["responses"])
    assert of_models <= set(document["paths"]["/v1/chat"]["post"]["responses"])


def test_the_paths_of_the_platform_are_there(document: dict):
    assert {
        "/v1/chat",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/usage",
        "/v1/plans",
        "/v1/documents",
        "/v1/documents/uploads",
        "/v1/documents/{document_id}",
        "/v1/documents/{document_id}/events",
        "/v1/search",
        "/v1/collections",
        "/v1/sessions",
        "/v1/sessions/{session_id}",
        "/v1/admin/tenants",
        "/v1/admin/keys",
        "/v1/admin/users",
    } <= set(document["paths"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("PUT", "/v1/search", 405), ("POST", "/v1/search", 400)],
)
def test_what_the_framework_refuses_is_a_problem_too(platform: Platform, method: str, path: str, status: int):
    answer = httpx.request(method, platform.url + path, headers=platform.headers(), content=b"{")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]


def test_templates_are_made_from_the_document_as_it_is(document: dict):
    # When it changed on purpose: curl -s "$SLIPWAY_URL/openapi.json" | python -m json.tool --sort-keys --indent 1
    # goes to src/slipway/infra/openapi.json.
    assert json.loads(SNAPSHOT.read_text("utf-8")) == document
