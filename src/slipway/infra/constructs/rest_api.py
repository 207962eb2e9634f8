"""A REST API in front of the private load balancer: routes, tokens, schemas, CORS, throttle, usage plans, logs.

Every method is an HTTP proxy through the VPC link. What a client sends is checked here (token and scope by Cognito,
body by its schema) and again by the platform, which also checks what it answers. An answer that comes in pieces is
passed on in pieces, for up to 15 minutes; any other has 29 seconds (docs/aws-edge.md).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Aws, aws_apigateway, aws_logs
from constructs import Construct

from slipway.infra.api_document import ApiRoute
from slipway.infra.constructs.api_domain import SECURITY_POLICIES
from slipway.infra.constructs.cors import preflight_integration, preflight_response
from slipway.infra.constructs.retention import keep
from slipway.infra.naming import Names
from slipway.infra.reasons import accept

STAGE: Final = "live"
BUFFERED_MS: Final = 29_000  # API Gateway's limit for an answer that is sent whole
STREAMED_MS: Final = 900_000  # and for one that is sent in pieces

# Bodies that are no text; without this their bytes would be taken for UTF-8.
_BINARY: Final = ("application/octet-stream", "application/pdf", "multipart/form-data")
_TOKEN: Final = re.compile(r"\$\{Token\[[^\]]*\]\}")
_LOG_FIELDS: Final = (
    "requestId", "extendedRequestId", "httpMethod", "resourcePath", "status", "protocol", "responseLength",
    "responseLatency", "requestTimeEpoch", "integrationLatency", "authorizer.claims.client_id",
    "identity.sourceIp", "error.responseType", "xrayTraceId", "wafResponseCode",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The private load balancer, and the VPC link that leads there; `url` has no path."""

    link_id: str
    load_balancer_arn: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """Requests a second, and how many above that at once."""

    rate: int
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Who calls: ids of the user pool's clients by name, and the plans by name that they may be on."""

    user_pool_arn: str | None
    ids: Mapping[str, str]
    plans: Mapping[str, Throttle]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestApiProps:
    """The API of one platform."""

    name: str
    routes: Sequence[ApiRoute]
    backend: Backend
    clients: Clients
    throttle: Throttle
    origins: Sequence[str]
    log_group: str | None
    log_days: int
    tls: str
    own_domain: bool
    tracing: bool


