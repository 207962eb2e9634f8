"""What an attacker sends, against a whole platform: refused with a status of 4xx, and nobody else notices."""

import asyncio
import contextlib
import hashlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from slipway.api.documents import Document
from slipway.app.heads import MAX_HEAD_BYTES, BoundedHeads
from slipway.base.callers import Caller
from slipway.services.chat.adapter_parts import GatewayPart
from slipway.services.retrieval.documents import Documents
from tests.platforms import Platform
from tests.platforms import platform as start_platform

NUL = "a\x00b"


@pytest.fixture
def attacker(platform: Platform) -> Iterator[httpx.Client]:
    """A client with a good key."""
    with httpx.Client(base_url=platform.url, headers=platform.headers(), timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/admin/tenants", {"name": NUL}),
        ("/v1/admin/tenants", {"name": "t", "external_id": NUL}),
        ("/v1/admin/keys", {"name": NUL}),
        ("/v1/admin/users", {"email": f"{NUL}@example.com"}),
        ("/v1/admin/clients", {"name": NUL}),
        ("/v1/admin/clients", {"name": "n", "redirect_uris": [f"https://example.com/{NUL}"]}),
        ("/v1/documents/uploads", {"file_name": "a.txt", "size_bytes": 1, "media_type": NUL}),
        ("/v1/collections", {"name": "c", "description": NUL}),
        ("/v1/search", {"query": NUL}),
        ("/v1/chat", {"message": NUL}),
        ("/v1/sessions", {"title": NUL}),
        ("{session}/messages", {"role": "user", "content": NUL}),
        ("{session}/messages", {"role": "user", "content": "a", "idempotency_key": NUL}),
        (
            "{session}/messages",
            {
                "role": "user",
                "content": "a",
                "citations": [{"document_id": "d", "title": NUL, "page": 1, "start": 0, "end": 1, "quote": "q"}],
            },
        ),
    ],
)
def test_a_nul_in_any_text_is_refused_by_its_field(attacker: httpx.Client, path: str, body: dict[str, Any]) -> None:
    session = f"/v1/sessions/{attacker.post('/v1/sessions', json={}).json()['id']}" if "{" in path else ""
    answer = attacker.post(path.format(session=session), json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_request"
    assert answer.json()["errors"][0]["field"].startswith("body.")


@pytest.mark.parametrize("where", ["collection", "content-type"])
def test_a_nul_in_a_form_is_refused(attacker: httpx.Client, where: str) -> None:
    collection, content_type = (NUL, "text/plain") if where == "collection" else ("default", f"text/plain{NUL}")
    body = (
        f'--x\r\ncontent-disposition: form-data; name="collection"\r\n\r\n{collection}\r\n'
        f'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\ncontent-type: {content_type}\r\n\r\n'
        f"what nobody else adds, {where}\r\n--x--\r\n"
    )
    answer = attacker.post(
        "/v1/documents", content=body.encode(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400, answer.text
    assert "U+0000" in answer.json()["detail"]


@pytest.mark.parametrize("user", ["%00", "a\x00"])
def test_a_nul_in_a_client_id_is_an_unknown_client(platform: Platform, user: str) -> None:
    answer = httpx.post(
        f"{platform.url}/oauth2/token", data={"grant_type": "client_credentials"}, auth=httpx.BasicAuth(user, "secret")
    )
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"


def test_text_of_a_model_that_cannot_be_kept_is_made_so() -> None:
    class Provider:
        def acting(self, _credential: object) -> "Provider":
            return self

        async def completion_events(self, _body: object) -> Any:
            yield type("Event", (), {"data": {"choices": [{"delta": {"content": "a\x00b\ud800c"}}]}})

    async def pieces() -> list[Any]:
        part = GatewayPart(Provider(), None, "model")  # type: ignore[arg-type]
        return [piece async for piece in part.answer(None, None, [])]  # type: ignore[arg-type]

    assert [piece.text for piece in asyncio.run(pieces())] == ["ab?c"]


def test_a_slash_too_many_redirects_to_nobody(platform: Platform) -> None:
    answer = httpx.get(f"{platform.url}/v1/sessions/", headers={**platform.headers(), "host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_a_slower_upload_does_not_replace_a_faster_one(attacker: httpx.Client) -> None:
    first, second = b"The first words.", b"Quite other text"
    announced = attacker.post("/v1/documents/uploads", json={"file_name": "race.txt", "size_bytes": len(first)}).json()
    url = httpx.URL(announced["url"])
    with socket.create_connection((url.host, url.port or 80)) as slow:
        slow.settimeout(10)
        head = f"PUT {url.raw_path.decode()} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(second)}\r\n\r\n"
        slow.sendall(head.encode() + second[:8])
        time.sleep(0.3)  # so that it is under way when the other one comes
        assert httpx.put(url, content=first).status_code == 200
        slow.sendall(second[8:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 409 ")
    path = f"/v1/documents/{announced['document_id']}"
    deadline = time.monotonic() + 30
    while (document := attacker.get(path).json())["status"] != "ready":
        assert time.monotonic() < deadline, document
        time.sleep(0.1)
    assert attacker.get(f"{path}/content").content == first
    assert document["sha256"] == hashlib.sha256(first).hexdigest()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nx: " + b"a" * 2**20,
        b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * 2**18,
        b"GET /" + b"a" * 2**20,
        b"POST /nope HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 2**18,
    ],
    ids=["header", "headers", "path", "trailers"],
)
def test_a_head_without_end_is_cut_off(platform: Platform, head: bytes) -> None:
    url = httpx.URL(platform.url)
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.settimeout(10)
        with contextlib.suppress(ConnectionError):
            connection.sendall(head)
            while connection.recv(65536):
                pass
    assert httpx.get(f"{platform.url}/health").status_code == 200


def test_a_large_head_that_is_allowed_passes(platform: Platform) -> None:
    answer = httpx.get(f"{platform.url}/health", headers={"x-large": "a" * (MAX_HEAD_BYTES // 2)})
    assert answer.status_code == 200


class Impatient(BoundedHeads):
    """As the platform's, in a hurry."""

    head_timeout_s = 0.3


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sent", "closed"),
    [
        ([b""], True),
        ([b"GET / HTTP/1.1\r\n"], True),
        ([b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\r\n"], True),
        ([b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HT"], True),
        ([b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n", b"a"], False),
    ],
    ids=["silent", "half a head", "idle again", "half a second head", "slow body"],
)
async def test_a_connection_that_asks_nothing_is_closed(sent: list[bytes], *, closed: bool) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Impatient, ws="none", lifespan="off", log_config=None, timeout_keep_alive=60)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        for piece in sent:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(1.0):
                await reader.read()
            ended = True
        except TimeoutError:
            ended = False
        writer.close()
        assert ended is closed
    finally:
        server.should_exit = True
        await serving


def test_nobody_else_may_write_in_a_home_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with start_platform(tmp_path / "home") as running:
            with httpx.Client(base_url=running.url, headers=running.headers(), timeout=30) as client:
                added = client.post("/v1/documents", files={"file": ("a.txt", b"The office opens at 8.", "text/plain")})
                assert added.status_code == 202
                client.post("/v1/search", json={"query": "office"}).raise_for_status()  # loads the model, into a cache
            open_to_others = [
                str(path.relative_to(tmp_path))
                for path in [running.home, *running.home.rglob("*")]
                if not path.is_symlink() and path.stat().st_mode & stat.S_IWOTH
            ]
    finally:
        os.umask(before)
    assert open_to_others == []


@pytest.mark.anyio
async def test_a_listener_without_news_asks_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(delay_s: float) -> None:
        pauses.append(delay_s)

    waiting = Document.model_construct(id="doc_a", status="queued", steps=[])
    begun = Document.model_construct(id="doc_a", status="processing", steps=[])
    ready = Document.model_construct(id="doc_a", status="ready", steps=[])
    seen = iter([*[waiting] * 20, begun, begun, ready])
    documents = Documents.__new__(Documents)

    async def view(_caller: Caller, _id: str) -> Document:
        return next(seen)

    monkeypatch.setattr(documents, "document_view", view)
    monkeypatch.setattr(asyncio, "sleep", pause)
    caller = Caller("ten_a", "usr_a", frozenset())
    told = [news async for news in documents.document_events(caller, waiting)]
    assert [news.status for news in told if news is not None] == ["queued", "processing", "ready"]
    assert pauses[0] == 0.3
    assert pauses[19] == 3.0
    assert pauses[21] == 0.3  # news came: more may
