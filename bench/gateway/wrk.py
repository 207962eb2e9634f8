"""Load by wrk, one thread, keep-alive: what was answered and how fast. An answer other than 200 ends the benchmark."""

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.gateway.peers import Target, required
from bench.gateway.upstream import PLAIN_MODEL

QUESTION = "What is the answer to this question? Say it in one short sentence, please."
_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[%(body)s]==]
%(headers)s
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %%.0f, "duration_us": %%.0f, "failed": %%.0f, "p50_us": %%.0f, "p99_us": %%.0f}\\n',
    summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float

    @property
    def throughput(self) -> float:
        return self.requests / self.duration_s


def request_body(model: str) -> str:
    """A chat completion of a usual shape."""
    asked = {
        "model": model,
        "messages": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": QUESTION}],
        "max_tokens": 256,
        "temperature": 0.2,
    }
    if model != PLAIN_MODEL:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked)


@cache
def _program() -> str:
    return required("wrk")


def wrk(folder: Path, target: Target, model: str, connections: int, seconds: float) -> Load:
    """One run against one target."""
    script = folder / f"{target.name}-{model}.lua"
    if not script.exists():
        headers = {"content-type": "application/json", **target.headers}
        lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
        script.write_text(_SCRIPT % {"body": request_body(model), "headers": lines})
    url = f"http://127.0.0.1:{target.port}{target.path(model)}"
    command = [_program(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
    done = subprocess.run(
        [*command, "-s", script, url], capture_output=True, text=True, timeout=seconds + 90, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"wrk against {target.name} failed:\n{done.stdout}{done.stderr}")
    seen = json.loads(lines[0])
    if seen["failed"] or not seen["requests"]:
        raise SystemExit(
            f"{target.name} answered {seen['failed']} of {seen['requests']} requests wrongly:\n{done.stdout}"
        )
    return Load(seen["requests"], seen["duration_us"] / 1e6, seen["p50_us"] / 1000, seen["p99_us"] / 1000)
