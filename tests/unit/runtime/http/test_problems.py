"""What a body that cannot be read is answered with."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from slipway.api.identity import UserRequest
from slipway.runtime.http import problems

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An application with one route that takes a user."""
    app = FastAPI()
    problems.install(app)

    @app.post("/users")
    async def add(user: UserRequest) -> str:
        return user.email

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_a_body_that_is_not_json_is_told_as_that(client: httpx.AsyncClient):
    answer = await client.post("/users", content=b"{bad", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    [error] = answer.json()["errors"]
    assert error["field"] == "body"
    assert error["message"].startswith("This is not JSON: ")
    assert error["message"].endswith("(at character 1)")


@pytest.mark.parametrize(("password", "limit"), [("short", "at least 12 characters"), ("x" * 257, "at most 256 char")])
async def test_the_length_of_a_secret_is_counted_in_characters_and_it_is_not_repeated(
    client: httpx.AsyncClient, password: str, limit: str
):
    body = {"email": "ada@example.com", "role": "member", "password": password}
    answer = await client.post("/users", json=body)
    assert [error["field"] for error in answer.json()["errors"]] == ["body.password"]
    assert limit in answer.json()["detail"]
    assert password not in answer.text


async def test_an_address_where_nothing_is_tells_it_to_openai_clients_too(client: httpx.AsyncClient):
    answer = await client.get("/models")
    assert answer.status_code == 404
    assert "is below /v1" in answer.json()["detail"]
    assert answer.json()["error"]["message"] == answer.json()["detail"]
