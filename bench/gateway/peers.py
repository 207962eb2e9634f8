"""Starts what is measured, one worker each, on free ports of loopback, and ends it by process id: the upstreams, nginx
in front of them, LiteLLM in an environment of its own, Redis. Slipway is in `platform.py`.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.gateway.accounting import tree
from bench.gateway.upstream import COMPLETION_TOKENS, PLAIN_MODEL, PROMPT_TOKENS, plain_answer
from tests.debian import program

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "peers.lock"
UPSTREAM_KEY = "sk-upstream"
LITELLM_KEY = "sk-bench-master"
_PLAIN_TOKENS = PROMPT_TOKENS + COMPLETION_TOKENS
_KEPT = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH"}  # a peer sees nothing else of the environment


@dataclass(frozen=True)
class Target:
    """One server as the clients of the benchmark see it."""

    name: str
    port: int
    pids: Callable[[], list[int]] = field(default=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, str] = ("/v1/chat/completions", "/v1/chat/completions")  # plain, streamed
    cold_start_s: float = 0.0
    own_pids: Callable[[], list[int]] | None = None  # without its database

    def path(self, model: str) -> str:
        return self.paths[model != PLAIN_MODEL]


@dataclass(frozen=True)
class Upstreams:
    """The mock provider: where it answers, and what it billed."""

    plain_port: int
    stream_port: int

    def billed(self) -> tuple[int, int]:
        """Requests and tokens since it started."""
        text = _get(self.plain_port, "/stats")
        counted = [int(number) for number in text.split("requests")[1].split()[:3]][2]
        _STATS_ASKED[self.plain_port] = _STATS_ASKED.get(self.plain_port, 0) + 1
        plain = counted - _STATS_ASKED[self.plain_port]
        streams = json.loads(_get(self.stream_port, "/stats"))
        return plain + streams["requests"], plain * _PLAIN_TOKENS + streams["tokens"]


_STATS_ASKED: dict[int, int] = {}  # nginx counts these requests too


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def required(name: str) -> str:
    """The path of a Debian program, installed where that is allowed; ends the benchmark when it is missing."""
    try:
        return program(name, package=name)
    except pytest.skip.Exception as missing:
        raise SystemExit(str(missing)) from missing


@contextmanager
def upstreams(folder: Path) -> Iterator[Upstreams]:
    """The mock provider."""
    plain_port, stream_port = free_port(), free_port()
    answer = plain_answer().replace("'", "\\'")
    with (
        _nginx(
            folder / "upstream",
            f"server {{ listen 127.0.0.1:{plain_port} backlog=1024;"
            f" location /v1/ {{ default_type application/json; return 200 '{answer}'; }}"
            " location = /stats { stub_status; } }",
            plain_port,
        ),
        _started([sys.executable, "-m", "bench.gateway.upstream", str(stream_port)], stream_port, folder / "streams"),
    ):
        _STATS_ASKED[plain_port] = 0
        yield Upstreams(plain_port, stream_port)


@contextmanager
def nginx(folder: Path, upstream: Upstreams) -> Iterator[Target]:
    """The physical anchor: a proxy that only passes on."""
    port = free_port()
    began = time.perf_counter()
    passed = "proxy_http_version 1.1; proxy_set_header connection '';"
    configuration = (
        f"upstream plain {{ server 127.0.0.1:{upstream.plain_port}; keepalive 64; keepalive_requests 1000000000; }}"
        f" upstream streams {{ server 127.0.0.1:{upstream.stream_port}; keepalive 64; keepalive_requests 1000000000; }}"
        f" server {{ listen 127.0.0.1:{port} backlog=1024;"
        f" location /plain/ {{ proxy_pass http://plain/; {passed} }}"
        f" location /streams/ {{ proxy_pass http://streams/; {passed} proxy_buffering off; }} }}"
    )
    with _nginx(folder / "proxy", configuration, port) as pid:
        yield Target(
            "nginx",
            port,
            lambda: tree(pid),
            paths=("/plain/v1/chat/completions", "/streams/v1/chat/completions"),
            cold_start_s=time.perf_counter() - began,
        )


@contextmanager
def litellm(folder: Path, upstream: Upstreams, models: list[str]) -> Iterator[Target]:
    """LiteLLM's proxy with its master key, no database, nothing reported anywhere."""
    python = litellm_environment()
    port = free_port()
    configuration = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"http://127.0.0.1:{port_of(upstream, model)}/v1",
                    "api_key": UPSTREAM_KEY,
                    "input_cost_per_token": 2.5e-6,
                    "output_cost_per_token": 1e-5,
                },
            }
            for model in models
        ],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "general_settings": {"master_key": LITELLM_KEY},
    }
    folder = folder / "litellm"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(configuration))  # JSON is YAML
    command = [python.with_name("litellm"), "--config", folder / "config.yaml", "--host", "127.0.0.1"]
    began = time.perf_counter()
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "NO_DOCS": "True",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(folder),
    }
    with _started(
        [*map(str, command), "--port", str(port), "--num_workers", "1"],
        port,
        folder / "log",
        environment=environment,
        deadline_s=180,
        ready="/health/liveliness",
    ) as pid:
        headers = {"authorization": f"Bearer {LITELLM_KEY}"}
        yield Target("litellm", port, lambda: tree(pid), headers, cold_start_s=time.perf_counter() - began)


