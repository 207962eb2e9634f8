"""`slipway documents add` when a document goes while it is waited for."""

from pathlib import Path

import httpx
from rich.console import Console

from slipway.api.client import Client
from slipway.api.transport import Transport
from slipway.base.errors import NotFound
from slipway.cli.connection import run
from slipway.cli.documents import _Additions
from slipway.runtime.http.events import encode_event
from slipway.runtime.http.problems import MEDIA_TYPE, problem

DOCUMENT = {
    "id": "doc_1",
    "title": "tide",
    "file_name": "tide.txt",
    "media_type": "text/plain",
    "size_bytes": 4,
    "sha256": "00",
    "collection": "default",
    "status": "processing",
    "steps": [],
    "created_at": "2026-11-21T03:00:00Z",
}


def answer(request: httpx.Request) -> httpx.Response:
    if request.method == "POST":
        return httpx.Response(202, json=DOCUMENT)
    if request.url.path.endswith("/events"):
        return httpx.Response(200, content=encode_event("step", DOCUMENT))
    status, headers, body = problem(NotFound("There is no such document."), "req_1")
    return httpx.Response(status, headers=headers | {"content-type": MEDIA_TYPE}, json=body)


def test_a_document_that_is_deleted_while_it_is_waited_for_has_failed(tmp_path: Path):
    file = tmp_path / "tide.txt"
    file.write_text("Ebb.")
    http = httpx.AsyncClient(base_url="http://platform", transport=httpx.MockTransport(answer))
    client = Client("http://platform", transport=Transport(http))
    work = _Additions("default", wait=True, console=Console(quiet=True))
    [result] = run(client, lambda client: work.run(client, [file]))
    assert isinstance(result, NotFound)
    assert "deleted before it could be searched" in result.public
