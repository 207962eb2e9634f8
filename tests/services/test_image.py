"""The container image, laid out by the steps of its Dockerfile and run as it runs on AWS: as uid 10001, read-only."""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.images import Container, Image, base_root, container, lay_out

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "documents"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can lay out files of several owners"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def grounds() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(grounds: Path) -> Image:
    return lay_out(ROOT / "Dockerfile", base_root(grounds / "base"), grounds / "stages")


@pytest.fixture(scope="module")
def running(image: Image, grounds: Path) -> Iterator[Container]:
    """The whole platform in one container, healthy by the image's own check."""
    with container(image, grounds / "whole") as running:
        _until_healthy(running)
        yield running


def _until_healthy(running: Container) -> None:
    deadline = time.monotonic() + 120
    while running.run(*running.image.health).returncode != 0:
        assert running.process.poll() is None, running.process.communicate()[0]
        assert time.monotonic() < deadline, "the image's health check never succeeded"
        time.sleep(0.5)


@pytest.mark.requirement("CMP-09", "R")
def test_the_main_job_runs_as_uid_10001_on_a_read_only_root(running: Container) -> None:
    assert running.run("id", "-u").stdout.strip() == "10001"
    status = running.run("cat", "/proc/1/status").stdout
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status and "Uid:\t10001" in status
    for path in ("/", "/opt/slipway", "/usr/local", "/var"):
        refused = running.run("touch", f"{path}/written")
        assert "Read-only file system" in refused.stderr, (path, refused)

    shutil.copy(EXAMPLES / "handbook.pdf", running.volumes["/tmp"] / "handbook.pdf")
    added = running.run("slipway", "documents", "add", "/tmp/handbook.pdf")
    assert added.returncode == 0, added
    answer = running.run("slipway", "ask", "How many days do I have to return a laptop?")
    assert answer.returncode == 0 and "[1]" in answer.stdout, answer
    ready = running.run("slipway", "status", "--json")
    assert json.loads(ready.stdout)["ready"] is True


def test_what_is_not_needed_to_run_is_not_there(image: Image) -> None:
    for name in ("build", "src", "root/.cache"):
        assert not (image.root / name).exists(), name
    assert not list((image.root / "opt/slipway/bin").glob("pip*"))
    assert not list((image.root / "opt/slipway/lib").rglob("aws_cdk"))
    assert (image.root / "opt/slipway/lib").stat().st_uid == 0


def test_a_component_alone_starts_and_ends_when_it_is_told(image: Image, grounds: Path) -> None:
    with container(image, grounds / "memory", ["serve", "--target", "memory"]) as memory:
        _until_healthy(memory)
        code, said = memory.stop()
        assert code == 0, said


def test_it_answers_as_a_function_of_lambda(image: Image, grounds: Path) -> None:
    """The runtime's interface as AWS states it: ask for the next event, post the answer."""
    with _runtime_api(_SIGN_IN) as (address, answers):
        variables = {
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "test",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "test",
            "AWS_LAMBDA_LOG_STREAM_NAME": "test",
            "TENANT_CLAIM": "tenant",
        }
        command = ["python", "-m", "slipway.functions", "slipway.functions.pre_token.handler"]
        with container(image, grounds / "function", command, entrypoint=[], environment=variables, network=True) as one:
            assert answers.wait(60), one.process.poll()
            claims = json.loads(answers.body)["response"]["claimsAndScopeOverrideDetails"]
            assert claims["idTokenGeneration"]["claimsToAddOrOverride"]["tenant"] == "acme"


# Cognito's event before it issues a token.
_SIGN_IN = {
    "version": "3",
    "triggerSource": "TokenGeneration_Authentication",
    "callerContext": {"clientId": "client"},
    "request": {
        "userAttributes": {"custom:tenant": "acme"},
        "groupConfiguration": {"groupsToOverride": ["member"]},
        "scopes": [],
    },
}


class _Answers(threading.Event):
    body = b""


class _runtime_api:  # noqa: N801 - a context manager
    """Lambda's runtime API for one event."""

    def __init__(self, event: object) -> None:
        answers = _Answers()

        class Api(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if answers.is_set():
                    time.sleep(30)  # as AWS freezes a function that waits
                    return
                content = json.dumps(event).encode()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "req-1")
                self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
                self.send_header(
                    "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:t"
                )
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                answers.body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                answers.set()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self._server.daemon_threads = True
        self._answers = answers

    def __enter__(self) -> tuple[str, _Answers]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{self._server.server_address[1]}", self._answers

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
