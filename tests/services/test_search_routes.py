"""`/v1/search` and `/v1/collections` over HTTP, with a real store and the real embedding model."""

from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from fastapi import FastAPI

from slipway.base.callers import Caller, Scope
from slipway.base.errors import Unauthenticated
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.http import problems
from slipway.services.gateway.minilm import MiniLM
from slipway.services.retrieval.adapter_chunks import Chunks
from slipway.services.retrieval.adapter_chunks_reading import ChunkViews
from slipway.services.retrieval.collections_rows import require
from slipway.services.retrieval.collections_service import Collections
from slipway.services.retrieval.routes_search import search_routes
from slipway.services.retrieval.search import Search

pytestmark = pytest.mark.anyio

TEXTS = (
    "Laptops may be returned within thirty days of delivery.",
    "The canteen is open from eleven to two.",
    "Expenses are paid back at the end of the month.",
)


class ModelHere:
    """The gateway's embedding model without the gateway between."""

    def __init__(self, model: MiniLM) -> None:
        self._model = model

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:
        return [vector.tobytes() for vector in self._model.embed(texts).vectors]


class Callers:
    """An authenticator that knows the callers of one test by name."""

    def __init__(self) -> None:
        self.known: dict[str, Caller] = {}

    async def authenticate(self, credential: str) -> Caller:
        if credential not in self.known:
            raise Unauthenticated("This credential is not valid.")
        return self.known[credential]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    model = MiniLM(tmp_path_factory.mktemp("model"), threads=1)
    yield model
    model.close()


@pytest.fixture
def callers(new_caller) -> Callers:
    callers = Callers()
    callers.known["ann"] = new_caller()
    callers.known["bob"] = new_caller()
    callers.known["reader"] = new_caller(Scope.DOCUMENTS_READ, tenant_id=callers.known["ann"].tenant_id)
    return callers


@pytest.fixture
async def client(database: Database, callers: Callers, model: MiniLM) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.state.authenticator = callers
    routes = search_routes(Search(ChunkViews(database), ModelHere(model)), Collections(database))
    app.include_router(routes.router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        client.headers["authorization"] = "Bearer ann"
        yield client


async def add(database: Database, model: MiniLM, caller: Caller, collection: str = "default") -> str:
    document = new_id("doc")
    vectors = model.embed(TEXTS).vectors
    async with database.transaction(caller) as connection:
        for ordinal, (text, vector) in enumerate(zip(TEXTS, vectors, strict=True)):
            await connection.execute(
                "INSERT INTO staged_chunk"
                " (tenant_id, document_id, ordinal, page, start_char, end_char, text, embedding)"
                " VALUES (%s, %s, %s, %s, 100, %s, %s, %s)",
                (caller.tenant_id, document, ordinal, ordinal + 1, 100 + len(text), text, vector),
            )
        await Chunks().publish(connection, caller, document, collection, "Handbook")
    return document


@pytest.mark.requirement("SVC-03", "R")
async def test_search_finds_the_passage_that_answers(client, database, callers, model) -> None:
    document = await add(database, model, callers.known["ann"])
    response = await client.post("/v1/search", json={"query": "How long can I send a notebook computer back?"})
    assert response.status_code == 200
    results = response.json()["results"]
    assert results[0]["chunk_id"] == f"{document}.0"
    assert len(results) == 3
    best = results[0]
    assert (best["title"], best["page"], best["start"], best["text"]) == ("Handbook", 1, 100, TEXTS[0])
    assert best["end"] - best["start"] == len(best["text"])
    assert all(-1 <= item["similarity"] <= 1 for item in results)
    assert best["score"] > results[1]["score"]
    limited = await client.post("/v1/search", json={"query": "canteen", "limit": 1})
    assert [item["text"] for item in limited.json()["results"]] == [TEXTS[1]]


async def test_search_of_another_tenant_finds_nothing(client, database, callers, model) -> None:
    await add(database, model, callers.known["ann"])
    answer = await client.post(
        "/v1/search", json={"query": "laptops returned"}, headers={"authorization": "Bearer bob"}
    )
    assert answer.json() == {"results": []}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"query": ""}, 400, "invalid_request"),
        ({"query": "x" * 8001}, 400, "invalid_request"),
        ({"query": "x", "limit": 0}, 400, "invalid_request"),
        ({"query": "x", "limit": 101}, 400, "invalid_request"),
        ({"query": "x", "colection": "y"}, 400, "invalid_request"),
        ({"query": "x", "collection": "absent"}, 404, "not_found"),
    ],
)
async def test_search_refuses(client, body, status, code) -> None:
    response = await client.post("/v1/search", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["🛩️ \\u0000", "%s '; --", "the of and"])
