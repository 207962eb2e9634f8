"""Lambda's loop: an event in, its answer or its error out, by the runtime API."""

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from slipway.functions.__main__ import Context, Runtime, handler_of, main

COGNITO_WAITS_S = 5


class Api:
    """A runtime API that has one event and remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, str | None]] = []
        self.status = 202
        self.first = threading.Event()


@contextmanager
def runtime_api(event: Any) -> Iterator[tuple[str, Api]]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", "request-1")
            self.send_header("Lambda-Runtime-Deadline-Ms", "1700000000000")
            self.send_header("Lambda-Runtime-Trace-Id", "Root=1-2-3")
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:1:function:x")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers.get("Lambda-Runtime-Function-Error-Type")
            api.told.append((self.path.removeprefix("/2018-06-01/runtime"), json.loads(body), kind))
            api.first.set()
            self.send_response(api.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.requirement("CMP-07", "E")
@pytest.mark.requirement("SEC-02", "E")
@pytest.mark.requirement("WFL-03", "E")
def test_the_hook_runs_as_lambda_starts_it_within_the_time_that_cognito_waits() -> None:
    event = {
        "version": "3",
        "triggerSource": "TokenGeneration_HostedAuth",
        "callerContext": {"clientId": "1example23456789abcdefghij"},
        "request": {
            "userAttributes": {"custom:tenant": "acme"},
            "groupConfiguration": {"groupsToOverride": ["member"]},
            "scopes": ["openid"],
        },
        "response": {},
    }
    with runtime_api(event) as (address, api):
        process = subprocess.Popen(
            [sys.executable, "-m", "slipway.functions", "slipway.functions.pre_token.handler"],
            env={"AWS_LAMBDA_RUNTIME_API": address, "TENANT_CLAIM": "merchant_id", "CLIENT_TENANTS": "/x"},
        )
        try:
            assert api.first.wait(COGNITO_WAITS_S)
        finally:
            process.terminate()
            process.wait(10)
    path, told, _ = api.told[0]
    assert path == "/invocation/request-1/response"
    found = told["response"]["claimsAndScopeOverrideDetails"]["accessTokenGeneration"]["claimsToAddOrOverride"]
    assert found["merchant_id"] == "acme"


@pytest.mark.requirement("CMP-07", "E")
def test_an_event_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")
    seen: list[Context] = []

    def handler(event: Any, context: Context) -> Any:
        seen.append(context)
        return {"doubled": event["number"] * 2}

    with runtime_api({"number": 21}) as (address, api):
        Runtime(address).serve_one(handler)
    assert api.told == [("/invocation/request-1/response", {"doubled": 42}, None)]
    assert seen == [Context("request-1", 1700000000000, "arn:aws:lambda:us-east-1:1:function:x")]


def test_whatever_a_handler_raises_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")

    def handler(_event: Any, _context: Context) -> Any:
        raise LookupError("no such thing")

    with runtime_api({}) as (address, api):
        Runtime(address).serve_one(handler)
    [(path, told, kind)] = api.told
    assert path == "/invocation/request-1/error"
    assert (told["errorType"], told["errorMessage"], kind) == ("LookupError", "no such thing", "Slipway.LookupError")
    assert json.loads(capsys.readouterr().err)["message"] == "no such thing"


def test_an_answer_that_is_no_json_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")
    with runtime_api({}) as (address, api):
        Runtime(address).serve_one(lambda event, context: io.BytesIO())
    assert api.told[0][0] == "/invocation/request-1/error"


def test_a_runtime_api_that_refuses_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")
    with runtime_api({}) as (address, api):
        api.status = 413
        with pytest.raises(RuntimeError, match="answered 413"):
            Runtime(address).serve_one(lambda event, context: {})


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["slipway.functions.pre_token"],
        ["os.system"],
        ["slipway.functions.__main__.handler"],
        ["slipway.cli.handler"],
    ],
)
def test_only_our_handlers_are_run_and_lambda_is_told_why(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with runtime_api({}) as (address, api):
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", address)
        with pytest.raises(ValueError, match="none of slipway's handlers"):
            main(arguments)
    assert api.told[0][0] == "/init/error"


def test_a_handler_is_found_by_its_name() -> None:
    from slipway.functions import pre_token

    assert handler_of(["slipway.functions.pre_token.handler"]) is pre_token.handler
