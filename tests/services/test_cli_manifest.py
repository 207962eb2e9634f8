"""`slipway check`, `schema` and `init` as a person types them: what they print where, and their exit codes."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from slipway.cli.check import check
from slipway.cli.init import init
from slipway.cli.schema import schema

RAG_ASSISTANT = Path(__file__).parents[2] / "examples" / "manifests" / "rag-assistant.yaml"


@pytest.fixture
def slipway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command line of the three verbs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    for verb in (check, schema, init):
        app.command()(verb)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return run


def test_a_manifest_that_holds_is_told_with_its_environments(slipway) -> None:
    result = slipway("check", str(RAG_ASSISTANT))
    assert result.exit_code == 0
    assert result.stdout == f"{RAG_ASSISTANT} holds: the base, dev, prod, preview.\n"
    assert slipway("check", str(RAG_ASSISTANT), "--env", "prod").stdout == f"{RAG_ASSISTANT} holds: prod.\n"


def test_problems_go_to_stderr_all_of_them_with_exit_code_1(slipway, tmp_path: Path) -> None:
    (tmp_path / "slipway.yaml").write_text(
        "slipway: 1\nname: a\nnetwork: {azz: 3}\nenvironments: {prod: {edge: {wafe: true}}}\n"
    )
    result = slipway("check")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "The manifest has 2 problems.",
        "slipway.yaml:3:11: network.azz: there is no key `azz` here: did you mean `azs`?",
        "slipway.yaml:4:30: environments.prod.edge.wafe: there is no key `wafe` here: did you mean `waf`?",
    ]


def test_a_file_that_is_not_there_is_exit_code_2(slipway) -> None:
    result = slipway("check")
    assert result.exit_code == 2
    assert (
        result.stderr == "The manifest has 1 problem.\nslipway.yaml: there is no such file: `slipway init` writes one\n"
    )


def test_an_environment_that_is_not_there_is_told(slipway) -> None:
    result = slipway("check", str(RAG_ASSISTANT), "--env", "production")
    assert result.exit_code == 1
    assert "there is no environment `production`: did you mean `prod`?" in result.stderr


def test_explain_shows_each_value_with_its_line(slipway) -> None:
    result = slipway("check", str(RAG_ASSISTANT), "--env", "prod", "--explain")
    assert result.exit_code == 0
    lines = {line.split(": ")[0]: " ".join(line.split()) for line in result.stdout.splitlines()}
    assert lines["network.azs"] == f"network.azs: 3 {RAG_ASSISTANT}:50 (environments.prod)"
    assert lines["network.cidr"] == f"network.cidr: 10.0.0.0/16 {RAG_ASSISTANT}:33 (base)"
    assert lines["components.gateway.scale.max"] == f"components.gateway.scale.max: 10 {RAG_ASSISTANT}:6 (base)"
    assert lines["monitoring.alarms.memory"] == "monitoring.alarms.memory: 80% (default)"
    assert lines["budget.per_month"] == f"budget.per_month: $1,200 {RAG_ASSISTANT}:53 (environments.prod)"


def test_json_is_one_object_for_machines(slipway, tmp_path: Path) -> None:
    held = json.loads(slipway("check", str(RAG_ASSISTANT), "--env", "prod", "--explain", "--json").stdout)
    assert (held["ok"], held["checked"]) == (True, ["prod"])
    values = {value["path"]: value for value in held["values"]}
    assert values["network.azs"] == {"path": "network.azs", "value": 3, "source": "environments.prod", "line": 50}
    (tmp_path / "slipway.yaml").write_text("slipway: 1\nname: a\ncompute: lambda\n")
    result = slipway("check", "--json")
    assert result.exit_code == 1
    refused = json.loads(result.stdout)
    assert refused == {
        "ok": False,
        "file": "slipway.yaml",
        "problems": [
            {"path": "compute", "line": 3, "column": 1, "message": "`lambda` is not one of fargate, ec2, eks"}
        ],
    }


@pytest.mark.parametrize(
    "arguments", [("init",), ("init", "rag-assistant"), ("init", "local", "--output", "other.yaml")]
)
def test_init_writes_a_manifest_that_holds(slipway, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = slipway(*arguments)
    assert result.exit_code == 0
    file = "other.yaml" if "--output" in arguments else "slipway.yaml"
    assert result.stdout.startswith(f"Wrote {file} from the blueprint ")
    assert "#" in (tmp_path / file).read_text("utf-8")
    assert slipway("check", file).exit_code == 0


def test_init_overwrites_only_when_told(slipway, tmp_path: Path) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text("mine")
    refused = slipway("init")
    assert refused.exit_code == 1
    assert refused.stderr == "slipway.yaml exists already: --force overwrites it, --output names another file.\n"
    assert file.read_text() == "mine"
    assert slipway("init", "--force").exit_code == 0
    assert file.read_text("utf-8").startswith("# A platform on this machine")


def test_init_says_which_blueprints_there_are_and_where_it_cannot_write(slipway) -> None:
    assert "did you mean rag-assistant?" in slipway("init", "rag-asistant").stderr
    assert "there are agent-gateways, local, mcp-hybrid, microservices, preview-fargate, rag-assistant" in (
        slipway("init", "zzz").stderr
    )
    refused = slipway("init", "--output", "no/such/folder.yaml")
    assert refused.exit_code == 1
    assert "cannot be written: No such file or directory" in refused.stderr


def test_schema_prints_json_schema(slipway) -> None:
    result = slipway("schema")
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert printed["$schema"].endswith("2020-12/schema")
    assert "environments" in printed["properties"]
