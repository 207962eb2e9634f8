"""The pages and pictures in docs/reference: those that the manifests give today, whole, and made by one command."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from slipway.cli.reference import files_of
from slipway.manifest.blueprints import blueprint_names, blueprint_text
from slipway.manifest.loading import parse
from slipway.operations.picture.parts import parts_of
from slipway.operations.reference import Reference, chosen, purpose_of, reference
from tests.infra.synthesis import assembly

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
# In the order of `make reference`.
BLUEPRINTS = ("rag-assistant", "microservices", "agent-gateways", "mcp-hybrid", "preview-fargate")
SMALL = "# For one.\nslipway: 1\nname: small\ncomponents: {identity: {}}\nenvironments: {prod: {region: us-east-1}}\n"


@cache
def of(blueprint: str) -> Reference:
    text = blueprint_text(blueprint)
    return reference(text, parse(text).check(), assembly(blueprint, "prod"))


def test_there_is_a_page_for_each_blueprint_of_aws():
    assert set(BLUEPRINTS) == set(blueprint_names()) - {"local"}
    assert {path.name for path in FOLDER.iterdir()} == {
        "README.md",
        *(f"{name}{suffix}" for name in BLUEPRINTS for suffix in (".md", ".svg")),
    }


@pytest.mark.parametrize("name", ["README.md", *(f"{name}.{kind}" for name in BLUEPRINTS for kind in ("md", "svg"))])
def test_each_file_is_what_the_manifests_give_today(name: str):
    made = files_of([of(blueprint) for blueprint in BLUEPRINTS])
    assert (FOLDER / name).read_text("utf-8") == made[name], (
        f"docs/reference/{name} is not what the manifest gives today: `make reference` writes it anew"
    )


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_what_the_picture_shows_is_in_the_templates(blueprint: str):
    made = {resource["Type"] for resource in assembly(blueprint, "prod").resources().values()}
    for part in parts_of(assembly(blueprint, "prod").site):
        assert set(part.types) <= made, part.name


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_the_page_counts_each_resource_and_says_what_it_is_for(blueprint: str):
    counted = 0
    for stack in of(blueprint).resources:
        for kind, number, purpose in stack.types:
            counted += number
            assert purpose, f"{kind} has no line in operations/purposes.toml: say there what it is for"
    assert counted == len(assembly(blueprint, "prod").resources())


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_the_page_sums_its_costs_and_names_the_idle_floor(blueprint: str):
    text = (FOLDER / f"{blueprint}.md").read_text("utf-8")
    total = of(blueprint).plan.costs.total
    assert f"Expected ${total.expected / 1e6:,.2f}; ${total.floor / 1e6:,.2f} of it is the idle floor" in text
    rows = re.findall(r"^\| [^|`]+ \| \$([\d,.]+) \| .*https://aws\.amazon\.com/", text, re.MULTILINE)
    assert sum(float(row.replace(",", "")) for row in rows) == pytest.approx(total.floor / 1e6, abs=0.01 * len(rows))


def test_environments_stand_side_by_side_where_they_differ():
    found = {each.path: each.values for each in of("rag-assistant").differences}
    assert of("rag-assistant").environments == ("dev", "staging", "prod")
    assert found["network.nat"] == ("single", "single", "per-az")
    assert found["data.postgres.readers"] == (0, 0, 1)
    assert "network.cidr" not in found
    assert "compute" not in found


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slipway", "reference", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_writes_a_page_and_a_picture_of_ones_own_manifest(tmp_path: Path):
    (tmp_path / "slipway.yaml").write_text(SMALL)
    done = run(tmp_path, "--manifest", "slipway.yaml", "--output", "made")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Wrote made/small.md.\nWrote made/small.svg.\n"
    assert (tmp_path / "made" / "small.md").read_text().startswith("# small\n\nFor one.\n")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"small.md", "small.svg"}


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (SMALL, ("--environment", "prd"), "There is no environment 'prd': there is prod."),
        (SMALL.replace("prod: {region: us-east-1}", ""), (), "no environment that lasts: write one under environments"),
        (SMALL.replace("region", "regoin"), (), "did you mean"),
        (SMALL, ("--manifest", "slipway.yaml"), "Two manifests are called small"),
        (SMALL, ("--output", "slipway.yaml"), "slipway.yaml cannot be made a folder: File exists"),
    ],
)
def test_what_the_command_cannot_do_it_says(tmp_path: Path, text: str, arguments: tuple[str, ...], said: str):
    (tmp_path / "slipway.yaml").write_text(text)
    done = run(tmp_path, "--manifest", "slipway.yaml", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_shown_is_production_or_the_last_that_lasts():
    loaded = parse(blueprint_text("preview-fargate")).check()
    assert chosen(loaded, None).environment == "prod"
    assert chosen(loaded, "preview").environment == "preview"
    without = [each for each in loaded if each.environment != "prod"]
    assert chosen(without, None).environment == "staging"


def test_the_purpose_is_the_comment_at_the_head():
    assert purpose_of("# One thing.\n# Two. Every key is described in x.\nslipway: 1\n# not this") == "One thing. Two."
    assert purpose_of("slipway: 1\n") == ""
