"""How long `slipway plan prod` of the largest blueprint takes, by phase, and whether `slipway up` imports any of it.

    python -m bench.plan [--quick] [--rounds N] [--blueprint NAME] [--environment NAME]

A round is a process of its own, from the start of Python to the whole plan, offline: AWS is not asked. `checks` is what
is left of them after changes and costs were ready, which are counted while the checks run. CPU is that of the process
and of what it started (CDK's node, helpers that lint). Each round plans twice with one cache, empty at first: what no
template was linted for before, and what a second look costs. The blueprint with the most resources is planned unless
one is named.
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


def planned(blueprint: str, environment: str, cache: str) -> dict[str, float]:
    """Seconds of each phase and of the whole process, resources, CPU."""
    before = time.perf_counter()
    command = [sys.executable, "-m", "bench.plan.once", blueprint, environment, cache]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    whole = time.perf_counter() - before
    figures = json.loads(done.stdout)
    ended: dict[str, float] = figures["ended"]
    began = [0.0, *ended.values()]
    phases = {name: end - start for (name, end), start in zip(ended.items(), began, strict=False)}
    phases["start and end of Python"] = whole - max(ended.values())
    return {**phases, "whole": whole, "cpu": figures["cpu"], "resources": figures["resources"]}


def twice(blueprint: str, environment: str) -> tuple[dict[str, float], dict[str, float]]:
    """A plan with an empty cache, and the same again with what that one left."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as cache:
        return planned(blueprint, environment, cache), planned(blueprint, environment, cache)


def medians(samples: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def show(title: str, median: dict[str, float]) -> None:
    """Each phase with its share, and the whole."""
    print(f"{title}:")
    for name, seconds in median.items():
        if name not in ("whole", "cpu", "resources"):
            print(f"  {name:<26}{seconds:>7.2f} s {100 * seconds / median['whole']:>4.0f} %")
    print(f"  {'whole':<26}{median['whole']:>7.2f} s, CPU {median['cpu']:.2f} s")


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
    rounds = [twice(given.blueprint, given.environment) for _ in range(1 if given.quick else given.rounds)]
    first, again = (medians([both[which] for both in rounds]) for which in (0, 1))
    print(
        f"slipway plan {given.environment} of {given.blueprint}: {first['resources']:.0f} resources, {len(rounds)}"
        f" rounds on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    show("the first one", first)
    show("again, with no template changed", again)
    print(f"target < {TARGET_S:g} s, goal {GOAL_S:g} s")
    imported = imported_by_up()
    print(f"slipway up imports of it: {', '.join(imported) or 'nothing'}")
    if imported or first["whole"] > TARGET_S * (4 if given.quick else 1):  # a busy machine fails no short run
        raise SystemExit("a target is missed")


if __name__ == "__main__":
    main()
