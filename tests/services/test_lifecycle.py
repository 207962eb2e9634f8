"""The life of a process as its user and its orchestrator see it: one start at a time, a drained end, sentences."""

import json
import signal
import socket
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from slipway.runtime.postgres import EmbeddedPostgres
from tests.platforms import SLIPWAY, clean_environment, platform, run_slipway
from tests.services.processes import settings, until
from tests.services.provider_simulator import Simulator


def postgres_of(home: Path) -> psutil.Process | None:
    """The living postmaster of a home."""
    pid = EmbeddedPostgres(home).pid
    return psutil.Process(pid) if pid else None


def test_one_start_at_a_time_credentials_kept_and_nothing_but_one_line_on_stdout(tmp_path: Path):
    home = tmp_path / "home"
    with platform(home) as first:
        second = run_slipway("up", "--json", "--home", home, "--port", "0", cwd=tmp_path)
        assert (second.returncode, second.stdout) == (1, "")
        assert str(first.pid) in second.stderr
        assert first.url in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
        assert httpx.get(f"{first.url}/ready").status_code == 200, "the first goes on undisturbed"

        kept = json.loads((home / "credentials").read_text())
        assert kept == {"url": first.url, "api_key": first.api_key}
        for name in ("credentials", "secret.key"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "run").stat().st_mode) == 0o700

        first.process.terminate()
        rest, _ = first.process.communicate(timeout=60)
        assert (rest, first.process.returncode) == ("", 0)
    assert postgres_of(home) is None
    assert (home / "lock").read_text() == ""

    with platform(home) as again:
        assert again.api_key == first.api_key
        (home / "credentials").unlink()
        again.kill()
        assert postgres_of(home) is not None, "a killed process leaves its PostgreSQL behind"
        survivor = postgres_of(home).pid
        with platform(home) as later:
            assert postgres_of(home).pid == survivor, "which the next start adopts"
            assert later.api_key != first.api_key, "a lost key is replaced"
            answer = httpx.get(f"{later.url}/v1/sessions", headers=later.headers())
            assert answer.status_code == 200
            assert httpx.get(f"{later.url}/v1/sessions", headers=first.headers()).status_code == 200
    assert postgres_of(home) is None


def test_a_stop_lets_a_request_under_way_finish_and_takes_no_other(tmp_path: Path, provider: tuple[Simulator, str]):
    home = tmp_path / "home"
    with platform(home, settings=settings(tmp_path, provider[1])) as running:
        asked = provider[0].seen.by_model["slow"]
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "Go on."}]}
        with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=running.url, headers=running.headers()) as client:
            slow = pool.submit(client.post, "/v1/chat/completions", json=body, timeout=30)
            until(lambda: provider[0].seen.by_model["slow"] > asked, 10, 0.01)
            running.process.send_signal(signal.SIGTERM)
            address = httpx.URL(running.url)
            until(lambda: refused(address.port), 5, 0.01)
            assert not slow.done()
            answer = slow.result()
        assert answer.status_code == 200
        assert answer.text.rstrip().endswith("data: [DONE]")
        assert running.process.wait(30) == 0
    assert postgres_of(home) is None


def refused(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) != 0


def test_parts_reach_each_other_while_the_process_drains(tmp_path: Path, provider: tuple[Simulator, str]):
    """A chat under way still has to keep its answer in the session, which another part holds."""
    home = tmp_path / "home"
    with platform(home, settings=settings(tmp_path, provider[1])) as running:
        with httpx.Client(base_url=running.url, headers=running.headers(), timeout=60) as client:
            text = "You have 14 days to return a laptop. " * 3
            document = client.post("/v1/documents", files={"file": ("a.txt", text.encode())}).json()["id"]
            until(lambda: client.get(f"/v1/documents/{document}").json()["status"] == "ready", 30)
            asked = provider[0].seen.by_model["slow"]
            with ThreadPoolExecutor(1) as pool:
                question = {"message": "How many days to return a laptop?", "model": "slow"}
                answer = pool.submit(client.post, "/v1/chat", json=question)
                until(lambda: provider[0].seen.by_model["slow"] > asked, 20, 0.01)
                running.process.send_signal(signal.SIGTERM)
                assert answer.result().status_code == 200, answer.result().text
                session_id = answer.result().json()["session_id"]
        assert running.process.wait(30) == 0
    with platform(home) as again:
        detail = httpx.get(f"{again.url}/v1/sessions/{session_id}", headers=again.headers()).json()
        assert [message["role"] for message in detail["messages"]] == ["user", "assistant"]


def test_ready_names_what_is_missing_and_recovers(tmp_path: Path):
    with platform(tmp_path / "home") as running, httpx.Client(base_url=running.url, timeout=30) as client:
        assert client.get("/ready").json()["missing"] == {}
        server = postgres_of(running.home)
        stopped = [server, *server.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            asked_s = time.monotonic()
            answer = client.get("/ready")
            assert answer.status_code == 503
            assert answer.json()["ready"] is False
            assert "postgres" in answer.json()["missing"]
            assert "objects" not in answer.json()["missing"]
            assert time.monotonic() - asked_s < 5
            assert client.get("/health").json() == {"status": "ok"}
        finally:
            for process in stopped:
                process.resume()
        until(lambda: client.get("/ready").status_code == 200, 20)
        status = run_slipway("status", "--home", running.home, cwd=tmp_path)
        assert status.returncode == 0
        assert status.stdout.startswith("ready: identity, gateway")


@pytest.mark.parametrize("wrong", ["--port", "--manifest"])
def test_a_start_that_cannot_be_ends_with_a_sentence_and_exit_code_1(tmp_path: Path, wrong: str):
    """Every other reason: tests/unit/app/test_start.py."""
    (tmp_path / "slipway.yaml").write_text("slipway: 1\nname: x\ncolour: blue\n")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        choice = {"--port": ["--port", str(busy.getsockname()[1])], "--manifest": ["--port", "0"]}[wrong]
        if wrong == "--port":
            (tmp_path / "slipway.yaml").unlink()
        ended = run_slipway("up", "--json", *choice, cwd=tmp_path)
    said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert (ended.returncode, ended.stdout) == (1, "")
    assert said[0].startswith("slipway: ")
    assert {"--port": "choose another with --port", "--manifest": "slipway.yaml:3"}[wrong] in "\n".join(said)
    assert "Traceback" not in ended.stderr
    assert postgres_of(tmp_path / ".slipway") is None


def test_a_home_below_a_closed_folder_and_with_a_long_path(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = closed / ("long" * 25) / ("longer" * 12) / "home"
    home.parent.mkdir(parents=True, mode=0o700)
    with platform(home) as running:
        answer = httpx.post(f"{running.url}/v1/search", headers=running.headers(), json={"query": "x"}, timeout=60)
        assert answer.status_code == 200, "retrieval reached the gateway through the socket"
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert postgres_of(home) is None


def test_a_stop_that_comes_during_the_start_ends_it(tmp_path: Path):
    process = subprocess.Popen(
        [SLIPWAY, "up", "--json", "--home", str(tmp_path / "home"), "--port", "0"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    until(lambda: (tmp_path / "home" / "lock").exists(), 30, 0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert process.stdout.read() == ""
    drained.join()
    process.stdout.close()
    process.stderr.close()
    assert postgres_of(tmp_path / "home") is None
