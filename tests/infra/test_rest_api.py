"""API Gateway: routes, tokens, schemas, CORS, throttle, usage plans, and the way to the private load balancer."""

import json
import re
from typing import Any

import jsonschema
import pytest

from slipway.infra.api_document import api_routes, document, draft_4
from slipway.infra.app import Resource
from slipway.infra.topology import topology_of
from tests.infra.edge_stacks import BALANCER, SUBNETS, changed, resources
from tests.infra.synthesis import manifest_of, mutated, of_type, only

METHOD = "AWS::ApiGateway::Method"
STAGE = "AWS::ApiGateway::Stage"


def edge(changes: dict[str, Any] | None = None) -> dict[str, Resource]:
    return resources("rag-assistant", "prod", "edge", changes)


def paths(found: dict[str, Resource]) -> dict[str, str]:
    """Paths by the logical id of their resource."""

    def whole(reference: Any) -> str:
        if "Ref" not in reference:
            return ""
        properties = found[reference["Ref"]]["Properties"]
        return f"{whole(properties['ParentId'])}/{properties['PathPart']}"

    return {name: whole({"Ref": name}) for name in found if found[name]["Type"] == "AWS::ApiGateway::Resource"}


def methods(found: dict[str, Resource]) -> dict[tuple[str, str], dict[str, Any]]:
    by_id = paths(found)
    return {
        (each["Properties"]["HttpMethod"], by_id[each["Properties"]["ResourceId"]["Ref"]]): each["Properties"]
        for each in of_type(found, METHOD)
    }


@pytest.mark.requirement("API-01", "T")
def test_every_route_of_the_catalog_is_a_method_and_nothing_else_is() -> None:
    found = {key for key in methods(edge()) if key[0] != "OPTIONS"}
    wanted = {
        (method.upper(), path.replace("{model}", "{model+}"))
        for path, operations in document()["paths"].items()
        for method in operations
        if not path.startswith(("/ready", "/metrics", "/objects/"))
    }
    assert found == wanted
    for path in ("/v1/chat", "/v1/documents", "/v1/sessions", "/v1/admin/keys", "/health"):
        assert path in {each for _, each in found}


@pytest.mark.requirement("API-01", "T")
def test_a_part_that_does_not_run_has_no_route() -> None:
    manifest = manifest_of("rag-assistant", "prod")
    alone = manifest.model_copy(update={"components": {"memory": manifest.component("memory")}})
    found = {route.path for route in api_routes(topology_of(alone))}
    assert "/v1/sessions" in found
    assert not any(path.startswith(("/v1/chat", "/v1/documents", "/v1/admin")) for path in found)


@pytest.mark.requirement("NET-11", "T")
def test_methods_lead_through_the_link_to_the_private_load_balancer() -> None:
    found = edge()
    link = only(found, "AWS::ApiGatewayV2::VpcLink")["Properties"]
    assert (link["SubnetIds"], link["SecurityGroupIds"]) == (list(SUBNETS), ["sg-0123456789abcdef1"])
    stage = only(found, STAGE)["Properties"]
    [name] = [key for key, each in found.items() if each["Type"] == "AWS::ApiGatewayV2::VpcLink"]
    assert stage["Variables"] == {"vpcLink": {"Ref": name}}
    for (verb, path), method in methods(found).items():
        if verb == "OPTIONS":
            continue
        integration = method["Integration"]
        assert integration["Type"] == "HTTP_PROXY"
        assert (integration["ConnectionType"], integration["IntegrationTarget"]) == ("VPC_LINK", BALANCER)
        assert integration["ConnectionId"] == "${stageVariables.vpcLink}"
        assert integration["Uri"] == f"https://assistant.example.com{path.replace('+', '')}"
        for name in integration["RequestParameters"]:
            assert "{" + name.rpartition(".")[2] in path


@pytest.mark.requirement("NET-11", "T")
def test_answers_in_pieces_have_15_minutes_and_others_29_seconds() -> None:
    found = {key: each["Integration"] for key, each in methods(edge()).items() if key[0] != "OPTIONS"}
    streamed = {path for (_, path), each in found.items() if each["ResponseTransferMode"] == "STREAM"}
    assert streamed == {
        "/v1/chat",
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/documents/{document_id}/content",
        "/v1/documents/{document_id}/events",
    }
    for (_, path), each in found.items():
        assert each["TimeoutInMillis"] == (900_000 if path in streamed else 29_000)
    # What is larger than the gateway's 10 MB goes to S3 by an address that this route gives.
    assert ("POST", "/v1/documents/uploads") in found


