"""What the tests of documents and ingestion stand on: the real part, a small embedding server, worker processes.

The embedding server is a real HTTP server with vectors made from the text's hash, so that a chunk with another chunk's
vector is seen. Workers are real processes (`ingestion_worker.py`), so that `kill -9` is one.
"""

import base64
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import httpx
import numpy as np
from fastapi import FastAPI

from slipway.base.callers import ADMIN_SCOPES, Caller, Scope
from slipway.base.clock import SystemClock
from slipway.manifest import default_manifest
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database
from slipway.runtime.http import problems
from slipway.runtime.objects.stores import open_objects
from slipway.runtime.part import Address, Foundation, Part
from slipway.runtime.settings import Settings
from slipway.services.retrieval.chunking import embedded_text

SECRET = b"a secret of these tests, 32 bytes or more"
STAND_URL = "http://stand"


class EmbeddingServer:
    """`POST /v1/embeddings` on a free port; `delay_s` slows it, `down` makes it answer 503."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.down = False
        self.texts: list[str] = []
        self.tenants: set[str] = set()
        stand, tokens = self, InternalTokens([SECRET])

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                caller = tokens.verify(self.headers["authorization"].removeprefix("Bearer "))
                assert caller.scopes == {Scope.MODELS_USE}
                assert caller.actor == "retrieval"
                time.sleep(stand.delay_s)
                stand.tenants.add(caller.tenant_id)
                status, answer = 200, {"data": [vector_item(text) for text in body["input"]]}
                if stand.down:
                    status, answer = 503, {"error": {"message": "away"}}
                else:
                    stand.texts += body["input"]
                sent = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def vector(text: str) -> np.ndarray:
    """A unit vector that belongs to this text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    values = np.random.default_rng(seed).standard_normal(384).astype("<f4")
    return values / np.linalg.norm(values)


def vector_item(text: str) -> dict[str, str]:
    return {"embedding": base64.b64encode(vector(text).tobytes()).decode()}


def foundation(database: Database, database_url: str, home: Path, gateway_url: str, workers: int = 2) -> Foundation:
    """A foundation over real stores whose gateway is the embedding server."""
    settings = Settings(home=home, ingestion_workers=workers)
    tokens = InternalTokens([SECRET])
    return Foundation(
        settings=settings,
        manifest=default_manifest(),
        database=database,
        database_url=database_url,
        database_owner_url=database_url,
        objects=open_objects(settings, home, [SECRET], STAND_URL),
        authenticator=TokenAuthenticator(tokens),
        tokens=tokens,
        secrets=[SECRET],
        addresses={"gateway": Address(gateway_url)},
        url=STAND_URL,
        clock=SystemClock(),
    )


class TokenAuthenticator:
    """Accepts the internal tokens of the stand."""

    def __init__(self, tokens: InternalTokens) -> None:
        self._tokens = tokens

    async def authenticate(self, credential: str) -> Caller:
        return self._tokens.verify(credential)


def app_of(part: Part, grounds: Foundation) -> FastAPI:
    """The part's routes as the process serves them."""
    app = FastAPI()
    problems.install(app)
    app.state.authenticator = grounds.authenticator
    for routes in part.routes:
        app.include_router(routes.router)
    return app


@contextlib.asynccontextmanager
async def running(part: Part, *, work: bool = True) -> AsyncIterator[None]:
    """The part's tasks, as the process runs them."""
    for start in part.start:
        await start()
    try:
        async with anyio.create_task_group() as group:
            for name, run in part.run.items():
                if work or name != "workflows":
                    group.start_soon(run)
            yield
            group.cancel_scope.cancel()
    finally:
        for stop in part.stop:
            await stop()


def client_for(app: FastAPI, caller: Caller, *scopes: Scope) -> httpx.AsyncClient:
    """An HTTP client of the app with the caller's credential."""
    token = InternalTokens([SECRET]).mint(caller, scopes or frozenset(Scope) - ADMIN_SCOPES, actor="test")
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url=STAND_URL,
        headers={"authorization": f"Bearer {token}"},
        timeout=60,
    )


async def settled(client: httpx.AsyncClient, document_id: str, timeout_s: float = 30.0) -> dict:
    """The document once it is ready or failed."""
    deadline = time.monotonic() + timeout_s
    while True:
        document = (await client.get(f"/v1/documents/{document_id}")).json()
        if document.get("status") in {"ready", "failed"}:
            return document
        assert time.monotonic() < deadline, document
        await anyio.sleep(0.05)


async def add(client: httpx.AsyncClient, content: bytes, name: str = "notes.txt", **fields: str) -> httpx.Response:
    return await client.post("/v1/documents", files={"file": (name, content, "application/octet-stream")}, data=fields)


def prose(words: str, paragraphs: int) -> bytes:
    """Text that makes about one chunk for three paragraphs."""
    line = (
        "The {word} laptop number {n} may be returned within thirty days when its case is whole and its bill is kept. "
    )
    return "\n\n".join(line.format(word=words, n=n) * 3 for n in range(paragraphs)).encode()


async def assert_whole(database: Database, caller: Caller, document_id: str) -> int:
    """Asserts that each chunk is there exactly once with its own vector; returns how many."""
    async with database.transaction(caller) as connection:
        rows = await (
            await connection.execute(
                "SELECT c.ordinal, c.text, c.heading, d.title,"
                " v.embedding::vector AS embedding, d.chunk_count, k.chunk_count AS counted,"
                " k.document_count FROM document d JOIN chunk c ON c.document_id = d.id"
                " LEFT JOIN chunk_vector v ON v.tenant_id = c.tenant_id AND v.number = c.number"
                " JOIN collection k ON k.name = d.collection WHERE d.id = %s ORDER BY c.ordinal",
                (document_id,),
            )
        ).fetchall()
        staged = await (
            await connection.execute("SELECT count(*) AS n FROM staged_chunk WHERE document_id = %s", (document_id,))
        ).fetchone()
        total = await (await connection.execute("SELECT count(*) AS n FROM chunk")).fetchone()
    assert rows
    assert [row["ordinal"] for row in rows] == list(range(rows[0]["chunk_count"]))
    assert staged["n"] == 0
    assert rows[0]["counted"] == total["n"]
    for row in rows:
        embedded = embedded_text(row["title"], row["heading"], row["text"])
        assert float(np.dot(np.array(row["embedding"].to_list()), vector(embedded))) > 0.999
    return len(rows)


@contextlib.contextmanager
def worker_process(
    database_url: str, home: Path, gateway_url: str, *, lease_s: float = 10.0, slow: str = "", log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that only ingests. `slow` names the step whose port takes `slow_s` longer, as `embed:5`."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("ingestion_worker.py")),
        json.dumps(
            {
                "database_url": database_url,
                "home": str(home),
                "gateway_url": gateway_url,
                "lease_s": lease_s,
                "slow": slow,
                "log": str(log) if log else None,
            }
        ),
    ]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}, cwd=home)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
