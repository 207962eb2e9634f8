"""Slipway as the benchmark runs it: the installed command on a home of its own, all checks on, its log in a file.

The log does not go through a pipe of the benchmark, whose reading would cost one of the two cores.
"""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.gateway.accounting import tree
from bench.gateway.peers import UPSTREAM_KEY, Target, Upstreams, port_of
from bench.startup import postgres_of
from slipway.runtime.settings import Settings
from tests.platforms import SLIPWAY, clean_environment, end_postgres


def knows_redis() -> bool:
    """Whether this Slipway keeps limits in Redis."""
    return "redis_url" in Settings.model_fields


def manifest(upstream: Upstreams, models: list[str], *, redis: bool) -> dict[str, Any]:
    """Limits that are far away but have to be looked at for each request."""
    far = 1_000_000
    plan = {"requests_per_second": far, "burst": far, "tokens_per_month": "1000000M", "budget_per_month": "$1000000"}
    available = {
        model: {
            "provider": "openai",
            "base_url": f"http://127.0.0.1:{port_of(upstream, model)}/v1",
            "id": model,
            "api_key_env": "UPSTREAM_KEY",
            "price_per_million_tokens": {"prompt": "$2.50", "completion": "$10"},
        }
        for model in models
    }
    return {
        "slipway": 1,
        "name": "bench",
        "components": {"identity": {}, "gateway": {}},
        "edge": {"throttle": {"rate": far, "burst": far}},
        "plans": {"default": plan},
        "models": {"default": models[0], "available": available},
        **({"data": {"redis": {}}} if redis else {}),
    }


@contextmanager
def slipway(
    folder: Path, upstream: Upstreams, models: list[str], *, name: str = "slipway", redis_url: str | None = None
) -> Iterator[Target]:
    """One platform, ready; its manifest lies beside its home."""
    home = folder / name
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(manifest(upstream, models, redis=redis_url is not None)))
    settings = {"SLIPWAY_MANIFEST": str(path), "UPSTREAM_KEY": UPSTREAM_KEY}
    if redis_url:
        settings["SLIPWAY_REDIS_URL"] = redis_url
    began = time.perf_counter()
    with _running(home, folder / f"{name}.log", settings) as told:
        cold_start_s = time.perf_counter() - began
        pid = told["pid"]

        def pids() -> list[int]:
            known = tree(pid)
            return known if len(known) > 1 else known + [process.pid for process in postgres_of(home)]

        yield Target(
            name,
            int(told["url"].rsplit(":", 1)[1]),
            pids,
            {"authorization": f"Bearer {told['api_key']}"},
            cold_start_s=cold_start_s,
            own_pids=lambda: [pid],
        )


@contextmanager
def _running(home: Path, log: Path, settings: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [SLIPWAY, "up", "--json", "--home", str(home), "--port", "0"],
            cwd=home.parent,
            env=clean_environment(**settings),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"Slipway did not start:\n{log.read_text(errors='replace')[-3000:]}")
        yield json.loads(line)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
                process.wait(10)
        process.stdout.close()
        end_postgres(home)
