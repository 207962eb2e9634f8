"""Documents over HTTP on real stores: what goes in, what is shown of it, what is refused, and how it ends."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from slipway.base.callers import ADMIN_SCOPES, Caller, Scope
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database
from slipway.services.retrieval.wiring import wire
from tests.services.ingestion_stand import (
    SECRET,
    EmbeddingServer,
    add,
    app_of,
    assert_whole,
    client_for,
    foundation,
    prose,
    running,
    settled,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def embedding_server() -> Iterator[EmbeddingServer]:
    server = EmbeddingServer()
    yield server
    server.stop()


@pytest.fixture
def caller(new_caller) -> Caller:
    return new_caller()


@pytest.fixture
async def client(
    database: Database, postgres, tmp_path: Path, embedding_server: EmbeddingServer, caller: Caller
) -> AsyncIterator[httpx.AsyncClient]:
    grounds = foundation(database, postgres.app_url, tmp_path, embedding_server.url)
    part = await wire(grounds)
    async with running(part), client_for(app_of(part, grounds), caller) as client:
        yield client


async def test_a_text_becomes_searchable(client, database, caller, embedding_server) -> None:
    answer = await add(client, prose("blue", 40), "handbook.md")
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] in {"queued", "processing"}
    document = await settled(client, answer.json()["id"])
    assert document["status"] == "ready", document
    assert [(step["name"], step["status"]) for step in document["steps"]] == [
        ("extract", "done"),
        ("chunk", "done"),
        ("embed", "done"),
        ("store", "done"),
    ]
    chunks = await assert_whole(database, caller, document["id"])
    assert document["chunk_count"] == chunks > 5
    assert document["steps"][2]["done"] == document["steps"][2]["total"] == chunks
    assert caller.tenant_id in embedding_server.tenants


async def test_a_quote_can_be_checked_and_the_file_comes_back(client) -> None:
    content = "Größe: 5 µm 😀.\n\nReturns take thirty days.".encode()
    document = await settled(client, (await add(client, content)).json()["id"])
    whole = (await client.get(f"/v1/documents/{document['id']}/text")).json()
    start = whole["text"].index("Returns")
    span = await client.get(f"/v1/documents/{document['id']}/text", params={"start": start, "end": start + 7})
    assert span.json() == {"document_id": document["id"], "start": start, "end": start + 7, "text": "Returns"}
    beyond = await client.get(f"/v1/documents/{document['id']}/text", params={"start": 10_000})
    assert beyond.json()["text"] == ""
    file = await client.get(f"/v1/documents/{document['id']}/content")
    assert file.content == content
    assert file.headers["content-disposition"].startswith("attachment")


async def test_the_same_content_is_one_document_even_ten_times_at_once(client, database, caller) -> None:
    content = prose("same", 10)
    answers = []

    async def once(n: int) -> None:
        answers.append(await add(client, content, f"copy-{n}.txt"))

    async with anyio.create_task_group() as group:
        for n in range(10):
            group.start_soon(once, n)
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [202]
    document = await settled(client, answers[0].json()["id"])
    await assert_whole(database, caller, document["id"])
    again = await add(client, content)
    assert (again.status_code, again.json()["status"]) == (200, "ready")
    assert len((await client.get("/v1/documents")).json()["items"]) == 1
    other = await client.post("/v1/collections", json={"name": "other"})
    assert other.status_code == 201
    assert (await add(client, content, collection="other")).json()["id"] != document["id"]


@pytest.mark.parametrize(
    ("name", "content", "status", "says"),
    [
        ("empty.txt", b"", 400, "empty"),
        ("photo.pdf", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, 415, "PNG"),
        ("tool.txt", b"\x7fELF" + b"\0" * 100, 415, "program"),
        ("book.docx", b"PK\x03\x04 and nothing more", 400, "broken"),
        ("archive.zip", b"PK\x05\x06" + b"\0" * 18, 415, "ZIP"),
    ],
)
async def test_what_can_be_told_at_once_is_refused_at_once(client, tmp_path, name, content, status, says) -> None:
    answer = await add(client, content, name)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert (await client.get("/v1/documents")).json()["items"] == []
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


async def test_a_broken_file_fails_alone_with_a_sentence_and_another_try_begins_again(client) -> None:
    broken = await add(client, b"%PDF-1.7\nthis is no PDF", "broken.pdf")
    assert broken.status_code == 202
    good = await add(client, prose("good", 3))
    failed, ready = await settled(client, broken.json()["id"]), await settled(client, good.json()["id"])
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "invalid_request"
    assert "PDF" in failed["error"]["message"]
    assert failed["steps"][0]["status"] == "failed"
    assert ready["status"] == "ready"
    again = await add(client, b"%PDF-1.7\nthis is no PDF", "broken.pdf")
    assert (again.status_code, again.json()["id"]) == (202, failed["id"])
    assert (await settled(client, failed["id"]))["status"] == "failed"


async def test_a_form_must_have_one_file_and_known_fields(client) -> None:
    cases = [
        {"data": {"collection": "default"}, "files": {"other": ("a.txt", b"x", "text/plain")}},
        {"files": [("file", ("a.txt", b"x", "text/plain")), ("file", ("b.txt", b"y", "text/plain"))]},
        {"json": {"file": "x"}},
        {"content": b"--b\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        {"content": b"no boundary", "headers": {"content-type": "multipart/form-data"}},
    ]
    for case in cases:
        answer = await client.post("/v1/documents", **case)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    unknown = await add(client, b"some text", collection="nowhere")
    assert unknown.status_code == 404
    assert (await client.get("/v1/documents")).json()["items"] == []


async def test_a_list_has_pages_and_filters(client) -> None:
    ids = [(await add(client, f"text {n}".encode())).json()["id"] for n in range(5)]
    for document_id in ids:
        await settled(client, document_id)
    first = (await client.get("/v1/documents", params={"limit": 3})).json()
    rest = (await client.get("/v1/documents", params={"limit": 3, "cursor": first["next"]})).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next"] is None
    for query, count in [({"status": "ready"}, 5), ({"status": "failed"}, 0), ({"collection": "none"}, 0)]:
        assert len((await client.get("/v1/documents", params=query)).json()["items"]) == count


async def test_events_tell_every_step_and_end(client, embedding_server) -> None:
    embedding_server.delay_s = 0.5
    try:
        document_id = (await add(client, prose("events", 400))).json()["id"]
        events = await listen(client, document_id)
    finally:
        embedding_server.delay_s = 0.0
    assert events[-1][0] == "ready"
    assert {name for name, _, _ in events[:-1]} == {"step"}
    done = [document["steps"][2]["done"] for _, _, document in events if document["steps"]]
    assert done == sorted(done)
    assert len(set(done)) > 2, "progress is seen on the way"
    assert [name for name, _, _ in await listen(client, document_id)] == ["ready"]
    resumed = await listen(client, document_id, {"last-event-id": events[-1][1]})
    assert [name for name, _, _ in resumed] == ["ready"]


async def listen(client, document_id, headers=None) -> list[tuple[str, str, dict]]:
    events, name, event_id = [], "", ""
    async with client.stream("GET", f"/v1/documents/{document_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            kind, _, text = line.partition(": ")
            if kind == "event":
                name = text
            elif kind == "id":
                event_id = text
            elif kind == "data":
                events.append((name, event_id, json.loads(text)))
    return events


async def test_a_deleted_document_is_gone_with_its_chunks_and_objects(client, database, caller, tmp_path) -> None:
    document_id = (await add(client, prose("gone", 20))).json()["id"]
    await settled(client, document_id)
    assert (await client.delete(f"/v1/documents/{document_id}")).status_code == 204
    for path in ("", "/text", "/content", "/events"):
        assert (await client.get(f"/v1/documents/{document_id}{path}")).status_code == 404
    assert (await client.delete(f"/v1/documents/{document_id}")).status_code == 404
    assert await rows_of(database, caller) == {"chunk": 0, "staged_chunk": 0, "chunk_vector": 0}
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []
    again = await add(client, prose("gone", 20))
    assert again.json()["id"] != document_id
    assert (await settled(client, again.json()["id"]))["status"] == "ready"


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3])
async def test_a_document_deleted_while_it_is_processed_leaves_nothing(
    client, database, caller, embedding_server, tmp_path, delay_s
) -> None:
    embedding_server.delay_s = 0.3
    try:
        document_id = (await add(client, prose("stopped", 400))).json()["id"]
        await anyio.sleep(delay_s)
        assert (await client.delete(f"/v1/documents/{document_id}")).status_code == 204
        await anyio.sleep(1.5)
    finally:
        embedding_server.delay_s = 0.0
    assert await rows_of(database, caller) == {"chunk": 0, "staged_chunk": 0, "chunk_vector": 0}
    async with database.transaction(caller) as connection:  # what the workflow of removal finds later, now
        await connection.execute("UPDATE workflow SET due_at = now()")
    with anyio.fail_after(10):
        while [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] or await remains(database, caller):
            await anyio.sleep(0.05)


async def rows_of(database: Database, caller: Caller) -> dict[str, int]:
    async with database.transaction(caller) as connection:
        return {
            table: (await (await connection.execute(f"SELECT count(*) AS n FROM {table}")).fetchone())["n"]
            for table in ("chunk", "staged_chunk", "chunk_vector")
        }


async def remains(database: Database, caller: Caller) -> int:
    async with database.transaction(caller) as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM document")).fetchone()
    return row["n"]


async def test_another_tenant_sees_nothing(client, new_caller, database, postgres, tmp_path, embedding_server) -> None:
    document_id = (await add(client, prose("mine", 3))).json()["id"]
    await settled(client, document_id)
    stranger = new_caller()
    token = InternalTokens([SECRET]).mint(stranger, frozenset(Scope) - ADMIN_SCOPES, actor="test")
    headers = {"authorization": f"Bearer {token}"}
    for method, path in [
        ("GET", ""),
        ("GET", "/text"),
        ("GET", "/content"),
        ("GET", "/events"),
        ("DELETE", ""),
    ]:
        answer = await client.request(method, f"/v1/documents/{document_id}{path}", headers=headers)
        assert answer.status_code == 404
    assert (await client.get("/v1/documents", headers=headers)).json()["items"] == []
    assert (await add(client, prose("mine", 3))).status_code == 200