def litellm_environment() -> Path:
    """The Python of LiteLLM's environment, made when its pins have changed; wheels alone, so nothing of it is built."""
    pins = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    home = ROOT / ".venv" / "share" / f"litellm-{pins}"
    python = home / "bin" / "python"
    if (home / ".complete").exists():
        return python
    print(f"installing LiteLLM into {home.relative_to(ROOT)}, once, which takes a minute or two", flush=True)
    for old in home.parent.glob("litellm-*"):
        shutil.rmtree(old)
    venv.create(home, with_pip=True)
    quiet = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [python, "-m", "pip", "install", *quiet, "-r", LOCK], check=False, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"LiteLLM could not be installed; --peers nginx leaves it out\n{done.stderr[-2000:]}")
    (home / ".complete").touch()
    return python


def litellm_version() -> str:
    """The version that is pinned."""
    found = re.search(r"^litellm==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis that keeps nothing; yields its URL."""
    port = free_port()
    command = [required("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _started([*command, "--dir", str(folder)], port, folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


def usage_rows(target: Target) -> tuple[int, int]:
    """Requests and tokens that Slipway has booked; of another target, none."""
    if target.name != "slipway":
        return 0, 0
    totals = json.loads(_get(target.port, "/v1/usage?limit=1", target.headers))["totals"]
    return totals["requests"], totals["prompt_tokens"] + totals["completion_tokens"]


def port_of(upstream: Upstreams, model: str) -> int:
    """Where the mock provider serves a model."""
    return upstream.plain_port if model == PLAIN_MODEL else upstream.stream_port


def awaited(process: "subprocess.Popen[bytes]", port: int, log: Path, deadline_s: float, ready: str | None) -> None:
    """Waits until a server answers; ends the benchmark with its log when it does not."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ready is None:
                socket.create_connection(("127.0.0.1", port), 1).close()
            else:
                _get(port, ready)
        except OSError:
            time.sleep(0.02)
        else:
            return
    process.kill()
    process.wait(10)
    raise SystemExit(f"{process.args} did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _get(port: int, path: str, headers: Mapping[str, str] | None = None) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"{path}: status {response.status}")
        return response.read().decode()
    finally:
        connection.close()


@contextmanager
def _nginx(folder: Path, servers: str, port: int) -> Iterator[int]:
    folder.mkdir(parents=True)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;"
        f" {'user root;' if os.geteuid() == 0 else ''} events {{ worker_connections 4096; }}"
        f" http {{ access_log off; {temporary} keepalive_requests 1000000000; keepalive_time 24h;"
        f" keepalive_timeout 600s; tcp_nodelay on; {servers} }}\n"
    )
    command = [required("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with _started(command, port, folder / "log") as pid:
        yield pid


@contextmanager
def _started(
    command: list[str],
    port: int,
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    deadline_s: float = 20,
    ready: str | None = None,
) -> Iterator[int]:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT, env=kept | dict(environment or {})
        )
    try:
        awaited(process, port, log, deadline_s, ready)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
