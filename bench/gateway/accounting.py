"""What processes of this machine used: CPU in nanoseconds of the kernel's own clock, memory from /proc."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable

import psutil


def cpu_ns(pids: Iterable[int]) -> dict[int, int]:
    """User and system time of each process with all its threads, ended ones too; without processes that are gone."""
    used = {}
    for pid in pids:
        try:
            used[pid] = time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3): its clock of scheduled time
        except OSError:
            continue
    return used


def spent_ns(before: dict[int, int], after: dict[int, int]) -> int:
    """CPU between two samples; a process that came in between counts whole."""
    return sum(used - before.get(pid, 0) for pid, used in after.items())


def settled(pids: Callable[[], list[int]], *, most_s: float = 6.0) -> None:
    """Waits until the processes rest, so that work they put off is counted too."""
    deadline = time.monotonic() + most_s
    before = cpu_ns(pids())
    while time.monotonic() < deadline:
        time.sleep(0.25)
        after = cpu_ns(pids())
        if spent_ns(before, after) < 0.25e9 * 0.04:
            return
        before = after


def memory_mib(pids: Iterable[int]) -> tuple[float, float]:
    """Resident and proportional set size."""
    rss = pss = 0
    for pid in pids:
        try:
            info = psutil.Process(pid).memory_full_info()
        except psutil.Error:
            continue
        rss += info.rss
        pss += info.pss
    return rss / 2**20, pss / 2**20


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def fdatasync_ms(folder: str) -> float:
    """Median time of one `fdatasync` after appending 512 bytes."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(200):
            file.write(bytes(512))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return sorted(times)[100] * 1000
