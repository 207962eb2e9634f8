"""What the gateway costs beside nginx and LiteLLM: CPU, latency, streams, memory, start; and whether it bills exactly.

    python -m bench.gateway [--quick] [--only PARTS] [--peers nginx,litellm] [--rounds N] [--memory]

`bench/README.md` says what is measured and how. A target that is missed, or a request that was billed and not answered,
ends the run with an error.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.gateway import figures, peers
from bench.gateway.accounting import fdatasync_ms
from bench.gateway.measures import BURST_MODEL, Bench, Plan, redis_rounds, running
from bench.gateway.peers import Upstreams
from bench.gateway.platform import knows_redis, slipway
from bench.gateway.upstream import PLAIN_MODEL

PARTS = ("plain", "streamed", "events", "ttft", "redis", "memory")
QUICK_PARTS = ("plain", "events")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway")
    parser.add_argument("--quick", action="store_true", help="under a minute, without LiteLLM, for regressions")
    parser.add_argument("--only", help=f"parts to run: {','.join(PARTS)}")
    parser.add_argument("--peers", help="nginx,litellm by default; whichever is named runs beside Slipway")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, help="of each run of wrk")
    parser.add_argument("--memory", action="store_true", help="1,000,000 requests in the memory part, not 50,000")
    parser.add_argument("--json", type=Path, help="also write every sample into this file")
    given = parser.parse_args()
    given.parts = (given.only or ",".join(QUICK_PARTS if given.quick else PARTS)).split(",")
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    named = (given.peers if given.peers is not None else "nginx" if given.quick else "nginx,litellm").split(",")
    given.targets = [name for name in ("nginx", "slipway", "litellm") if name == "slipway" or name in named]
    return given


def plan(given: argparse.Namespace) -> Plan:
    short = given.quick or given.only is not None
    return Plan(
        rounds=given.rounds or (2 if short else 5),
        seconds=given.seconds or (1.0 if given.quick else 2.0 if short else 4.0),
        window_s=1.0 if given.quick else 2.0 if short else 4.0,
        connections=(32,) if short else (8, 32),
        memory_requests=1_000_000 if given.memory else 50_000,
    )


def measured(bench: Bench, parts: list[str], folder: Path, upstream: Upstreams, chosen: Plan) -> None:
    bench.warm((PLAIN_MODEL, BURST_MODEL) if "streamed" in parts else (PLAIN_MODEL,))
    bench.exactness(100)
    for part in parts:
        said = time.monotonic()
        if part == "plain":
            bench.plain()
        elif part == "streamed":
            bench.plain(BURST_MODEL, "streamed")
        elif part == "events":
            bench.events()
        elif part == "ttft":
            bench.ttft()
        elif part == "memory":
            bench.memory()
        elif part == "redis" and knows_redis():
            with ExitStack() as stack:
                url = stack.enter_context(peers.redis(folder))
                models = chosen.models()
                other = slipway(folder, upstream, models, name="slipway-redis", redis_url=url)
                redis_rounds(bench, stack.enter_context(other))
        print(f"  {part} took {time.monotonic() - said:.0f} s", flush=True)


def main() -> None:
    given = arguments()
    chosen = plan(given)
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    try:
        with running(folder, chosen, given.targets) as (bench, upstream):
            try:
                measured(bench, given.parts, folder, upstream, chosen)
            except SystemExit as failure:  # what was measured before is printed all the same
                bench.samples.wrong.append(str(failure))
        synced_ms = fdatasync_ms(str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    versions = f"LiteLLM {peers.litellm_version()}, " if "litellm" in given.targets else ""
    print(f"\n{versions}{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {chosen.rounds} rounds, one worker each")
    print(figures.table(bench.samples))
    print(f"{'ms per fdatasync of the disk here':<46}{synced_ms:>10.3f}\n")
    reached = figures.rows(bench.samples, quick=given.quick)
    print(f"{'':<58}{'':>9}  {'must':<8}{'goal':<8}")
    for row in reached:
        print(row.line())
    if given.json:
        values = {f"{figure} | {target}": found for (figure, target), found in bench.samples.values.items()}
        given.json.write_text(json.dumps(values | {"ms per fdatasync": [synced_ms]}, indent=1, ensure_ascii=False))
    for wrong in bench.samples.wrong:
        print(f"WRONG: {wrong}")
    if bench.samples.wrong or any(row.missed for row in reached):
        raise SystemExit("a target is missed")
    if given.only is None and given.peers is None and any(row.unknown for row in reached):
        raise SystemExit("a target was not measured")


if __name__ == "__main__":
    main()