class RestApi(Construct):
    """The API and its stage. `api_id`, `stage_name` and `stage_arn` are for domains, alarms and the web ACL."""

    def __init__(self, scope: Construct, identifier: str, props: RestApiProps) -> None:
        super().__init__(scope, identifier)
        self._props = props
        self._definition: list[str] = []
        self.resource = aws_apigateway.CfnRestApi(
            self,
            "Api",
            name=props.name,
            endpoint_configuration={"types": ["REGIONAL"]},
            # Only where AWS's own name serves: behind a domain of one's own it would be a way around.
            disable_execute_api_endpoint=props.own_domain,
            security_policy=SECURITY_POLICIES[props.tls],
            endpoint_access_mode="STRICT",
            api_key_source_type="HEADER",
            binary_media_types=list(_BINARY),
        )
        self.api_id = self.resource.ref
        self._resources: dict[str, str] = {"": self.resource.attr_root_resource_id}
        self._models: dict[str, str] = {}
        self._authorizer = self._cognito_authorizer()
        self._validator = aws_apigateway.CfnRequestValidator(
            self, "Validator", rest_api_id=self.api_id, validate_request_body=True, validate_request_parameters=True
        )
        self.methods = [self._method(route) for route in props.routes]
        self.preflights = [self._preflight(path) for path in self._called_by_pages()]
        self._error_answers()
        self.stage = self._stage(self._deployment())
        self.stage_name = self.stage.ref
        self.stage_arn = f"arn:{Aws.PARTITION}:apigateway:{Aws.REGION}::/restapis/{self.api_id}/stages/{STAGE}"
        self._usage_plans()

    def _called_by_pages(self) -> list[str]:
        """Paths whose preflights are answered: those with a scope, when pages of other origins may call at all."""
        paths = {route.path for route in self._props.routes if route.scope is not None and route.method != "ANY"}
        return sorted(paths) if self._props.origins else []

    def _cognito_authorizer(self) -> aws_apigateway.CfnAuthorizer | None:
        pool = self._props.clients.user_pool_arn
        if pool is None:
            return None
        return aws_apigateway.CfnAuthorizer(
            self,
            "Tokens",
            rest_api_id=self.api_id,
            name="tokens",
            type="COGNITO_USER_POOLS",
            provider_arns=[pool],
            identity_source="method.request.header.Authorization",
        )

    def _method(self, route: ApiRoute) -> aws_apigateway.CfnMethod:
        guarded = route.scope is not None and self._authorizer is not None
        options: dict[str, Any] = {
            "http_method": route.method,
            "authorization_type": "COGNITO_USER_POOLS" if guarded else "NONE",
            "authorization_scopes": self._scopes(route) if guarded else None,
            "api_key_required": guarded,
            "request_parameters": {f"method.request.path.{name}": True for name in _parameters(route.path)} or None,
            "integration": self._integration(route),
        }
        if route.schema is not None and route.model is not None:
            options["request_models"] = {"application/json": self._model(route.model, route.schema)}
        self._definition.append(_told(route.path, options, route.schema))
        method = aws_apigateway.CfnMethod(
            self,
            _identifier(route.method, route.path),
            rest_api_id=self.api_id,
            resource_id=self._resource(route.path),
            authorizer_id=self._authorizer.ref if guarded and self._authorizer else None,
            request_validator_id=self._validator.ref,
            **options,
        )
        if not guarded:
            accept(method, dict.fromkeys(("AwsSolutions-APIG4", "AwsSolutions-COG4"), _why_open(route)))
        return method

    def _scopes(self, route: ApiRoute) -> list[str]:
        """The scopes of which a token needs one; `*` stands for any of the API's."""
        known = {each.scope for each in self._props.routes if each.scope not in (None, "*")}
        wanted = sorted(str(scope) for scope in known) if route.scope == "*" else [str(route.scope)]
        return [f"slipway/{scope}" for scope in wanted]

    def _integration(self, route: ApiRoute) -> dict[str, Any]:
        backend = self._props.backend
        names = _parameters(route.path)
        return {
            "type": "HTTP_PROXY",
            "integrationHttpMethod": route.method,
            "uri": backend.url + route.path.replace("+}", "}"),
            "connectionType": "VPC_LINK",
            "connectionId": "${stageVariables.vpcLink}",
            "integrationTarget": backend.load_balancer_arn,
            "requestParameters": {f"integration.request.path.{name}": f"method.request.path.{name}" for name in names},
            "responseTransferMode": "STREAM" if route.streams else "BUFFERED",
            "timeoutInMillis": STREAMED_MS if route.streams else BUFFERED_MS,
            "passthroughBehavior": "WHEN_NO_MATCH",
        }

    def _resource(self, path: str) -> str:
        """The id of a path's resource, made with those above it."""
        path = path.rstrip("/")
        if path not in self._resources:
            above, _, part = path.rpartition("/")
            resource = aws_apigateway.CfnResource(
                self,
                _identifier("Path", path),
                rest_api_id=self.api_id,
                parent_id=self._resource(above),
                path_part=part,
            )
            self._resources[path] = resource.ref
        return self._resources[path]

    def _model(self, name: str, schema: Mapping[str, Any]) -> str:
        if name not in self._models:
            model = aws_apigateway.CfnModel(
                self,
                Names.construct(f"model-{name}"),
                rest_api_id=self.api_id,
                name=name,
                content_type="application/json",
                schema=schema,
            )
            self._models[name] = model.ref
        return self._models[name]

    def _preflight(self, path: str) -> aws_apigateway.CfnMethod:
        methods = sorted(route.method for route in self._props.routes if route.path == path)
        options: dict[str, Any] = {
            "http_method": "OPTIONS",
            "authorization_type": "NONE",
            "integration": preflight_integration(self._props.origins, methods),
            "method_responses": [preflight_response()],
        }
        self._definition.append(_told(path, options, None))
        method = aws_apigateway.CfnMethod(
            self,
            _identifier("OPTIONS", path),
            rest_api_id=self.api_id,
            resource_id=self._resource(path),
            request_validator_id=self._validator.ref,
            **options,
        )
        why = "A browser asks before it sends the token; the answer is the same for everybody."
        accept(method, {"AwsSolutions-APIG4": why, "AwsSolutions-COG4": why})
        return method

    def _error_answers(self) -> None:
        """Refusals made here look like the platform's own (RFC 9457) and can be read by pages that may call."""
        body = json.dumps({"type": "about:blank", "title": "$context.error.responseType", "detail": "DETAIL"})
        template = body.replace('"DETAIL"', "$context.error.messageString")
        headers = {"gatewayresponse.header.Access-Control-Allow-Origin": "method.request.header.Origin"}
        for kind in ("DEFAULT_4XX", "DEFAULT_5XX"):
            options: dict[str, Any] = {
                "response_type": kind,
                "response_templates": {"application/json": template},
                "response_parameters": headers if self._props.origins else None,
            }
            self._definition.append(_told("", options, None))
            aws_apigateway.CfnGatewayResponse(self, Names.construct(kind.lower()), rest_api_id=self.api_id, **options)

    def _deployment(self) -> aws_apigateway.CfnDeployment:
        """A deployment is a copy of the definition: another definition needs another one, under another name."""
        told = hashlib.sha256("\n".join(self._definition).encode()).hexdigest()
        deployment = aws_apigateway.CfnDeployment(self, f"Deployment{told[:16]}", rest_api_id=self.api_id)
        for each in (*self.methods, *self.preflights):
            deployment.add_resource_dependency(each)
        return deployment

    def _stage(self, deployment: aws_apigateway.CfnDeployment) -> aws_apigateway.CfnStage:
        props = self._props
        log = None
        if props.log_group is not None:
            log = aws_logs.CfnLogGroup(
                self, "AccessLog", log_group_name=props.log_group, retention_in_days=props.log_days
            )
            keep(log, lasting=False)
        stage = aws_apigateway.CfnStage(
            self,
            "Stage",
            rest_api_id=self.api_id,
            stage_name=STAGE,
            deployment_id=deployment.ref,
            # A variable, since a deployment keeps what it was made with: another link would not be noticed.
            variables={"vpcLink": props.backend.link_id},
            tracing_enabled=props.tracing,
            access_log_setting=None if log is None else {"destinationArn": log.attr_arn, "format": _log_format()},
            method_settings=[
                {
                    "httpMethod": "*",
                    "resourcePath": "/*",
                    "throttlingRateLimit": props.throttle.rate,
                    "throttlingBurstLimit": props.throttle.burst,
                    "metricsEnabled": True,
                    "loggingLevel": "ERROR",
                    "dataTraceEnabled": False,  # it would log bodies
                }
            ],
        )
        if log is None:
            accept(stage, {"AwsSolutions-APIG1": "The manifest turns access logs off."})
        return stage

    def _usage_plans(self) -> None:
        """A plan for each of the manifest's; a client is on the one of its name, else on `default`, else on its own."""
        clients = self._props.clients
        plans = {name: self._usage_plan(name, throttle) for name, throttle in clients.plans.items()}
        for name, client_id in clients.ids.items():
            plan = plans.get(name) or plans.get("default")
            if plan is None:
                plan = plans["default"] = self._usage_plan("clients", self._props.throttle)
            # The key is the client's id, which is no secret: it says whose limit counts, the token says who it is.
            key = aws_apigateway.CfnApiKey(
                self,
                Names.construct(f"key-{name}"),
                name=f"{self._props.name}-{name}",
                value=client_id,
                enabled=True,
            )
            aws_apigateway.CfnUsagePlanKey(
                self, Names.construct(f"on-plan-{name}"), key_id=key.ref, key_type="API_KEY", usage_plan_id=plan.ref
            )

    def _usage_plan(self, name: str, throttle: Throttle) -> aws_apigateway.CfnUsagePlan:
        return aws_apigateway.CfnUsagePlan(
            self,
            Names.construct(f"plan-{name}"),
            usage_plan_name=f"{self._props.name}-{name}",
            api_stages=[{"apiId": self.api_id, "stage": self.stage_name}],
            throttle={"rateLimit": throttle.rate, "burstLimit": throttle.burst},
        )


def _parameters(path: str) -> list[str]:
    return [name.removesuffix("+") for name in re.findall(r"\{([^}]+)\}", path)]


def _identifier(kind: str, path: str) -> str:
    return Names.construct(f"{kind}-{path}")


def _why_open(route: ApiRoute) -> str:
    if route.scope is None:
        return "Open by intent: a probe, or how one gets a token. The platform's document says why for each."
    return "No user pool signs people in: the platform itself checks API keys and tokens, before it reads a body."


def _log_format() -> str:
    return json.dumps({name.rpartition(".")[2]: f"$context.{name}" for name in _LOG_FIELDS})


def _told(path: str, options: Mapping[str, Any], schema: Mapping[str, Any] | None) -> str:
    """A part of the definition as text, the same in each synthesis: CDK numbers its tokens as it meets them."""
    return _TOKEN.sub("token", json.dumps([path, options, schema], sort_keys=True, default=str))
