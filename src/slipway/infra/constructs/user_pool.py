"""A Cognito user pool: who may sign in, how, and what their tokens carry.

People sign in by the code flow with PKCE (a public client without a secret), programs by client credentials with a
secret that CloudFormation hands from Cognito to Secrets Manager (`UserPoolClient.ClientSecret` is readable since 2025),
so that it stands in no template and no output. Before each token Cognito asks the pre-token function for the tenant.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aws_cdk import Aws, aws_cognito, aws_secretsmanager
from constructs import Construct

from slipway.infra.constructs.function import Function
from slipway.infra.constructs.retention import keep
from slipway.infra.naming import Names
from slipway.infra.reasons import accept

Mfa = Literal["off", "optional", "required"]
_MFA: Final[Mapping[Mfa, str]] = {"off": "OFF", "optional": "OPTIONAL", "required": "ON"}
# NIST SP 800-63B-4 section 3.1.1 asks for 15 where a password is the only factor; the kinds of characters are
# cdk-nag's.
_PASSWORD: Final = {
    "minimumLength": 15,
    "requireLowercase": True,
    "requireUppercase": True,
    "requireNumbers": True,
    "requireSymbols": True,
    "passwordHistorySize": 5,
    "temporaryPasswordValidityDays": 3,
}
_SIGN_IN_SCOPES: Final = ("openid", "email", "profile")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTimes:
    """How long tokens are good, in seconds."""

    access_s: int
    refresh_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPoolProps:
    """Sign-in as the manifest has it. `scopes` are the API's by name with what each allows."""

    domain_prefix: str
    mfa: Mfa
    groups: Sequence[str]
    scopes: Mapping[str, str]
    times: TokenTimes
    callbacks: Sequence[str] = ()
    machine_clients: Sequence[str] = ()
    threat_protection: bool = True
    lasting: bool = True
    resource_server: str = "slipway"
    secret_prefix: str = "/slipway"
    secret_key_arn: str | None = field(default=None)


