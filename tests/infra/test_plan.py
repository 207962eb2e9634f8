"""The plan as a value and as a command: what it compares, what refuses it, how it is shown."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from slipway.base.errors import InvalidRequest, Unavailable
from slipway.cli.plan_page import page
from slipway.infra.findings import Finding
from slipway.infra.inputs import Inputs
from slipway.manifest.blueprints import blueprint_text
from slipway.operations.baseline import Baseline, declared, deployed, states
from slipway.operations.objectives import objectives
from slipway.operations.plan import Comparison, Plan, decided, drafted
from tests.infra.synthesis import assembly, manifest_of, mutated
from tests.infra.templates import alarm, assembled, changed, database, site

SOUND = assembled(Database=database(), Watch=alarm({"Ref": "Database"}))
SMALL = "slipway: 1\nname: small\ncomponents: {identity: {}}\nenvironments: {prod: {region: us-east-1}}\n"


def against(before: Any) -> Comparison:
    return Comparison(baseline=Baseline("before", states(before)))


def planned(after: Any, before: Any = None, allowed: tuple[str, ...] = (), findings: tuple[Finding, ...] = ()) -> Plan:
    return decided(drafted(after, Comparison() if before is None else against(before)), findings, allowed)


def reasons(plan: Plan) -> list[str]:
    return [refusal.reason for refusal in plan.refusals]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, int]:
    """`slipway plan prod --json --html` of a blueprint, as a process of its own."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "slipway.yaml").write_text(blueprint_text("rag-assistant"))
    command = [sys.executable, "-m", "slipway", "plan", "prod", "--offline", "--json", "--html", "plan.html"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return json.loads(done.stdout), folder / "plan.html", done.returncode


@pytest.mark.requirement("CST-01", "R")
def test_the_command_estimates_a_month_before_anything_is_deployed(shown: tuple[dict[str, Any], Path, int]):
    plan, _, code = shown
    total = plan["total"]
    assert 0 < total["floor"] <= total["low"] <= total["expected"] <= total["high"]
    assert total["expected"] <= plan["budget_usd_micros"]
    assert not plan["costs"]["unpriced"]
    for line in plan["costs"]["lines"]:
        assert line["source"].startswith("https://aws.amazon.com/")
        assert date.fromisoformat(line["as_of"]) <= date(2026, 11, 26)
        assert float(line["usd"]) > 0
        assert line["unit"]
    assert sum(line["amounts"]["expected"] for line in plan["costs"]["lines"]) == total["expected"]
    assert code == plan["exit_code"]


def test_the_page_is_one_file_that_asks_for_nothing(shown: tuple[dict[str, Any], Path, int]):
    plan, html, _ = shown
    text = html.read_text()
    assert text.startswith("<!doctype html>")
    assert plan["hash"][:12] in text
    for asking in ("<script", "<link", "<img", "src=", "@import", "url("):
        assert asking not in text


@pytest.mark.requirement("CST-01", "R")
@pytest.mark.parametrize(
    ("environment", "stated"), [("dev", (200, 300)), ("staging", (400, 600)), ("prod", (800, 1200))]
)
def test_each_environment_of_002_is_within_its_budget_and_not_free(environment: str, stated: tuple[int, int]):
    """The budget of each is the upper end of what 002 states; docs/plan.md explains where the estimate stands in it."""
    plan = drafted(assembly("rag-assistant", environment), Comparison())
    assert plan.budget_usd_micros == stated[1] * 1_000_000
    assert 0 < plan.costs.total.floor < plan.costs.total.expected <= plan.budget_usd_micros


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_document_states_what_the_estimate_says(environment: str):
    text = (Path(__file__).parents[2] / "docs" / "plan.md").read_text()
    row = re.search(rf"^\| {environment} \| [^|]+ \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert row is not None
    total = drafted(assembly("rag-assistant", environment), Comparison()).costs.total
    for stated, micros in zip(row.groups(), (total.floor, total.expected, total.high), strict=True):
        assert int(re.sub(r"\D", "", stated)) == pytest.approx(micros / 1_000_000, rel=0.05)


@pytest.mark.requirement("DRP-02", "R")
@pytest.mark.parametrize(
    ("blueprint", "wanted", "missing"),
    [
        ("mcp-hybrid", ("1h", "4h"), None),
        ("rag-assistant", ("1h", "4h"), "mindsdb"),
        ("microservices", ("5m", "30m"), "qdrant"),
    ],
)
def test_objectives_store_by_store(blueprint: str, wanted: tuple[str, str], missing: str | None):
    lines = list(objectives(manifest_of(blueprint, "prod")))
    assert lines
    assert {(line.wanted_rpo, line.wanted_rto) for line in lines} == {wanted}
    assert {line.verdict for line in lines} <= {"met", "accepted"}
    gaps = [line for line in lines if line.verdict == "accepted"]
    assert all(line.why for line in gaps)
    if missing is not None:
        assert missing in {line.store for line in gaps}


@pytest.mark.requirement("DRP-02", "R")
def test_the_plan_shows_each_store_beside_its_objectives(shown: tuple[dict[str, Any], Path, int]):
    by_store = {(line["store"], line["loss"]): line for line in shown[0]["objectives"]}
    postgres = by_store["postgres", "the region is lost"]
    assert (postgres["rpo"], postgres["wanted_rpo"], postgres["verdict"]) == ("5m", "1h", "met")
    assert by_store["mindsdb", "the region is lost"]["verdict"] == "accepted"


def test_nothing_to_do():
    plan = planned(SOUND, SOUND)
    assert (plan.changes, plan.exit_code) == ((), 0)
    assert plan.difference is not None
    assert plan.difference.expected == 0


def test_changes_without_a_refusal():
    plan = planned(changed(SOUND, "data/Watch", Threshold=70), SOUND)
    assert [change.place for change in plan.changes] == ["data/Watch"]
    assert plan.exit_code == 2


def test_a_replaced_database_is_refused_until_its_loss_is_allowed():
    after = changed(SOUND, "data/Database", DatabaseName="another")
    plan = planned(after, SOUND)
    assert (reasons(plan), plan.exit_code) == (["data"], 1)
    assert "--allow-data-loss data/Database" in plan.refusals[0].said
    assert "the old one stays in the account" in plan.refusals[0].said
    assert planned(after, SOUND, ("data/Other",)).exit_code == 1
    assert planned(after, SOUND, ("data/Database",)).exit_code == 2


def test_a_destroyed_database_is_refused_too():
    plan = planned(assembled(Watch=alarm("x")), SOUND)
    assert reasons(plan) == ["data"]
    assert "destroyed" in plan.refusals[0].said


def test_doubled_cost_is_refused_by_the_budget_and_told_as_a_difference():
    large = {"ServerlessV2ScalingConfiguration": {"MinCapacity": 16, "MaxCapacity": 32}}
    instance = {"Type": "AWS::RDS::DBInstance", "Properties": {"DBInstanceClass": "db.serverless"}}
    instance["Properties"]["DBClusterIdentifier"] = {"Ref": "Database"}
    before = assembled(Database=database(), Instance=instance)
    plan = planned(changed(before, "data/Database", **large), before)
    assert "budget" in reasons(plan)
    assert plan.difference is not None
    assert plan.difference.expected > 1_000_000_000
    assert "budget.per_month is $1,200" in next(each.said for each in plan.refusals if each.reason == "budget")


def test_a_blueprint_made_twice_as_large_is_over_its_budget():
    twice = {"data": {"postgres": {"min_acu": 8, "max_acu": 64, "readers": 2}}}
    plan = drafted(mutated("rag-assistant", "prod", twice), against(assembly("rag-assistant", "prod")))
    assert "budget" in reasons(decided(plan, ()))
    assert plan.before is not None
    assert plan.costs.total.expected > 2 * plan.before.total.expected


def test_findings_refuse_unless_a_reason_accepts_them():
    finding = Finding(stack="data", resource="Database", rule="x", message="bad", gate="slipway")
    assert reasons(planned(SOUND, findings=(finding,))) == ["findings"]
    assert reasons(planned(SOUND, findings=(replace(finding, accepted="it is meant"),))) == []
    assert reasons(planned(SOUND, findings=(replace(finding, severity="warning"),))) == []


def test_the_hash_is_that_of_the_content():
    assert planned(SOUND).hash == planned(SOUND).hash
    other = changed(SOUND, "data/Watch", Threshold=70)
    assert planned(other).hash != planned(SOUND).hash
    assert planned(SOUND, SOUND).hash != planned(SOUND).hash


def test_the_page_tells_what_is_refused_and_escapes_what_it_shows():
    finding = Finding(stack="data", resource="Database", rule="x", message="<b>bad</b>", gate="slipway")
    text = page(planned(changed(SOUND, "data/Database", DatabaseName="another"), SOUND, findings=(finding,)))
    assert "Refused" in text
    assert "&lt;b&gt;bad&lt;/b&gt;" in text
    assert "holds data" in text


def test_another_file_is_compared_with(tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text(SMALL)
    baseline = declared(str(other), tmp_path / "slipway.yaml", "prod", Inputs())
    assert baseline.label == str(other)
    assert {stack.name for stack in baseline.stacks} >= {"small-prod-foundation"}
    assert declared(str(other), tmp_path / "slipway.yaml", "dev", Inputs()).stacks == ()


def test_a_git_reference_is_compared_with(tmp_path: Path):
    file = tmp_path / "slipway.yaml"
    file.write_text(SMALL)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    file.write_text("slipway: 2\n")
    baseline = declared("HEAD", file, "prod", Inputs())
    assert baseline.label == "slipway.yaml at HEAD"
    assert baseline.stacks
    with pytest.raises(InvalidRequest, match="neither a file nor a git reference"):
        declared("nowhere", file, "prod", Inputs())
    with pytest.raises(InvalidRequest, match="neither a file nor a git reference"):
        declared("--output=/tmp/x", file, "prod", Inputs())


class CloudFormation:
    """What `deployed` asks of AWS."""

    def __init__(self, stacks: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self.stacks, self.tags = stacks, tags

    def client(self, service: str, region_name: str) -> "CloudFormation":
        assert service == "cloudformation"
        return self if region_name == "us-east-1" else CloudFormation({}, {})

    def get_paginator(self, _: str) -> "CloudFormation":
        return self

    def paginate(self) -> list[dict[str, Any]]:
        tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        return [{"Stacks": [{"StackName": name, "Tags": tags} for name in self.stacks]}]

    def get_template(self, **asked: str) -> dict[str, Any]:
        assert asked["TemplateStage"] == "Original"
        return {"TemplateBody": self.stacks[asked["StackName"]]}


def test_the_deployed_stacks_are_compared_with_those_that_are_gone_among_them():
    prefix = site().names.prefix
    old = {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}
    stacks = {f"{prefix}-data": SOUND.stacks[0].template, f"{prefix}-extra": old, "other-data": old}
    baseline = deployed(CloudFormation(stacks, {"ManagedBy": "slipway"}), SOUND)
    assert [(stack.part, stack.name) for stack in baseline.stacks] == [
        ("data", f"{prefix}-data"),
        ("extra", f"{prefix}-extra"),
    ]
    plan = decided(drafted(SOUND, Comparison(baseline=baseline)), ())
    assert [(change.place, change.action) for change in plan.changes] == [("extra/Bucket", "destroy")]


def test_deployed_stacks_that_cannot_be_read_stop_the_plan():
    from botocore.exceptions import NoCredentialsError

    class Refusing(CloudFormation):
        def paginate(self) -> list[dict[str, Any]]:
            raise NoCredentialsError

    class Session:
        def client(self, service: str, region_name: str) -> CloudFormation:
            return Refusing({}, {})

    with pytest.raises(Unavailable, match="--offline plans without it"):
        deployed(Session(), SOUND)


def test_a_manifest_that_does_not_hold_is_refused(tmp_path: Path):
    (tmp_path / "slipway.yaml").write_text(SMALL + "recovery: {objectives: {rpo: 1m, rto: 1m}}\n")
    command = [sys.executable, "-m", "slipway", "plan", "prod", "--offline"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the objective is 1m" in done.stderr


def test_serving_never_imports_what_planning_needs():
    program = (
        "import sys, slipway.cli.main, slipway.app.lifecycle, slipway.app.assembly;"
        "print([name for name in ('aws_cdk', 'jsii', 'cdk_nag', 'cfnlint', 'slipway.infra', 'slipway.operations')"
        " if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "[]\n"
