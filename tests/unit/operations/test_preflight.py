"""Preflight over an account that is made up: what passes, what refuses, and what may not be asked."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from slipway.operations.preflight import CHECKS, Account, Preflight, preflight, skipped
from tests.infra.templates import assembled, site

NETWORK = assembled("foundation", Vpc={"Type": "AWS::EC2::VPC"}, Address={"Type": "AWS::EC2::EIP"})
FRESH: dict[str, Any] = {"account": "123456789012", "stacks": {}, "vpcs": 1, "addresses": 0, "bootstrap": True}


class Session:
    """Answers what preflight asks; `refuse` are operations that answer with an error."""

    def __init__(self, state: dict[str, Any], refuse: dict[str, Exception] | None = None) -> None:
        self.state, self.refuse = {**FRESH, **state}, refuse or {}

    def client(self, service: str, region_name: str) -> "Session":
        return self

    def __getattribute__(self, name: str) -> Any:
        if name in ("state", "refuse", "client") or name.startswith("_"):
            return object.__getattribute__(self, name)
        if name in self.refuse:

            def refused(*_: Any, **__: Any) -> Any:
                raise self.refuse[name]

            return refused
        return object.__getattribute__(self, name)

    def get_caller_identity(self) -> dict[str, Any]:
        return {"Account": self.state["account"]}

    def describe_stacks(self, **asked: str) -> dict[str, Any]:
        if not self.state["bootstrap"]:
            raise ClientError({"Error": {"Code": "ValidationError"}}, "DescribeStacks")
        return {"Stacks": [asked]}

    def get_paginator(self, _: str) -> "Session":
        return self

    def paginate(self) -> list[dict[str, Any]]:
        tagged = [
            {"StackName": name, "Tags": [{"Key": "ManagedBy", "Value": owner}]}
            for name, owner in self.state["stacks"].items()
        ]
        return [{"Stacks": tagged}]

    def describe_vpcs(self) -> dict[str, Any]:
        return {"Vpcs": [{}] * self.state["vpcs"]}

    def describe_addresses(self) -> dict[str, Any]:
        return {"Addresses": [{}] * self.state["addresses"]}

    def get_service_quota(self, **_: str) -> dict[str, Any]:
        return {"Quota": {"Value": 5.0}}


def asked(refuse: dict[str, Exception] | None = None, **state: Any) -> dict[str, list[Preflight]]:
    found: dict[str, list[Preflight]] = {check: [] for check in CHECKS}
    for each in preflight(Account(Session(state, refuse)), NETWORK, frozenset()):
        found[each.check].append(each)
    return found


def states(found: list[Preflight]) -> set[str]:
    return {each.state for each in found}


def test_an_account_with_room_passes_every_check():
    assert {state for found in asked().values() for state in states(found)} == {"passed"}


@pytest.mark.parametrize(
    ("check", "state"),
    [
        ("bootstrap", {"bootstrap": False}),
        ("quotas", {"vpcs": 5}),
        ("quotas", {"addresses": 5}),
        ("names", {"stacks": {site().names.stack("foundation"): "somebody"}}),
    ],
)
def test_what_a_deploy_would_run_into_fails(check: str, state: dict[str, Any]):
    assert "failed" in states(asked(**state)[check])


def test_our_own_stacks_are_no_clash():
    assert states(asked(stacks={site().names.stack("foundation"): "slipway"})["names"]) == {"passed"}


def test_what_may_not_be_asked_is_skipped_with_the_answer():
    denied = ClientError({"Error": {"Code": "AccessDenied"}}, "GetServiceQuota")
    [quota] = asked({"get_service_quota": denied})["quotas"]
    assert (quota.state, quota.said) == ("skipped", "skipped, because AWS answered AccessDenied")
    away = EndpointConnectionError(endpoint_url="x")
    [caller] = asked({"get_caller_identity": away})["credentials"]
    assert caller.said == "skipped, because AWS cannot be asked: EndpointConnectionError"


def test_without_credentials_every_check_says_why_it_was_not_asked():
    found = skipped("there are no credentials for AWS")
    assert tuple(each.check for each in found) == CHECKS
    assert {(each.state, each.said) for each in found} == {
        ("skipped", "skipped, because there are no credentials for AWS")
    }
