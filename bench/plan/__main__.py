"""How long `slipway plan prod` of the largest blueprint takes, by phase, and whether `slipway up` imports any of it.

    python -m bench.plan [--quick] [--rounds N] [--blueprint NAME] [--environment NAME]

A round is a process of its own, from the start of Python to the whole plan, offline: AWS is not asked. `checks` is what
is left of them after changes and costs were ready, which are counted while the checks run. CPU is that of the process
and of what it started (CDK's node, helpers that lint). The blueprint with the most resources is planned unless one is
named.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.platforms import clean_environment, platform

TARGET_S, GOAL_S = 20.0, 10.0
LARGEST = "rag-assistant"
NEVER = ("aws_cdk", "jsii", "constructs", "cdk_nag", "cfnlint", "slipway.infra", "slipway.operations")


def planned(blueprint: str, environment: str) -> dict[str, float]:
    """Seconds of each phase and of the whole process, resources, CPU."""
    before = time.perf_counter()
    command = [sys.executable, "-m", "bench.plan.once", blueprint, environment]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    whole = time.perf_counter() - before
    figures = json.loads(done.stdout)
    ended: dict[str, float] = figures["ended"]
    began = [0.0, *ended.values()]
    phases = {name: end - start for (name, end), start in zip(ended.items(), began, strict=False)}
    phases["start and end of Python"] = whole - max(ended.values())
    return {**phases, "whole": whole, "cpu": figures["cpu"], "resources": figures["resources"]}


def imported_by_up() -> list[str]:
    """What of NEVER a platform imports until it is ready."""
    with (
        tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder,
        platform(Path(folder) / "home", settings={"PYTHONPROFILEIMPORTTIME": "1"}) as running,
    ):
        time.sleep(1)
        names = {line.rpartition("|")[2].strip() for line in running.log if line.startswith("import time:")}
    if "slipway.app.lifecycle" not in names:
        raise SystemExit("the platform's imports could not be read")
    return [name for name in NEVER if name in names]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one round, for regressions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blueprint", default=LARGEST)
    parser.add_argument("--environment", default="prod")
    given = parser.parse_args()
    samples = [planned(given.blueprint, given.environment) for _ in range(1 if given.quick else given.rounds)]
    median = {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}
    whole = median["whole"]
    print(
        f"slipway plan {given.environment} of {given.blueprint}: {median['resources']:.0f} resources, {len(samples)}"
        f" rounds on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for name, seconds in median.items():
        if name not in ("whole", "cpu", "resources"):
            print(f"  {name:<26}{seconds:>7.2f} s {100 * seconds / whole:>4.0f} %")
    print(
        f"  {'whole':<26}{whole:>7.2f} s       (min {min(s['whole'] for s in samples):.2f}), CPU {median['cpu']:.2f} s"
    )
    print(f"  target < {TARGET_S:g} s, goal {GOAL_S:g} s")
    imported = imported_by_up()
    print(f"slipway up imports of it: {', '.join(imported) or 'nothing'}")
    if imported or whole > TARGET_S * (4 if given.quick else 1):  # a busy machine fails no short run
        raise SystemExit("a target is missed")


if __name__ == "__main__":
    main()