@pytest.mark.requirement("API-03", "T")
def test_the_stage_lets_through_what_the_manifest_says() -> None:
    def throttle(changes: dict[str, Any] | None = None) -> tuple[int, int]:
        [settings] = only(edge(changes), STAGE)["Properties"]["MethodSettings"]
        assert (settings["HttpMethod"], settings["ResourcePath"]) == ("*", "/*")
        return settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]

    assert throttle() == (1000, 2000)
    assert throttle({"edge": {"throttle": {"rate": 700, "burst": 900}}}) == (700, 900)


@pytest.mark.requirement("API-03", "T")
def test_clients_are_on_usage_plans_with_the_manifests_rates() -> None:
    def plans(changes: dict[str, Any] | None = None) -> dict[str, tuple[int, int]]:
        return {
            each["Properties"]["UsagePlanName"].removeprefix("rag-assistant-prod-"): (
                each["Properties"]["Throttle"]["RateLimit"],
                each["Properties"]["Throttle"]["BurstLimit"],
            )
            for each in of_type(edge(changes), "AWS::ApiGateway::UsagePlan")
        }

    assert plans() == {"free": (5, 10), "business": (100, 200), "clients": (1000, 2000)}
    own = {"plans": {"checkout": {"requests_per_second": 30, "burst": 40}, "default": {"requests_per_second": 2}}}
    assert plans(own) == {"free": (5, 10), "business": (100, 200), "checkout": (30, 40), "default": (2, 2)}


@pytest.mark.requirement("API-03", "T")
def test_each_client_has_a_key_that_is_its_id_on_the_plan_of_its_name() -> None:
    found = edge({"plans": {"checkout": {"requests_per_second": 30}, "default": {"requests_per_second": 2}}})
    names = {
        found[each["Properties"]["KeyId"]["Ref"]]["Properties"]["Name"]: found[
            each["Properties"]["UsagePlanId"]["Ref"]
        ]["Properties"]["UsagePlanName"]
        for each in of_type(found, "AWS::ApiGateway::UsagePlanKey")
    }
    assert names == {
        "rag-assistant-prod-console": "rag-assistant-prod-default",
        "rag-assistant-prod-checkout": "rag-assistant-prod-checkout",
    }
    for key in of_type(found, "AWS::ApiGateway::ApiKey"):
        assert "Fn::ImportValue" in key["Properties"]["Value"]


@pytest.mark.requirement("API-02", "T")
def test_a_token_of_the_pool_with_the_routes_scope_is_needed_but_for_health_and_the_issuer() -> None:
    found = edge()
    authorizer = only(found, "AWS::ApiGateway::Authorizer")["Properties"]
    assert authorizer["Type"] == "COGNITO_USER_POOLS"
    documented = document()["paths"]
    for (verb, path), method in methods(found).items():
        if verb == "OPTIONS" or path == "/health" or path.startswith(("/oauth2/", "/.well-known/")):
            assert method["AuthorizationType"] == "NONE"
            continue
        assert method["AuthorizationType"] == "COGNITO_USER_POOLS"
        scope = documented[path.replace("+", "")][verb.lower()]["x-slipway-scope"]
        assert method["AuthorizationScopes"] == [f"slipway/{scope}"]
        assert method["ApiKeyRequired"] is True


@pytest.mark.requirement("API-02", "T")
def test_without_a_pool_the_platform_checks_credentials_alone_and_says_why() -> None:
    found = edge({"identity": {"user_pool": None}})
    assert of_type(found, "AWS::ApiGateway::Authorizer") == []
    for method in of_type(found, METHOD):
        assert method["Properties"]["AuthorizationType"] == "NONE"
        assert method["Metadata"]["slipway:reasons"]["AwsSolutions-APIG4"]


@pytest.mark.requirement("API-02", "T")
def test_bodies_are_held_to_the_schemas_of_the_documented_routes() -> None:
    found = edge()
    validator = only(found, "AWS::ApiGateway::RequestValidator")["Properties"]
    assert validator["ValidateRequestBody"] is validator["ValidateRequestParameters"] is True
    models = {name: each["Properties"] for name, each in found.items() if each["Type"] == "AWS::ApiGateway::Model"}
    for (verb, path), method in methods(found).items():
        if verb == "OPTIONS":
            continue
        content = document()["paths"][path.replace("+", "")][verb.lower()].get("requestBody", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        if not reference:
            assert "RequestModels" not in method
            continue
        model = models[method["RequestModels"]["application/json"]["Ref"]]
        assert model["Name"] == reference.rpartition("/")[2]
        assert model["Schema"] == json.loads(json.dumps(draft_4(model["Name"], document()["components"]["schemas"])))


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        ("ChatRequest", {"message": "hello"}, {"message": ""}),
        ("ChatRequest", {"message": "hello", "session_id": None}, {"message": "hello", "tenant": "other"}),
        ("ChatCompletionRequest", {"model": "x", "messages": [{"role": "user", "content": "hi"}]}, {"model": "x"}),
        ("KeyRequest", {"name": "reports", "role": "member"}, {"name": "reports", "role": "king"}),
        ("EmbeddingsRequest", {"model": "x", "input": ["a"]}, {"model": "x", "input": 3}),
    ],
)
def test_schemas_in_draft_4_take_and_refuse_what_the_platform_does(
    model: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    schema = draft_4(model, document()["components"]["schemas"])
    jsonschema.Draft4Validator.check_schema(schema)
    validator = jsonschema.Draft4Validator(schema)
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)