async def test_search_takes_any_text(client, database, callers, model, query) -> None:
    await add(database, model, callers.known["ann"])
    response = await client.post("/v1/search", json={"query": query})
    assert (response.status_code, len(response.json()["results"])) == (200, 3)


@pytest.mark.requirement("SVC-03", "R")
async def test_collections_of_a_tenant(client, database, callers, model) -> None:
    listed = await client.get("/v1/collections")
    assert [item["name"] for item in listed.json()["items"]] == ["default"]
    made = await client.post("/v1/collections", json={"name": "contracts", "description": "Signed ones"})
    assert (made.status_code, made.json()["document_count"]) == (201, 0)
    again = await client.post("/v1/collections", json={"name": "contracts"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    document = await add(database, model, callers.known["ann"], "contracts")
    await add(database, model, callers.known["ann"])
    listed = await client.get("/v1/collections")
    assert [(item["name"], item["document_count"], item["chunk_count"]) for item in listed.json()["items"]] == [
        ("contracts", 1, 3),
        ("default", 1, 3),
    ]
    found = await client.post("/v1/search", json={"query": "laptop", "collection": "contracts"})
    assert {item["document_id"] for item in found.json()["results"]} == {document}
    refused = await client.delete("/v1/collections/contracts")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    async with database.transaction(callers.known["ann"]) as connection:
        await Chunks().withdraw(connection, callers.known["ann"], document)
    assert (await client.delete("/v1/collections/contracts")).status_code == 204
    assert (await client.delete("/v1/collections/contracts")).status_code == 404
    assert (await client.delete("/v1/collections/default")).status_code == 409


async def test_collections_are_of_one_tenant(client) -> None:
    bob = {"authorization": "Bearer bob"}
    assert (await client.post("/v1/collections", json={"name": "private"})).status_code == 201
    assert (await client.delete("/v1/collections/private", headers=bob)).status_code == 404
    sought = await client.post("/v1/search", json={"query": "x", "collection": "private"}, headers=bob)
    assert sought.status_code == 404
    assert (await client.post("/v1/collections", json={"name": "private"}, headers=bob)).status_code == 201


async def test_scopes(client) -> None:
    reader = {"authorization": "Bearer reader"}
    assert (await client.get("/v1/collections", headers=reader)).status_code == 200
    assert (await client.post("/v1/collections", json={"name": "x"}, headers=reader)).status_code == 403
    assert (await client.delete("/v1/collections/x", headers=reader)).status_code == 403
    assert (await client.post("/v1/search", json={"query": "x"}, headers=reader)).status_code == 403
    assert (await client.get("/v1/collections", headers={"authorization": "Bearer nobody"})).status_code == 401


async def test_require_holds_the_collection_until_the_transaction_ends(client, database, callers) -> None:
    caller = callers.known["ann"]
    await client.post("/v1/collections", json={"name": "held"})
    async with database.transaction(caller) as connection:
        await require(connection, caller, "held")
        await require(connection, caller, "default")
        async with database.transaction(caller) as other:
            cursor = await other.execute(
                "SELECT name FROM collection WHERE tenant_id = %s AND name = 'held' FOR UPDATE SKIP LOCKED",
                (caller.tenant_id,),
            )
            assert await cursor.fetchall() == []
    assert (await client.delete("/v1/collections/held")).status_code == 204
