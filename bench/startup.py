"""How long `slipway up` takes to be ready, cold and warm, and what it holds when idle.

Cold: a new home, so initdb, roles, migrations, the first tenant. Warm: the same home again. Ready: the line that
`--json` prints, after which a request is answered. Memory: proportional set size (each shared page counted by its
share) of the one process and of PostgreSQL's, from /proc, five seconds after ready with nothing asked.

    python -m bench.startup [--quick] [--rounds N]

The file system's cache is warm in both; the first start after an installation also compiles Python files, and is not
counted here.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from tests.platforms import platform

TARGETS = {"cold start": 8.0, "warm start": 3.0}
MEMORY_TARGET_MIB = 350


def started_s(home: Path) -> float:
    """Seconds until ready; the platform is stopped again."""
    before = time.perf_counter()
    with platform(home):
        return time.perf_counter() - before


def idle_memory_mib(home: Path) -> tuple[float, float]:
    """PSS of the platform's process and the sum over PostgreSQL's."""
    with platform(home) as running:
        time.sleep(5)
        own = psutil.Process(running.pid)
        server = own.children(recursive=True) or postgres_of(home)
        return pss_mib(own), sum(pss_mib(process) for process in server)


def postgres_of(home: Path) -> list[psutil.Process]:
    """PostgreSQL's processes when it is not a child: its postmaster and what it started."""
    pid = int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


def pss_mib(process: psutil.Process) -> float:
    return process.memory_full_info().pss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two rounds, for regressions")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = 2 if (given := parser.parse_args()).quick else given.rounds
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    try:
        started_s(folder / "unmeasured")
        times = {"cold start": [], "warm start": []}
        for number in range(rounds):
            home = folder / f"home{number}"
            times["cold start"].append(started_s(home))
            times["warm start"].append(started_s(home))
        own_mib, postgres_mib = idle_memory_mib(folder / "home0")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'':<24}{'min':>8}{'median':>8}{'max':>8}   target")
    late = False
    for name, seconds in times.items():
        median = statistics.median(seconds)
        late |= median > TARGETS[name]
        print(
            f"{name + ', s':<24}{min(seconds):>8.2f}{median:>8.2f}{max(seconds):>8.2f}   "
            f"< {TARGETS[name]:g}  ({rounds} rounds)"
        )
    print(f"{'idle memory, MiB PSS':<24}{'':>8}{own_mib:>8.0f}{'':>8}   < {MEMORY_TARGET_MIB}  (one process)")
    print(f"{'  PostgreSQL beside it':<24}{'':>8}{postgres_mib:>8.0f}")
    if late or own_mib > MEMORY_TARGET_MIB:
        raise SystemExit("a target is missed")


if __name__ == "__main__":
    main()
