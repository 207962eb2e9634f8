"""The canary sees what a user sees: an answer, a failure, or something that is not the platform."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slipway.base.errors import Misconfigured, Unavailable
from slipway.functions import canary


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_platform_that_answers_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b'{"status":"ok"}') as url:
        monkeypatch.setenv("PLATFORM_URL", url + "/")
        assert set(canary.handler({}, None)) == {"/health", "/ready"}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [(503, b"{}", "answered 503"), (200, b"<html>parked</html>", "no JSON"), (404, b"{}", "answered 404")],
)
def test_what_is_no_answer_fails(status: int, body: bytes, words: str) -> None:
    with answering(status, body) as url, pytest.raises(Unavailable, match=words):
        canary.check(url)


def test_nobody_there_fails_and_only_http_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b"{}") as url:
        gone = url
    with pytest.raises(Unavailable, match="does not answer"):
        canary.check(gone)
    with pytest.raises(Unavailable, match="no address"):
        canary.check("file:///etc/passwd")
    monkeypatch.delenv("PLATFORM_URL", raising=False)
    with pytest.raises(Misconfigured, match="PLATFORM_URL"):
        canary.handler({}, None)
