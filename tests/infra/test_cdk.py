"""`cdk synth`: the app of cdk.json makes what `synthesize` makes, and the pinned command can read it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from slipway.infra.app import synthesize
from slipway.infra.inputs import Inputs
from slipway.manifest.blueprints import blueprint_text
from tests.infra.synthesis import manifest_of

ROOT = Path(__file__).parents[2]
BLUEPRINT = "preview-fargate"


def run(folder: Path, **context: str) -> subprocess.CompletedProcess[str]:
    """The app as CDK's command starts it."""
    return subprocess.run(
        [sys.executable, "-m", "slipway.infra"],
        env={**os.environ, "CDK_OUTDIR": str(folder / "cdk.out"), "CDK_CONTEXT_JSON": json.dumps(context)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_its_templates_are_those_of_a_plan_and_the_pinned_command_reads_them(tmp_path: Path) -> None:
    (tmp_path / "slipway.yaml").write_text(blueprint_text(BLUEPRINT))
    done = run(tmp_path, environment="dev")
    assert done.returncode == 0, done.stderr
    for stack in synthesize(manifest_of(BLUEPRINT, "dev"), "dev", Inputs()).stacks:
        [written] = [
            path
            for path in (tmp_path / "cdk.out").glob("*.template.json")
            if path.name.removesuffix(".template.json").lower() == stack.part.replace("-", "").replace("_", "")
        ]
        assert json.loads(written.read_text()) == stack.template
    least = json.loads((tmp_path / "cdk.out" / "manifest.json").read_text())["minimumCliVersion"]
    pinned = json.loads((ROOT / "package.json").read_text())["devDependencies"]["aws-cdk"]
    assert [int(part) for part in pinned.split(".")] >= [int(part) for part in least.split(".")]
    assert json.loads((ROOT / "cdk.json").read_text())["app"] == ".venv/bin/python -m slipway.infra"


def test_without_an_environment_it_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "cdk synth -c environment=dev" in done.stderr
