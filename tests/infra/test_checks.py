"""The gates over a synthesis: what cdk-nag and cfn-lint say becomes findings, and which reasons accept them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from slipway.infra.app import Assembly, Synthesis, new_app, template_of
from slipway.infra.checks import check, lint, nag, refused
from slipway.infra.lint_cache import LintCache, Match
from slipway.infra.linting import helpers, lint_all, lint_one
from slipway.infra.reasons import accept
from slipway.infra.stacks.stack import SiteStack
from tests.infra.templates import assembled, bucket, changed, site, table


def synthesis(folder: Any, make: Any) -> Synthesis:
    """A stack `data` that holds what `make` makes."""
    app = new_app(str(folder))
    stack = SiteStack(app, site(), "data", description="A stack of a test.")
    make(stack)
    app.synth()
    return Synthesis(app, Assembly(site(), (template_of(stack, folder),)))


def grant(stack: SiteStack) -> iam.CfnRole:
    statements = [
        {"Sid": "Files", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x/*"},
        {"Sid": "Lists", "Effect": "Allow", "Action": "s3:List*", "Resource": "arn:aws:s3:::x"},
    ]
    trusted = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}
    return iam.CfnRole(
        stack,
        "Role",
        assume_role_policy_document={"Version": "2012-10-17", "Statement": [trusted]},
        policies=[
            iam.CfnRole.PolicyProperty(
                policy_name="own", policy_document={"Version": "2012-10-17", "Statement": statements}
            )
        ],
    )


def test_a_finding_of_nag_names_the_resource_and_a_reason_accepts_it(tmp_path: Any):
    def make(stack: SiteStack) -> None:
        s3.CfnBucket(stack, "Open")
        accept(s3.CfnBucket(stack, "Logs"), {"AwsSolutions-S1": "it holds the logs of the others"})

    found = {(each.place, each.rule): each for each in nag(synthesis(tmp_path, make))}
    assert found["data/Open", "AwsSolutions-S1"].refused
    assert found["data/Logs", "AwsSolutions-S1"].accepted == "it holds the logs of the others"
    assert found["data/Logs", "AwsSolutions-S10"].refused


@pytest.mark.parametrize(
    ("reasons", "accepted"),
    [
        ({}, False),
        ({"Files": "each tenant has a prefix"}, False),
        ({"AwsSolutions-IAM5": "all of it"}, False),
        ({"Files": "each tenant has a prefix", "Lists": "both kinds of list"}, True),
    ],
)
def test_wildcards_are_accepted_by_the_sid_of_every_statement(tmp_path: Any, reasons: dict[str, str], accepted: bool):
    found = list(nag(synthesis(tmp_path, lambda stack: accept(grant(stack), reasons))))
    wild = [each for each in found if each.rule == "AwsSolutions-IAM5"]
    assert len(wild) == 2
    assert all(each.refused is not accepted for each in wild)


def test_all_gates_give_one_sorted_list_and_print_nothing(tmp_path: Any, capfd: pytest.CaptureFixture[str]):
    def make(stack: SiteStack) -> None:
        grant(stack)
        dynamodb.CfnTable(
            stack, "Table", key_schema=[{"attributeName": "id", "keyType": "HASH"}], billing_mode="PAY_PER_REQUESTS"
        )

    found = check(synthesis(tmp_path, make))
    assert list(found) == sorted(found)
    rules = {(each.gate, each.rule) for each in refused(found)}
    assert {("cdk-nag", "AwsSolutions-IAM5"), ("slipway", "wildcard"), ("cfn-lint", "E3030")} <= rules
    assert ("slipway", "enum") not in rules  # cfn-lint said it already
    assert capfd.readouterr().err == ""


def test_helpers_say_what_this_process_says():
    texts = {
        "sound": assembled(Bucket=bucket()).stacks[0].text,
        "faulty": changed(assembled(Table=table()), "data/Table", KeySchem=[]).stacks[0].text,
        "none": "{",
    }
    templates = [(name, text, "us-east-1") for name, text in texts.items()]
    with helpers(1) as two:
        by_helper = lint_all(templates, two)
        direct = {name: two[0].lint(text, region) for name, text, region in templates}
    alone = {name: lint_one(text, region) for name, text, region in templates}
    assert by_helper == direct == alone
    assert [match.rule for match in alone["faulty"]] == ["E3002"]
    assert alone["none"]


def test_a_helper_that_died_is_replaced_by_this_process():
    templates = [
        (str(number), json.dumps({"Resources": {"A": {"Type": "AWS::No::Type"}}}), "us-east-1") for number in range(3)
    ]
    with helpers(1) as dead:
        dead[0].process.kill()
        dead[0].process.wait()
        found = lint_all(templates, dead)
    assert all([match.rule for match in matches] == ["E3006"] for matches in found.values())
    assert len(found) == 3


def test_a_reason_accepts_a_rule_of_cfn_lint_too():
    odd = {"Type": "AWS::No::Type", "Metadata": {"slipway:reasons": {"E3006": "new since"}}}
    [finding] = lint(assembled(Odd=odd))
    assert (finding.rule, finding.accepted, finding.refused) == ("E3006", "new since", False)


FAULTY = json.dumps({"Resources": {"A": {"Type": "AWS::No::Type"}}})


def test_a_template_is_linted_once_and_remembered_by_its_text_and_region(tmp_path: Path):
    cache = LintCache(tmp_path / "cache")
    first = lint_all([("first", FAULTY, "us-east-1")], cache=cache)["first"]
    assert first[0].rule == "E3006"
    assert cache.recalled(FAULTY, "us-east-1") == first
    assert cache.recalled(FAULTY, "us-west-2") is None
    assert cache.recalled(FAULTY + " ", "us-east-1") is None

    told = (Match("E0001", "told", ("Resources", "A")),)
    cache.keep(FAULTY, "us-east-1", told)
    found = lint_all([("again", FAULTY, "us-east-1"), ("elsewhere", FAULTY, "us-west-2")], cache=cache)
    assert found["again"] == told
    assert found["elsewhere"][0].rule == "E3006"


def test_another_version_of_cfn_lint_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = LintCache(tmp_path)
    cache.keep(FAULTY, "us-east-1", ())
    monkeypatch.setattr("slipway.infra.lint_cache.version", lambda _: "99")
    assert cache.recalled(FAULTY, "us-east-1") is None


@pytest.mark.parametrize("broken", ["", "[", "{}", '[{"rule": 1}]', "[1]", "\udcff"])
def test_what_cannot_be_read_is_found_out_again(tmp_path: Path, broken: str):
    cache = LintCache(tmp_path)
    found = lint_all([("first", FAULTY, "us-east-1")], cache=cache)
    (file,) = tmp_path.iterdir()
    file.write_bytes(broken.encode("utf-8", "surrogateescape"))
    assert lint_all([("first", FAULTY, "us-east-1")], cache=cache) == found


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    cache = LintCache(tmp_path / "file" / "cache")
    assert lint_all([("first", FAULTY, "us-east-1")], cache=cache)["first"]


def test_of_more_than_a_thousand_answers_the_oldest_go(tmp_path: Path):
    cache = LintCache(tmp_path)
    for number in range(1003):
        path = tmp_path / f"{number}.json"
        path.touch()
        os.utime(path, (number, number))
    cache.prune()
    left = sorted(int(path.stem) for path in tmp_path.iterdir())
    assert left == list(range(3, 1003))
