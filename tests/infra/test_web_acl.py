"""The firewall: managed rules, a bound on what one address may ask, and room for prompts."""

import re
from typing import Any

import pytest

from slipway.infra.app import Resource
from tests.infra.edge_stacks import BALANCER, resources
from tests.infra.synthesis import of_type, only

ACL = "AWS::WAFv2::WebACL"
MANAGED = {
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
    "AWSManagedRulesAmazonIpReputationList",
}


def rules(found: dict[str, Resource]) -> dict[str, dict[str, Any]]:
    return {rule["Name"]: rule for rule in only(found, ACL)["Properties"]["Rules"]}


def api(changes: dict[str, Any] | None = None) -> dict[str, Resource]:
    return resources("rag-assistant", "prod", "edge", changes)


def console(changes: dict[str, Any] | None = None) -> dict[str, Resource]:
    return resources("agent-gateways", "prod", "edge-global", changes)


@pytest.mark.requirement("SEC-05", "T")
@pytest.mark.parametrize("found", [api, console])
def test_managed_rules_stand_before_the_api_and_the_console(found: Any) -> None:
    have = rules(found())
    assert set(have) == MANAGED | {"Rate", "BodiesOfOtherRoutes"}
    for name in MANAGED:
        assert have[name]["OverrideAction"] == {"None": {}}
        assert have[name]["Statement"]["ManagedRuleGroupStatement"]["VendorName"] == "AWS"
    assert sorted(rule["Priority"] for rule in have.values()) == list(range(len(have)))


@pytest.mark.requirement("SEC-05", "T")
def test_one_address_may_ask_as_often_as_the_manifest_says() -> None:
    def rate(found: dict[str, Resource]) -> tuple[int, int]:
        rule = rules(found)["Rate"]
        assert "Block" in rule["Action"]
        statement = rule["Statement"]["RateBasedStatement"]
        assert statement["AggregateKeyType"] == "IP"
        return statement["Limit"], statement["EvaluationWindowSec"]

    assert rate(api()) == (2000, 300)
    assert rate(api({"edge": {"waf_rate": 300}})) == (300, 300)
    assert rate(console({"edge": {"waf_rate": 700}})) == (700, 300)


@pytest.mark.requirement("SEC-05", "T")
def test_it_stands_where_requests_come_in() -> None:
    found = api()
    association = only(found, "AWS::WAFv2::WebACLAssociation")["Properties"]
    assert "/restapis/" in str(association["ResourceArn"])
    assert "/stages/live" in str(association["ResourceArn"])
    on_balancer = only(resources("agent-gateways", "prod", "edge"), "AWS::WAFv2::WebACLAssociation")["Properties"]
    assert on_balancer["ResourceArn"] == BALANCER
    distribution = only(console(), "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    assert console()[distribution["WebACLId"]["Fn::GetAtt"][0]]["Properties"]["Scope"] == "CLOUDFRONT"


@pytest.mark.requirement("SEC-05", "T")
def test_dev_has_none_and_says_so() -> None:
    found = resources("rag-assistant", "dev", "edge")
    assert of_type(found, ACL) == []
    assert only(found, "AWS::ApiGateway::Stage")["Metadata"]["slipway:reasons"]["AwsSolutions-APIG3"]
    assert of_type(console({"edge": {"waf": False}}), ACL) == []


@pytest.mark.requirement("NET-11", "T")
def test_rules_over_bodies_count_and_refuse_everywhere_but_where_prompts_are_written() -> None:
    have = rules(api())
    overrides = have["AWSManagedRulesCommonRuleSet"]["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"]
    assert {each["Name"] for each in overrides} == {
        "SizeRestrictions_BODY",
        "CrossSiteScripting_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "EC2MetaDataSSRF_BODY",
    }
    assert all(each["ActionToUse"] == {"Count": {}} for each in overrides)
    behind = have["BodiesOfOtherRoutes"]
    assert behind["Action"] == {"Block": {}}
    assert behind["Priority"] > have["AWSManagedRulesCommonRuleSet"]["Priority"]
    labelled, others = behind["Statement"]["AndStatement"]["Statements"]
    labels = {each["LabelMatchStatement"]["Key"].rpartition(":")[2] for each in labelled["OrStatement"]["Statements"]}
    assert labels == {each["Name"].replace("_BODY", "_Body") for each in overrides}
    expression = others["NotStatement"]["Statement"]["RegexMatchStatement"]["RegexString"]
    for path in (
        "/v1/chat",
        "/v1/chat/completions",
        "/live/v1/messages",
        "/v1/documents?x=1",
        "/v1/sessions/a/messages",
    ):
        assert re.search(expression, path)
    for path in ("/v1/admin/keys", "/v1/chats", "/oauth2/token", "/x/y/v1/chat", "/v1/plans/keys/v1/chat"):
        assert not re.search(expression, path)


@pytest.mark.requirement("NET-11", "T")
def test_the_console_takes_no_prompts_so_nothing_is_let_through_there() -> None:
    assert "OrStatement" in rules(console())["BodiesOfOtherRoutes"]["Statement"]


def test_credentials_are_kept_out_of_the_firewalls_log() -> None:
    logging = only(api(), "AWS::WAFv2::LoggingConfiguration")["Properties"]
    redacted = {each["SingleHeader"]["Name"] for each in logging["RedactedFields"]}
    assert redacted == {"authorization", "cookie", "x-api-key"}
    acl = only(api(), ACL)["Properties"]
    for visible in (acl, *acl["Rules"]):
        assert visible["VisibilityConfig"]["SampledRequestsEnabled"] is False