@pytest.mark.requirement("API-02", "T")
def test_preflights_name_the_manifests_origins_and_the_console() -> None:
    def template(changes: dict[str, Any] | None = None) -> str:
        [answer] = methods(edge(changes))["OPTIONS", "/v1/chat"]["Integration"]["IntegrationResponses"]
        text: str = answer["ResponseTemplates"]["application/json"]
        return text

    assert '== "https://shop.example.com"' in template()
    with_console = template({"edge": {"cdn": True, "cors": ["https://other.example.com"]}})
    assert '== "https://console.assistant.example.com"' in with_console
    assert '== "https://other.example.com"' in with_console
    assert "shop" not in with_console
    assert not any(verb == "OPTIONS" for verb, _ in methods(edge({"edge": {"cors": []}})))


@pytest.mark.requirement("SEC-08", "T")
def test_the_domain_speaks_tls_1_3_and_the_name_that_health_checks_ask_1_2_as_well() -> None:
    def policies(changes: dict[str, Any] | None = None) -> tuple[str, str, bool]:
        found = edge(changes)
        api = only(found, "AWS::ApiGateway::RestApi")["Properties"]
        domain = only(found, "AWS::ApiGateway::DomainName")["Properties"]
        return domain["SecurityPolicy"], api["SecurityPolicy"], api["DisableExecuteApiEndpoint"]

    strict, wide = "SecurityPolicy_TLS13_1_3_2025_09", "SecurityPolicy_TLS13_1_2_PQ_2025_09"
    assert policies() == (strict, wide, False)
    assert policies({"recovery": {"failover": False}}) == (strict, strict, True)
    assert policies({"recovery": {"failover": False}, "edge": {"tls": "1.2"}}) == (wide, wide, True)


@pytest.mark.requirement("MON-06", "T")
def test_requests_are_logged_for_as_long_as_the_manifest_says_without_credentials() -> None:
    def log(changes: dict[str, Any] | None = None) -> tuple[int, str]:
        found = edge(changes)
        stage = only(found, STAGE)["Properties"]
        assert stage["TracingEnabled"] is True
        name = stage["AccessLogSetting"]["DestinationArn"]["Fn::GetAtt"][0]
        return found[name]["Properties"]["RetentionInDays"], stage["AccessLogSetting"]["Format"]

    days, fields = log()
    assert days == 7
    assert "authorization" not in fields.lower()
    assert log({"monitoring": {"log_retention": "30d"}})[0] == 30
    assert "AccessLogSetting" not in only(edge({"edge": {"access_logs": False}}), STAGE)["Properties"]


def test_another_definition_is_another_deployment_and_the_same_one_is_not() -> None:
    def deployment(changes: dict[str, Any] | None = None) -> str:
        [name] = [key for key, each in edge(changes).items() if each["Type"] == "AWS::ApiGateway::Deployment"]
        return name

    assert deployment() == deployment({"edge": {"throttle": {"rate": 700}}})  # the stage's own
    assert deployment() != deployment({"edge": {"cors": ["https://other.example.com"]}})


def test_a_synthesis_says_the_same_twice() -> None:
    first, second = (changed("rag-assistant", "prod", {}).assembly.digest for _ in range(2))
    assert first == second


def test_without_a_domain_users_are_told_the_apis_own_name() -> None:
    """What parts take for the platform's address (issuer, uploads) is what API Gateway answers at, with its stage."""
    domainless = {"edge": {"domain": None}, "recovery": {"failover": False}}
    addresses = []
    for changes in (domainless, {}):
        made = mutated("rag-assistant", "prod", changes)
        tasks = of_type(made.stack("platform").resources(), "AWS::ECS::TaskDefinition")
        named = [
            each["Value"]
            for task in tasks
            for container in task["Properties"]["ContainerDefinitions"]
            for each in container.get("Environment", ())
            if each["Name"] == "SLIPWAY_PUBLIC_URL"
        ]
        assert len(named) == 5  # one a component
        addresses.append(named)
    [first, *others] = [json.dumps(address) for address in addresses[0]]
    assert set(others) == {first}
    assert re.search(r"https://.*\.execute-api\..*/live", first)
    assert set(addresses[1]) == {"https://assistant.example.com"}
