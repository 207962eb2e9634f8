"""The pre-token hook: the tenant and the roles come from the pool alone, and who has none gets no token."""

import subprocess
import sys
from typing import Any

import pytest

from slipway.base.callers import ROLE_SCOPES, Role, Scope
from slipway.base.errors import Forbidden, InvalidRequest, Misconfigured
from slipway.functions import clients, pre_token
from slipway.functions.environment import Environment

ENVIRONMENT = Environment({"TENANT_CLAIM": "merchant_id", "CLIENT_TENANTS": "/slipway/prod/x/identity/clients"})
CLIENT = "1example23456789abcdefghij"


def event(
    source: str = "TokenGeneration_HostedAuth",
    *,
    tenant: str | None = "acme",
    groups: tuple[str, ...] = ("member",),
    scopes: tuple[str, ...] = ("openid", "email"),
    **request: Any,
) -> dict[str, Any]:
    """As Cognito sends it (version 3)."""
    attributes = {"sub": "0000", "email": "ada@example.com", "cognito:user_status": "CONFIRMED"}
    if tenant is not None:
        attributes["custom:tenant"] = tenant
    return {
        "version": "3",
        "triggerSource": source,
        "region": "us-east-1",
        "userPoolId": "us-east-1_EXAMPLE",
        "userName": "ada",
        "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": CLIENT},
        "request": {
            "userAttributes": attributes,
            "groupConfiguration": {"groupsToOverride": list(groups), "iamRolesToOverride": []},
            "scopes": list(scopes),
            **request,
        },
        "response": {"claimsAndScopeOverrideDetails": None},
    }


def details(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pre_token.answered(given, ENVIRONMENT)["response"]["claimsAndScopeOverrideDetails"]
    return found


@pytest.mark.requirement("SEC-02", "T")
def test_both_tokens_carry_the_tenant_under_the_manifests_claim() -> None:
    found = details(event())
    for token in ("idTokenGeneration", "accessTokenGeneration"):
        assert found[token]["claimsToAddOrOverride"]["merchant_id"] == "acme"
    other = Environment({"TENANT_CLAIM": "org"})
    claims = pre_token.answered(event(), other)["response"]["claimsAndScopeOverrideDetails"]["idTokenGeneration"]
    assert claims["claimsToAddOrOverride"]["org"] == "acme"
    assert "merchant_id" not in claims["claimsToAddOrOverride"]


@pytest.mark.parametrize("tenant", [None, "", "a\nb", "\x00", "x" * 256])
def test_who_has_no_tenant_gets_no_token(tenant: str | None) -> None:
    with pytest.raises(Forbidden, match="no tenant"):
        pre_token.answered(event(tenant=tenant), ENVIRONMENT)


def test_nothing_that_the_request_brings_along_names_a_tenant() -> None:
    found = details(event(clientMetadata={"merchant_id": "other", "tenant": "other", "custom:tenant": "other"}))
    assert found["accessTokenGeneration"]["claimsToAddOrOverride"]["merchant_id"] == "acme"
    with pytest.raises(Forbidden):
        pre_token.answered(event(tenant=None, clientMetadata={"custom:tenant": "other"}), ENVIRONMENT)


@pytest.mark.parametrize(
    ("groups", "roles"),
    [
        (("member",), "member"),
        (("platform-admin", "member"), "platform_admin member"),
        (("admin", "admin"), "tenant_admin"),
        (("tenant_admin",), "tenant_admin"),
        (("strangers",), ""),
        ((), ""),
    ],
)
def test_groups_are_roles_and_strange_ones_are_none(groups: tuple[str, ...], roles: str) -> None:
    claims = details(event(groups=groups))["accessTokenGeneration"]["claimsToAddOrOverride"]
    assert claims["roles"] == roles
    assert claims["aud"] == CLIENT


def test_a_token_has_the_scopes_of_the_roles() -> None:
    found = details(event(groups=("member",)))["accessTokenGeneration"]
    assert found["scopesToAdd"] == sorted(f"slipway/{scope.value}" for scope in ROLE_SCOPES[Role.MEMBER])
    assert found["scopesToSuppress"] == []
    assert details(event(groups=()))["accessTokenGeneration"]["scopesToAdd"] == []


def test_scopes_that_were_asked_for_narrow_and_never_widen() -> None:
    asked = ("openid", "slipway/chat:use", "slipway/admin:tenants", "slipway/made:up")
    found = details(event(groups=("member",), scopes=asked))["accessTokenGeneration"]
    assert found["scopesToAdd"] == []
    assert found["scopesToSuppress"] == ["slipway/admin:tenants", "slipway/made:up"]


def machine(**request: Any) -> dict[str, Any]:
    return event("TokenGeneration_ClientCredentials", tenant=None, groups=(), scopes=(), **request)


def test_a_program_acts_for_the_tenant_that_an_operator_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(clients, "parameter_of", lambda name: asked.append(name) or "acme")
    found = details(machine())["accessTokenGeneration"]
    assert asked == [f"/slipway/prod/x/identity/clients/{CLIENT}"]
    assert found["claimsToAddOrOverride"] == {"merchant_id": "acme", "roles": "service", "aud": CLIENT}
    assert f"slipway/{Scope.USAGE_READ.value}" in found["scopesToAdd"]


def test_a_program_without_a_tenant_or_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "parameter_of", lambda name: None)
    with pytest.raises(Forbidden, match="an operator writes"):
        pre_token.answered(machine(), ENVIRONMENT)
    strange = machine()
    strange["callerContext"]["clientId"] = "../secrets/x"
    with pytest.raises(InvalidRequest, match="names no client"):
        pre_token.answered(strange, ENVIRONMENT)


@pytest.mark.parametrize("source", ["PostConfirmation_ConfirmSignUp", None, 3])
def test_another_event_is_refused(source: Any) -> None:
    with pytest.raises(InvalidRequest, match="no event of a token"):
        pre_token.answered(event(source), ENVIRONMENT)


def test_a_function_without_its_variable_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENANT_CLAIM", raising=False)
    with pytest.raises(Misconfigured, match="TENANT_CLAIM"):
        pre_token.handler(event(), None)


@pytest.mark.requirement("CMP-07", "T")
def test_the_hook_imports_nothing_that_a_cold_start_would_wait_for() -> None:
    code = "import sys, slipway.functions.pre_token; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"boto3", "botocore", "pydantic", "fastapi", "httpx", "numpy", "asyncio", "slipway.manifest"}
