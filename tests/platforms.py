"""Starts real platforms for tests: the installed command, a home of its own, a free port, ended by process id."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

SLIPWAY = str(Path(sys.executable).with_name("slipway"))


@dataclass(frozen=True)
class Platform:
    """A running platform."""

    url: str
    api_key: str
    pid: int
    home: Path
    process: subprocess.Popen[str]
    log: list[str]

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"}

    def kill(self) -> None:
        """As a crash would end it: the process alone, PostgreSQL stays behind."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(10)


def clean_environment(**settings: str) -> dict[str, str]:
    """This environment without any SLIPWAY_ or OTEL_ variable, then `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "OTEL_"))}
    return kept | settings


def run_slipway(
    *arguments: str | Path, cwd: Path, timeout: float = 60, **settings: str
) -> subprocess.CompletedProcess[str]:
    """One command of the command line, run to its end."""
    return subprocess.run(
        [SLIPWAY, *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def platform(
    home: Path, *, arguments: tuple[str, ...] = ("up",), settings: Mapping[str, str] | None = None, stop: bool = True
) -> Iterator[Platform]:
    """A platform that is ready; drained at the end, and killed with all its children when it does not end."""
    process = subprocess.Popen(
        [SLIPWAY, *arguments, "--json", "--home", str(home), "--port", "0"],
        cwd=home.parent,
        env=clean_environment(**(settings or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    assert process.stderr is not None
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        line = process.stdout.readline()
        if not line:
            process.wait(10)
            reader.join(5)
            raise AssertionError(f"the platform did not start: {''.join(log[-40:])}")
        told = json.loads(line)
        yield Platform(told["url"], told["api_key"], told["pid"], home, process, log)
    finally:
        if stop:
            _end(process, home)
        reader.join(5)
        process.stdout.close()
        process.stderr.close()


def _end(process: subprocess.Popen[str], home: Path) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait(10)
    end_postgres(home)


def end_postgres(home: Path) -> None:
    """Ends the PostgreSQL of a home whose platform was killed."""
    from slipway.runtime.postgres import EmbeddedPostgres

    if (home / "postgres").exists():
        EmbeddedPostgres(home).stop()
