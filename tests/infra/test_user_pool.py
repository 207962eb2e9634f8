"""Sign-in: the user pool, its clients and groups, what their tokens carry, and AWS credentials for those signed in."""

import json
from typing import Any

import pytest

from slipway.app.foundation import issuers_of
from slipway.base.callers import Scope
from slipway.base.errors import Misconfigured
from slipway.functions import pre_token
from slipway.infra.app import Resource
from slipway.runtime.authentication.issuers import OWN_POOL_ROLES, SCOPE_PREFIX
from slipway.runtime.settings import Settings
from tests.infra.edge_stacks import resources
from tests.infra.synthesis import manifest_of, of_type, only

POOL = "AWS::Cognito::UserPool"
CLIENT = "AWS::Cognito::UserPoolClient"
API_SCOPES = sorted(f"slipway/{scope.value}" for scope in Scope)


def access(changes: dict[str, Any] | None = None, blueprint: str = "rag-assistant") -> dict[str, Resource]:
    return resources(blueprint, "prod", "access", changes)


def pool(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = only(access(changes), POOL)["Properties"]
    return found


def client(name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    [found] = [
        each["Properties"] for each in of_type(access(changes), CLIENT) if each["Properties"]["ClientName"] == name
    ]
    properties: dict[str, Any] = found
    return properties


@pytest.mark.requirement("SEC-01", "T")
def test_pages_sign_in_by_the_code_flow_without_a_secret() -> None:
    console = client("console")
    assert console["AllowedOAuthFlows"] == ["code"]
    assert console["GenerateSecret"] is False
    assert console["CallbackURLs"] == console["LogoutURLs"] == ["https://shop.example.com/signed-in"]
    assert console["AllowedOAuthScopes"] == ["openid", "email", "profile", *API_SCOPES]
    elsewhere = {"identity": {"user_pool": {"callbacks": ["https://other.example.com/back"]}}, "edge": {"cdn": True}}
    assert client("console", elsewhere)["CallbackURLs"] == [
        "https://console.assistant.example.com/",
        "https://other.example.com/back",
    ]


@pytest.mark.requirement("SEC-01", "T")
def test_programs_have_a_secret_that_lies_in_secrets_manager_alone() -> None:
    found = access()
    program = client("checkout")
    assert (program["AllowedOAuthFlows"], program["GenerateSecret"]) == (["client_credentials"], True)
    assert program["AllowedOAuthScopes"] == API_SCOPES
    secret = only(found, "AWS::SecretsManager::Secret")["Properties"]
    assert secret["Name"] == "/slipway/prod/rag-assistant/secrets/clients/checkout"
    parts = secret["SecretString"]["Fn::Join"][1]
    [taken] = [each["Fn::GetAtt"] for each in parts if isinstance(each, dict) and "Fn::GetAtt" in each]
    assert found[taken[0]]["Properties"]["ClientName"] == "checkout"
    assert taken[1] == "ClientSecret"
    # Nowhere else: no output, parameter or variable of a function.
    others = {name: each for name, each in found.items() if each["Type"] != "AWS::SecretsManager::Secret"}
    assert "ClientSecret" not in json.dumps(others)


@pytest.mark.requirement("SEC-01", "T")
def test_clients_are_those_of_the_manifest() -> None:
    changes = {"identity": {"user_pool": {"machine_clients": ["reports", "imports"], "callbacks": []}}}
    names = {each["Properties"]["ClientName"] for each in of_type(access(changes), CLIENT)}
    assert names == {"reports", "imports"}


@pytest.mark.requirement("SEC-01", "T")
def test_the_second_factor_is_the_manifests() -> None:
    assert pool()["MfaConfiguration"] == "ON"
    assert pool()["EnabledMfas"] == ["SOFTWARE_TOKEN_MFA"]
    assert pool({"identity": {"mfa": "optional"}})["MfaConfiguration"] == "OPTIONAL"
    off = pool({"identity": {"mfa": "off"}})
    assert off["MfaConfiguration"] == "OFF"
    assert "EnabledMfas" not in off


@pytest.mark.requirement("SEC-01", "T")
def test_threat_protection_is_enforced_unless_the_manifest_turns_it_off() -> None:
    assert pool()["UserPoolAddOns"] == {"AdvancedSecurityMode": "ENFORCED"}
    assert pool()["UserPoolTier"] == "PLUS"
    off = pool({"identity": {"user_pool": {"advanced_security": False}}})
    assert "UserPoolAddOns" not in off
    assert off["UserPoolTier"] == "ESSENTIALS"


@pytest.mark.requirement("SEC-01", "T")
def test_passwords_are_long_and_people_are_made_by_administrators() -> None:
    policy = pool()["Policies"]["PasswordPolicy"]
    assert policy["MinimumLength"] == 15
    assert policy["PasswordHistorySize"] == 5
    assert all(policy[f"Require{kind}"] for kind in ("Lowercase", "Uppercase", "Numbers", "Symbols"))
    assert pool()["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}


@pytest.mark.requirement("SEC-01", "T")
def test_tokens_are_good_for_as_long_as_the_manifest_says() -> None:
    def times(changes: dict[str, Any] | None = None) -> tuple[int, int, int]:
        console = client("console", changes)
        assert console["TokenValidityUnits"] == {
            "AccessToken": "seconds",
            "IdToken": "seconds",
            "RefreshToken": "minutes",
        }
        return console["AccessTokenValidity"], console["IdTokenValidity"], console["RefreshTokenValidity"]

    assert times() == (3600, 3600, 30 * 24 * 60)
    shorter = {"identity": {"user_pool": {"access_token": "15m", "refresh_token": "12h"}}}
    assert times(shorter) == (900, 900, 12 * 60)


@pytest.mark.requirement("SEC-01", "T")
def test_groups_are_the_manifests_in_their_order() -> None:
    def groups(changes: dict[str, Any] | None = None) -> list[tuple[int, str]]:
        found = [each["Properties"] for each in of_type(access(changes), "AWS::Cognito::UserPoolGroup")]
        return sorted((each["Precedence"], each["GroupName"]) for each in found)

    assert groups() == [(0, "platform-admin"), (1, "admin"), (2, "member")]
    assert groups({"identity": {"groups": ["member", "service"]}}) == [(0, "member"), (1, "service")]


@pytest.mark.requirement("SEC-01", "T")
def test_an_identity_pool_gives_each_group_a_role_of_its_own_and_strangers_none() -> None:
    found = access(blueprint="agent-gateways", changes={})
    identities = only(found, "AWS::Cognito::IdentityPool")["Properties"]
    assert identities["AllowUnauthenticatedIdentities"] is identities["AllowClassicFlow"] is False
    roles = {
        each["Properties"]["GroupName"]: each["Properties"]["RoleArn"]["Fn::GetAtt"][0]
        for each in of_type(found, "AWS::Cognito::UserPoolGroup")
    }
    assert set(roles) == {"admin", "member"}
    assert len(set(roles.values())) == 2
    for role in roles.values():
        trust = json.dumps(found[role]["Properties"]["AssumeRolePolicyDocument"])
        assert "sts:AssumeRoleWithWebIdentity" in trust
        assert '"authenticated"' in trust
    [mapping] = only(found, "AWS::Cognito::IdentityPoolRoleAttachment")["Properties"]["RoleMappings"].values()
    assert (mapping["Type"], mapping["AmbiguousRoleResolution"]) == ("Token", "Deny")
    assert of_type(access(), "AWS::Cognito::IdentityPool") == []


@pytest.mark.requirement("SEC-01", "T")
def test_the_resource_server_has_the_platforms_scopes() -> None:
    server = only(access(), "AWS::Cognito::UserPoolResourceServer")["Properties"]
    assert [each["ScopeName"] for each in server["Scopes"]] == sorted(scope.value for scope in Scope)
    assert all(each["ScopeDescription"] for each in server["Scopes"])


@pytest.mark.requirement("SEC-02", "T")
def test_the_pool_asks_the_hook_before_each_token_and_nobody_else_may_call_it() -> None:
    found = access()
    [name] = [key for key, each in found.items() if each["Type"] == "AWS::Lambda::Function"]
    hook = only(found, POOL)["Properties"]["LambdaConfig"]["PreTokenGenerationConfig"]
    assert hook == {"LambdaArn": {"Fn::GetAtt": [name, "Arn"]}, "LambdaVersion": "V3_0"}
    permission = only(found, "AWS::Lambda::Permission")["Properties"]
    assert permission["Principal"] == "cognito-idp.amazonaws.com"
    assert found[permission["SourceArn"]["Fn::GetAtt"][0]]["Type"] == POOL


@pytest.mark.requirement("SEC-02", "T")
def test_the_hook_knows_the_manifests_claim_and_no_client_may_write_the_tenant() -> None:
    def claim(changes: dict[str, Any] | None = None) -> str:
        function = only(access(changes), "AWS::Lambda::Function")["Properties"]
        found: str = function["Environment"]["Variables"]["TENANT_CLAIM"]
        return found

    assert claim() == "merchant_id"
    assert claim({"tenant_claim": "org"}) == "org"
    assert client("console")["WriteAttributes"] == ["email"]


def test_the_pool_outlives_a_deletion() -> None:
    resource = only(access(), POOL)
    assert (resource["DeletionPolicy"], resource["Properties"]["DeletionProtection"]) == ("Retain", "ACTIVE")


def test_the_platform_understands_the_scopes_claims_and_groups_that_the_pool_writes() -> None:
    assert f"{pre_token.RESOURCE_SERVER}/" == SCOPE_PREFIX
    assert {role.value for role in pre_token.GROUP_ROLES.values()} == {role.value for role in OWN_POOL_ROLES.values()}
    settings = Settings(user_pool_issuer="https://cognito.example/pool", user_pool_audiences="console, checkout")
    [config] = issuers_of(manifest_of("rag-assistant", "prod"), settings)
    assert (config.audiences, config.tenant_claim) == ({"console", "checkout"}, "merchant_id")
    assert (config.roles_claim, config.ours) == (pre_token.ROLES_CLAIM, True)
    with pytest.raises(Misconfigured, match="names no client"):
        issuers_of(manifest_of("rag-assistant", "prod"), Settings(user_pool_issuer="https://cognito.example/pool"))