class UserPool(Construct):
    """The pool and its clients.

    `arn`, `pool_id`, `issuer` and `sign_in_url` are for those who check tokens; `client_ids` has every client's id by
    its name, the console's as `console`.
    """

    CONSOLE: Final = "console"

    def __init__(self, scope: Construct, identifier: str, *, props: UserPoolProps, pre_token: Function) -> None:
        super().__init__(scope, identifier)
        self._props = props
        self.resource = self._pool(pre_token)
        self.pool_id, self.arn = self.resource.ref, self.resource.attr_arn
        self.issuer = f"https://cognito-idp.{Aws.REGION}.amazonaws.com/{self.pool_id}"
        self.sign_in_url = f"https://{props.domain_prefix}.auth.{Aws.REGION}.amazoncognito.com"
        pre_token.called_by("Cognito", "cognito-idp.amazonaws.com", self.arn)
        aws_cognito.CfnUserPoolDomain(
            self, "Domain", domain=props.domain_prefix, user_pool_id=self.pool_id, managed_login_version=2
        )
        self.server = aws_cognito.CfnUserPoolResourceServer(
            self,
            "Api",
            identifier=props.resource_server,
            name="API",
            user_pool_id=self.pool_id,
            scopes=[{"scopeName": name, "scopeDescription": told} for name, told in sorted(props.scopes.items())],
        )
        self.groups = {
            group: aws_cognito.CfnUserPoolGroup(
                self,
                Names.construct(f"group-{group}"),
                user_pool_id=self.pool_id,
                group_name=group,
                precedence=place,
                description=f"Has the role {group} in the platform.",
            )
            for place, group in enumerate(props.groups)
        }
        self.clients = {
            **({self.CONSOLE: self._console_client()} if props.callbacks else {}),
            **{name: self._machine_client(name) for name in props.machine_clients},
        }
        self.client_ids = {name: client.ref for name, client in self.clients.items()}
        self.secrets = {name: self._secret(name) for name in props.machine_clients}

    def _pool(self, pre_token: Function) -> aws_cognito.CfnUserPool:
        props = self._props
        pool = aws_cognito.CfnUserPool(
            self,
            "Pool",
            user_pool_tier="PLUS" if props.threat_protection else "ESSENTIALS",
            user_pool_add_ons={"advancedSecurityMode": "ENFORCED"} if props.threat_protection else None,
            mfa_configuration=_MFA[props.mfa],
            enabled_mfas=["SOFTWARE_TOKEN_MFA"] if props.mfa != "off" else None,
            policies={"passwordPolicy": _PASSWORD},
            username_attributes=["email"],
            username_configuration={"caseSensitive": False},
            auto_verified_attributes=["email"],
            user_attribute_update_settings={"attributesRequireVerificationBeforeUpdate": ["email"]},
            account_recovery_setting={"recoveryMechanisms": [{"name": "verified_email", "priority": 1}]},
            admin_create_user_config={"allowAdminCreateUserOnly": True},
            schema=[
                {"name": "email", "attributeDataType": "String", "required": True, "mutable": True},
                # Written by administrators alone: no client has it among its write attributes.
                {
                    "name": "tenant",
                    "attributeDataType": "String",
                    "mutable": True,
                    "stringAttributeConstraints": {"minLength": "1", "maxLength": "255"},
                },
            ],
            lambda_config={
                "preTokenGenerationConfig": {"lambdaArn": pre_token.arn, "lambdaVersion": "V3_0"},
            },
            deletion_protection="ACTIVE" if props.lasting else "INACTIVE",
        )
        keep(pool, props.lasting)
        if props.mfa != "required":
            accept(pool, {"AwsSolutions-COG2": "The manifest leaves the second factor to whoever signs in."})
        if not props.threat_protection:
            accept(pool, {"AwsSolutions-COG3": "The manifest turns it off: the Plus plan costs by user."})
        return pool

    def _console_client(self) -> aws_cognito.CfnUserPoolClient:
        """A public client: a page in a browser keeps no secret, so the code flow with PKCE is its only one."""
        props = self._props
        return self._client(
            self.CONSOLE,
            generate_secret=False,
            allowed_o_auth_flows=["code"],
            allowed_o_auth_scopes=[*_SIGN_IN_SCOPES, *self._api_scopes()],
            callback_ur_ls=list(props.callbacks),
            logout_ur_ls=list(props.callbacks),
            read_attributes=["email", "email_verified", "custom:tenant"],
            write_attributes=["email"],
            # Sign-in is Cognito's own page; the pool's API takes no password from this client.
            explicit_auth_flows=["ALLOW_REFRESH_TOKEN_AUTH"],
            supported_identity_providers=["COGNITO"],
            refresh_token_validity=props.times.refresh_s // 60,
            token_validity_units={"accessToken": "seconds", "idToken": "seconds", "refreshToken": "minutes"},
        )

    def _machine_client(self, name: str) -> aws_cognito.CfnUserPoolClient:
        return self._client(
            name,
            generate_secret=True,
            allowed_o_auth_flows=["client_credentials"],
            allowed_o_auth_scopes=self._api_scopes(),
            explicit_auth_flows=["ALLOW_REFRESH_TOKEN_AUTH"],
            token_validity_units={"accessToken": "seconds", "idToken": "seconds"},
        )

    def _client(self, name: str, **options: Any) -> aws_cognito.CfnUserPoolClient:
        client = aws_cognito.CfnUserPoolClient(
            self,
            Names.construct(f"client-{name}"),
            user_pool_id=self.pool_id,
            client_name=name,
            allowed_o_auth_flows_user_pool_client=True,
            prevent_user_existence_errors="ENABLED",
            enable_token_revocation=True,
            access_token_validity=self._props.times.access_s,
            id_token_validity=self._props.times.access_s,
            **options,
        )
        client.add_resource_dependency(self.server)
        return client

    def _api_scopes(self) -> list[str]:
        return [f"{self._props.resource_server}/{name}" for name in sorted(self._props.scopes)]

    def _secret(self, name: str) -> aws_secretsmanager.CfnSecret:
        client = self.clients[name]
        content = {
            "client_id": client.ref,
            "client_secret": client.attr_client_secret,
            "token_url": f"{self.sign_in_url}/oauth2/token",
            "scope": " ".join(self._api_scopes()),
        }
        secret = aws_secretsmanager.CfnSecret(
            self,
            Names.construct(f"secret-{name}"),
            name=f"{self._props.secret_prefix}/clients/{name}",
            description=f"What the program {name} signs in with.",
            secret_string=json.dumps(content),
            kms_key_id=self._props.secret_key_arn,
        )
        accept(
            secret,
            {
                "AwsSolutions-SMG4": "Cognito makes this secret and cannot be given one by a rotation; a client made "
                "anew has another (docs/aws-edge.md)."
            },
        )
        keep(secret, lasting=False)
        return secret
