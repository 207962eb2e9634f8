"""What the tests of whole processes share: a manifest with a slow provider, the main job, and a collector of traces."""

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.services.provider_simulator import KEY

EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
QUESTION = "How many days do I have to return a laptop?"
KEY_VARIABLE = "UPSTREAM_API_KEY"
Answer = TypeVar("Answer")


def manifest(folder: Path, provider_url: str) -> Path:
    """A manifest with the simulator's models `silent`, `stalls` and `slow` beside the embedded ones."""
    models = "".join(
        f"    {name}: {{provider: openai, base_url: {provider_url}/v1, id: {name}, api_key_env: {KEY_VARIABLE}}}\n"
        for name in ("silent", "stalls", "slow")
    )
    path = folder / "slipway.yaml"
    path.write_text(f"slipway: 1\nname: processes\nmodels:\n  available:\n{models}")
    return path


def settings(folder: Path, provider_url: str, **more: str) -> dict[str, str]:
    """The environment of a platform with that manifest."""
    return {"SLIPWAY_MANIFEST": str(manifest(folder, provider_url)), KEY_VARIABLE: KEY, **more}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def until(what: Callable[[], Answer], timeout_s: float = 30.0, pause_s: float = 0.05) -> Answer:
    """What `what` returns once it is true."""
    deadline = time.monotonic() + timeout_s
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        time.sleep(pause_s)
    return answer


def add(client: httpx.Client, *files: Path) -> list[dict[str, Any]]:
    """The documents of `files`, once they are searchable."""
    answers = [client.post("/v1/documents", files={"file": (file.name, file.read_bytes())}) for file in files]
    assert [answer.status_code for answer in answers] == [202] * len(files), [answer.text for answer in answers]
    identifiers = [answer.json()["id"] for answer in answers]
    return [until(lambda each=each: _settled(client, each), 60, 0.2) for each in identifiers]


async def given_up(
    url: str, path: str, body: dict[str, Any], headers: dict[str, str], when: Callable[[], bool]
) -> None:
    """Sends a request and hangs up as soon as `when` says so."""
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        call = asyncio.create_task(client.post(path, json=body))
        async with asyncio.timeout(30):
            while not when():
                assert not call.done(), call.result().text
                await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


def _settled(client: httpx.Client, document_id: str) -> dict[str, Any] | None:
    document = client.get(f"/v1/documents/{document_id}").json()
    assert document["status"] != "failed", document
    return document if document["status"] == "ready" else None


def usage_until(client: httpx.Client, found: Callable[[dict[str, Any]], bool], timeout_s: float = 10.0) -> dict:
    """The usage row that `found` accepts; rows are written a moment after their request."""

    def row() -> dict[str, Any] | None:
        rows = client.get("/v1/usage", params={"limit": 100}).json()["items"]
        return next((row for row in rows if found(row)), None)

    return until(row, timeout_s)


@dataclass
class Collector:
    """Spans as an OpenTelemetry collector gets them."""

    url: str
    spans: list[Any] = field(default_factory=list)

    def named(self, names: Sequence[str]) -> list[Any]:
        """The spans of those names so far."""
        return [span for span in list(self.spans) if span.name in names]


@contextmanager
def collector() -> Iterator[Collector]:
    """OTLP over HTTP on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            assert self.path == "/v1/traces"
            collected.spans += [
                span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
            ]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collected = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        server.shutdown()
        server.server_close()
