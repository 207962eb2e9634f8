"""Programs of Debian that some tests run for real: installed where that is allowed, else said to be missing."""

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest


@cache
def program(name: str, *, package: str) -> str:
    """The path of a program, installed with apt when it is missing and this is root; skips the test otherwise."""
    found = find(name) or _installed(name, package)
    if found is None:
        pytest.skip(f"{name} is not here and could not be installed: apt-get install {package}")
    return found


def find(name: str) -> str | None:
    """The path of a program that is there, also where only administrators look."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _installed(name: str, package: str) -> str | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # RUNLEVEL: start no service
    with (Path(sys.prefix) / "slipway-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(["apt-get", "-qq", *command], env=quiet, capture_output=True, timeout=150, check=False)
    return find(name)
