"""The canary sees what a user sees: an answer, a failure, or something that is not the platform."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slipway.base.errors import Misconfigured, Unavailable
from slipway.functions import canary


@contextmanager
def answering(answers: Mapping[str, tuple[int, bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b"{}"))
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


WELL = {"/health": (200, b'{"status":"ok"}'), "/v1/models": (401, b"{}")}


def test_a_platform_that_answers_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(WELL) as url:
        monkeypatch.setenv("PLATFORM_URL", url + "/")
        monkeypatch.delenv("CHECKS", raising=False)
        assert set(canary.handler({}, None)) == {"/health", "/v1/models"}


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/health", (503, b"{}"), "/health answered 503"),
        ("/health", (200, b"<html>parked</html>"), "no JSON"),
        ("/health", (404, b"{}"), "/health answered 404"),
        ("/v1/models", (200, b"{}"), "/v1/models answered 200"),  # whoever asks, it would answer
        ("/v1/models", (502, b"{}"), "/v1/models answered 502"),
    ],
)
def test_another_answer_than_the_right_one_fails(
    path: str, answer: tuple[int, bytes], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering({**WELL, path: answer}) as url:
        monkeypatch.setenv("PLATFORM_URL", url)
        with pytest.raises(Unavailable, match=words):
            canary.handler({}, None)


def test_other_paths_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering({"/": (302, b"")}) as url:
        monkeypatch.setenv("PLATFORM_URL", url)
        monkeypatch.setenv("CHECKS", '{"/": 0}')
        assert set(canary.handler({}, None)) == {"/"}
        monkeypatch.setenv("CHECKS", '{"/": "ok"}')
        with pytest.raises(Misconfigured, match="CHECKS"):
            canary.handler({}, None)


def test_nobody_there_fails_and_only_http_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(WELL) as url:
        gone = url
    monkeypatch.setenv("PLATFORM_URL", gone)
    with pytest.raises(Unavailable, match="does not answer"):
        canary.handler({}, None)
    monkeypatch.setenv("PLATFORM_URL", "file:///etc/passwd")
    with pytest.raises(Misconfigured, match="no address"):
        canary.handler({}, None)
    monkeypatch.delenv("PLATFORM_URL")
    with pytest.raises(Misconfigured, match="PLATFORM_URL"):
        canary.handler({}, None)
