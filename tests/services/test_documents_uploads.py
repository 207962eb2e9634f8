"""Presigned uploads on both stores, large forms, and what a full disk or a client that leaves does to an upload."""

import hashlib
import itertools
import secrets
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest
from moto.server import ThreadedMotoServer

from slipway.base.callers import Caller, Scope
from slipway.base.errors import StorageFull, Unavailable
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database
from slipway.runtime.objects import Objects
from slipway.runtime.objects.s3 import S3Objects
from slipway.services.retrieval import documents_rows, uploads_rows
from slipway.services.retrieval.models import MAX_DOCUMENT_BYTES, original_key
from slipway.services.retrieval.uploads import Uploads
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

MIB = 2**20


@pytest.fixture(scope="module")
def embedding_server() -> Iterator[EmbeddingServer]:
    server = EmbeddingServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def caller(new_caller) -> Caller:
    return new_caller()


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest) -> Objects | None:
    """None stands for the stand's own folder."""
    if request.param == "folder":
        return None
    bucket = f"bucket-{secrets.token_hex(6)}"
    store = S3Objects.open(
        bucket,
        endpoint_url=request.getfixturevalue("s3_url"),
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    store._client.create_bucket(Bucket=bucket)
    return store


@pytest.fixture
async def client(
    database: Database,
    postgres,
    tmp_path: Path,
    embedding_server: EmbeddingServer,
    caller: Caller,
    objects: Objects | None,
) -> AsyncIterator[httpx.AsyncClient]:
    grounds = foundation(database, postgres.app_url, tmp_path, embedding_server.url)
    if objects is not None:
        grounds = replace(grounds, objects=objects)
    part = await wire(grounds)
    async with running(part), client_for(app_of(part, grounds), caller) as client:
        yield client


async def announce(client: httpx.AsyncClient, content: bytes, name: str = "large.txt", **fields) -> dict:
    body = {"file_name": name, "size_bytes": len(content), **fields}
    answer = await client.post("/v1/documents/uploads", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def put(client: httpx.AsyncClient, upload: dict, content: bytes) -> httpx.Response:
    """As a browser would: the URL alone, without a credential."""
    if upload["url"].startswith("http://stand/"):
        request = client.build_request("PUT", upload["url"], content=content, headers=upload["headers"])
        del request.headers["authorization"]
        return await client.send(request)
    async with httpx.AsyncClient(trust_env=False) as outside:
        return await outside.put(upload["url"], content=content, headers=upload["headers"])


async def test_a_presigned_upload_becomes_a_document(client, database, caller) -> None:
    content = prose("presigned", 60)
    upload = await announce(client, content)
    assert upload["method"] == "PUT"
    waiting = (await client.get(f"/v1/documents/{upload['document_id']}")).json()
    assert (waiting["status"], waiting["sha256"], waiting["steps"]) == ("queued", None, [])
    assert (await put(client, upload, content)).status_code == 200
    document = await settled(client, upload["document_id"])
    assert document["status"] == "ready", document
    assert document["id"] == upload["document_id"]
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    await assert_whole(database, caller, document["id"])


@pytest.mark.parametrize("after", [(documents_rows, "view"), (uploads_rows, "view"), (uploads_rows, "other_name")])
async def test_an_upload_is_found_while_it_becomes_a_document(client, database, caller, monkeypatch, after) -> None:
    content = prose("becoming", 3)
    upload = await announce(client, content)
    module, name = after
    read, became = getattr(module, name), False

    async def read_then_become(connection, of: Caller, identifier: str):
        nonlocal became
        found = await read(connection, of, identifier)
        if identifier == upload["document_id"] and not became:
            became = True
            await put(client, upload, content)
            while True:
                async with database.transaction(caller) as own:
                    row = await own.execute("SELECT document_id FROM upload WHERE id = %s", (identifier,))
                    waiting = await row.fetchone()
                    if waiting is None or waiting["document_id"] is not None:
                        return found
                await anyio.sleep(0.05)
        return found

    monkeypatch.setattr(module, name, read_then_become)
    with anyio.fail_after(20):
        answer = await client.get(f"/v1/documents/{upload['document_id']}")
    assert answer.status_code == 200, answer.text


async def test_known_content_is_the_known_document_under_another_name(client, objects, caller, tmp_path) -> None:
    content = prose("known", 3)
    known = (await add(client, content)).json()["id"]
    upload = await announce(client, content)
    await put(client, upload, content)
    with anyio.fail_after(20):
        while (await client.get(f"/v1/documents/{upload['document_id']}")).json()["id"] != known:
            await anyio.sleep(0.05)
        store = objects or foundation(None, "", tmp_path, "").objects
        while await store.stat(caller, original_key(upload["document_id"])) is not None:
            await anyio.sleep(0.05)
    assert await store.stat(caller, original_key(known)) is not None
    assert len((await client.get("/v1/documents")).json()["items"]) == 1
    assert (await client.delete(f"/v1/documents/{upload['document_id']}")).status_code == 204
    assert (await client.get(f"/v1/documents/{known}")).status_code == 404


async def test_what_cannot_be_a_document_fails_under_its_promised_id(client) -> None:
    content = b"\x89PNG\r\n\x1a\n" + bytes(100)
    upload = await announce(client, content, "photo.pdf")
    assert (await put(client, upload, content)).status_code == 200
    document = await settled(client, upload["document_id"])
    assert (document["status"], document["error"]["code"]) == ("failed", "unsupported_type")
    assert (await client.delete(f"/v1/documents/{upload['document_id']}")).status_code == 204
    assert (await client.get(f"/v1/documents/{upload['document_id']}")).status_code == 404


async def test_an_upload_that_never_came_is_forgotten(client, database, caller) -> None:
    upload = await announce(client, b"never")
    async with database.transaction(caller) as connection:
        await connection.execute("UPDATE upload SET expires_at = now() - interval '1 minute'")
    failed = (await client.get(f"/v1/documents/{upload['document_id']}")).json()
    assert failed["status"] == "failed"
    assert "expired" in failed["error"]["message"]
    async with database.transaction(caller) as connection:
        await connection.execute("UPDATE upload SET expires_at = now() - interval '2 days', look_at = now()")
    with anyio.fail_after(10):
        while (await client.get(f"/v1/documents/{upload['document_id']}")).status_code != 404:
            await anyio.sleep(0.1)


@pytest.mark.parametrize("objects", ["folder"], indirect=True)
async def test_a_url_takes_one_file_of_the_size_announced(client) -> None:
    upload = await announce(client, b"12345")
    assert (await put(client, upload, b"123456")).status_code == 400
    assert (await put(client, upload, b"1234")).status_code == 400
    assert (await put(client, upload | {"url": upload["url"] + "x"}, b"12345")).status_code == 403
    assert (await put(client, upload, b"12345")).status_code == 200
    assert (await put(client, upload, b"54321")).status_code == 409
    too_large = {"file_name": "x", "size_bytes": MAX_DOCUMENT_BYTES + 1}
    assert (await client.post("/v1/documents/uploads", json=too_large)).status_code == 413
    nowhere = {"file_name": "x", "size_bytes": 1, "collection": "nowhere"}
    assert (await client.post("/v1/documents/uploads", json=nowhere)).status_code == 404


async def test_a_form_of_a_hundred_megabytes_is_never_whole_in_memory(
    database, postgres, tmp_path, embedding_server, caller
) -> None:
    """Streams 110 MiB into a stand that does not ingest, and looks at the peak of Python's memory."""
    grounds = foundation(database, postgres.app_url, tmp_path, embedding_server.url)
    part = await wire(grounds)
    line = b"The laptop may be returned within thirty days. " * 1394  # just below 64 KiB
    count = 110 * MIB // len(line)

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="big.txt"\r\n\r\n'
        for piece in itertools.repeat(line, count):
            yield piece
        yield b'\r\n--b\r\ncontent-disposition: form-data; name="collection"\r\n\r\ndefault\r\n--b--\r\n'

    async with running(part, work=False), client_for(app_of(part, grounds), caller) as client:
        tracemalloc.start()
        try:
            answer = await client.post(
                "/v1/documents", content=body(), headers={"content-type": "multipart/form-data; boundary=b"}
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert answer.status_code == 202, answer.text
    assert answer.json()["size_bytes"] == count * len(line)
    assert answer.json()["sha256"] == hashlib.sha256(line * count).hexdigest()
    assert peak < 8 * MIB


class FullObjects:
    """The folder store on a device that fills up after the first bytes."""

    def __init__(self, store: Objects) -> None:
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def put(self, caller, key, content, *, max_bytes):
        async def fills() -> AsyncIterator[bytes]:
            async for piece in content:
                yield piece
                raise StorageFull("There is no room left to store this file.")

        return await self._store.put(caller, key, fills(), max_bytes=max_bytes)


async def test_a_full_disk_refuses_the_upload_and_leaves_nothing(
    database, postgres, tmp_path, embedding_server, caller
) -> None:
    grounds = foundation(database, postgres.app_url, tmp_path, embedding_server.url)
    part = await wire(replace(grounds, objects=FullObjects(grounds.objects)))
    async with running(part), client_for(app_of(part, grounds), caller) as client:
        answer = await add(client, prose("full", 400))
        assert answer.status_code == 507
        assert answer.json()["code"] == "storage_full"
        assert (await client.get("/v1/documents")).json()["items"] == []
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []
    async with database.transaction(caller) as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM upload")).fetchone()
    assert row["n"] == 0


@pytest.mark.parametrize("objects", ["folder"], indirect=True)
async def test_a_credential_without_the_scope_sends_nothing(client, caller) -> None:
    token = InternalTokens([SECRET]).mint(caller, {Scope.DOCUMENTS_READ}, actor="test")
    headers = {"authorization": f"Bearer {token}"}
    for path, body in [("/v1/documents", {"files": {"file": ("a", b"x")}}), ("/v1/documents/uploads", {"json": {}})]:
        assert (await client.post(path, headers=headers, **body)).status_code == 403
        assert (await client.post(path, headers={"authorization": ""}, **body)).status_code == 401


@pytest.mark.parametrize("objects", ["folder"], indirect=True)
async def test_a_sender_that_leaves_in_the_moment_of_the_commit_still_added_it(
    client, database, caller, monkeypatch
) -> None:
    begin = Uploads._begin

    async def begins_and_is_cut_off(self, *arguments):
        await begin(self, *arguments)
        raise Unavailable("The database does not answer: try again shortly.")

    with monkeypatch.context() as patched:
        patched.setattr(Uploads, "_begin", begins_and_is_cut_off)
        assert (await add(client, prose("cut off", 3))).status_code == 503
    again = await add(client, prose("cut off", 3))
    assert again.status_code == 200
    document = await settled(client, again.json()["id"])
    assert document["status"] == "ready", document
    await assert_whole(database, caller, document["id"])
