"""The command line as a person meets it: what it says when it is used wrongly, and what it takes from a folder."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.platforms import Platform, run_slipway
from tests.platforms import platform as start_platform
from tests.services.processes import free_ports


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a server that is no platform."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Hello</html>")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(429)
            self.send_header("retry-after", "30")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("verb", ["ask", "search"])
@pytest.mark.parametrize(("words", "exit_code", "says"), [("", 2, "write what"), (" \n", 2, "write what")])
def test_nothing_cannot_be_asked(verb: str, words: str, exit_code: int, says: str, tmp_path: Path):
    ran = run_slipway(verb, words, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (exit_code, "")
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", [("ask", "a" * 8_001), ("search", "a" * 8_001), ("keys", "create", "")])
def test_what_no_request_can_hold_is_a_sentence(arguments: tuple[str, ...], tmp_path: Path):
    ran = run_slipway(*arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("slipway: This cannot be asked: ")
    assert len(ran.stderr.splitlines()) == 1


def test_status_of_what_is_not_there_is_a_sentence(stranger: str, tmp_path: Path):
    away = run_slipway("status", "--api-key", "k", "--url", f"http://127.0.0.1:{free_ports(1)[0]}", cwd=tmp_path)
    assert (away.returncode, away.stdout) == (1, "")
    assert "`slipway up` starts it" in away.stderr
    other = run_slipway("status", "--api-key", "k", "--url", stranger, cwd=tmp_path)
    assert (other.returncode, other.stdout) == (1, "")
    assert "is not a Slipway platform" in other.stderr
    assert len((away.stderr + other.stderr).splitlines()) == 2


def test_an_error_that_passes_says_when_to_try_again(stranger: str, tmp_path: Path):
    ran = run_slipway("search", "a pier", "--api-key", "k", "--url", stranger, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (1, "slipway: The server answered 429. Try again in 30 seconds.\n")


def test_a_folder_is_added_without_what_is_hidden_in_it_and_an_empty_list_says_so(traced: Platform, tmp_path: Path):
    for name in (".env", ".git/config", "notes/.cache/a.txt", "notes/pier.md"):
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"The pier of {name} is closed in winter.")
    known = {"SLIPWAY_URL": traced.url, "SLIPWAY_API_KEY": traced.api_key}
    with httpx.Client(base_url=traced.url, headers=traced.headers()) as client:
        assert client.post("/v1/collections", json={"name": "harbour"}).status_code == 201

    empty = run_slipway("documents", "list", "--collection", "harbour", cwd=tmp_path, **known)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "`slipway documents add FILE`" in empty.stderr
    ran = run_slipway("documents", "add", "--json", "--collection", "harbour", "folder", cwd=tmp_path, **known)
    assert ran.returncode == 0, ran.stderr
    assert [json.loads(line)["file_name"] for line in ran.stdout.splitlines()] == ["pier.md"]


@pytest.mark.parametrize(
    "verb", [("set-key", "key_1"), ("set-tenant", "ten_1"), ("set-key", "key_1", "free", "--none")]
)
def test_a_plan_is_named_or_taken_away(verb: tuple[str, ...], tmp_path: Path):
    ran = run_slipway("plans", *verb, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--none" in ran.stderr


def test_plans_are_listed_and_an_unknown_one_is_a_sentence(platform: Platform, tmp_path: Path):
    there = ("--url", platform.url, "--api-key", platform.api_key)
    ran = run_slipway("plans", "list", *there, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "Your tenant: no plan, no limits\n")
    ran = run_slipway("plans", "set-key", "key_1", "free", *there, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "slipway: There is no plan 'free': the manifest has no plans.\n"


@pytest.mark.parametrize("plan", ["{tokens_per_month: 1M}", "{budget_per_month: $1}"])
def test_a_question_under_a_budget_needs_no_max_tokens_for_the_models_that_come_with_it(plan: str, tmp_path: Path):
    manifest = tmp_path / "slipway.yaml"
    manifest.write_text(f"slipway: 1\nname: ask\nplans:\n  default: {plan}\n")
    (tmp_path / "note.txt").write_text("The office opens at 8.")
    with start_platform(tmp_path / "home", settings={"SLIPWAY_MANIFEST": str(manifest)}) as there:
        to = ("--url", there.url, "--api-key", there.api_key)
        assert run_slipway("documents", "add", "note.txt", *to, cwd=tmp_path).returncode == 0
        ran = run_slipway("ask", "When does the office open?", *to, cwd=tmp_path)
        assert ran.returncode == 0 and "opens at 8" in ran.stdout, ran.stderr
        body = {"model": "default", "messages": [{"role": "user", "content": "When does the office open?"}]}
        answer = httpx.post(f"{there.url}/v1/chat/completions", headers=there.headers(), json=body, timeout=30)
        assert answer.status_code == 200
        listed = run_slipway("plans", "list", *to, cwd=tmp_path).stdout
        assert " taken, " in listed and " of it spent, until " in listed
