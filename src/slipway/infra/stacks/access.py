"""Who may come in: the certificate of the domain, and the user pool that signs people and programs in.

Before the platform's stack, which needs both: its load balancer shows the certificate and its tasks accept the pool's
tokens.
"""

from dataclasses import dataclass
from typing import Final

from aws_cdk import App

from slipway.base.callers import Scope
from slipway.infra.constructs.certificate import Certificate
from slipway.infra.constructs.function import Function, FunctionHome, FunctionProps
from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.identity_pool import IdentityPool, IdentityPoolProps
from slipway.infra.constructs.user_pool import TokenTimes, UserPool, UserPoolProps
from slipway.infra.site import Site
from slipway.infra.stacks.edge_global import EdgeGlobalStack
from slipway.infra.stacks.functions import Ground, place_of
from slipway.infra.stacks.platform import host_of
from slipway.infra.stacks.stack import SiteStack
from slipway.manifest.sections.identity import UserPool as UserPoolSection

_PRE_TOKEN_MIB: Final = 1024  # Lambda gives a processor by memory, and a cold start is all processor
# Cognito waits 5 s and tries three times. A start that was slow goes on for the next try instead of being cut off.
_PRE_TOKEN_S: Final = 30
CLIENT_TENANTS: Final = ("identity", "clients")
_SCOPES: Final = {
    Scope.MODELS_USE: "Ask models",
    Scope.USAGE_READ: "See what was used",
    Scope.DOCUMENTS_READ: "Read documents",
    Scope.DOCUMENTS_WRITE: "Add and delete documents",
    Scope.SEARCH_USE: "Search documents",
    Scope.CHAT_USE: "Chat about documents",
    Scope.SESSIONS_READ: "Read sessions",
    Scope.SESSIONS_WRITE: "Write sessions",
    Scope.KEYS_ADMIN: "Manage API keys",
    Scope.USERS_ADMIN: "Manage users",
    Scope.TENANTS_ADMIN: "Manage tenants",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What those behind need to know; each is None or empty where the manifest has none.

    `certificate_arn` is for listeners of the domain; `issuer` and `audiences` are what tasks accept tokens of.
    """

    certificate_arn: str | None = None
    issuer: str | None = None
    audiences: tuple[str, ...] = ()
    user_pool: UserPool | None = None


class AccessStack(SiteStack):
    """Certificate and user pool. `access` is for those behind, `pre_token` for alarms."""

    @staticmethod
    def is_needed(site: Site) -> bool:
        """Whether there is anything to make: CloudFormation takes no empty stack."""
        return site.manifest.identity.user_pool is not None or _makes_certificate(site)

    @staticmethod
    def without(site: Site) -> Access:
        """What those behind need to know where nothing has to be made."""
        domain = site.manifest.edge.domain
        return Access(certificate_arn=None if domain is None else domain.certificate)

    def __init__(
        self, scope: App, site: Site, *, foundation: Ground, edge_global: EdgeGlobalStack | None = None
    ) -> None:
        super().__init__(
            scope,
            site,
            "access",
            description=f"Certificate and sign-in of {site.names.prefix}.",
            stateful=site.manifest.identity.user_pool is not None,
        )
        self.pre_token: Function | None = None
        self.identity_pool: IdentityPool | None = None
        certificate_arn = self._certificate()
        section = site.manifest.identity.user_pool
        if section is None:
            self.access = Access(certificate_arn=certificate_arn)
            return
        console = None if edge_global is None else edge_global.console_url_for(self)
        pool = self._sign_in(section, foundation, console)
        self.access = Access(
            certificate_arn=certificate_arn,
            issuer=pool.issuer,
            audiences=tuple(pool.client_ids.values()),
            user_pool=pool,
        )

    def _certificate(self) -> str | None:
        domain = self.site.manifest.edge.domain
        if domain is None or not _makes_certificate(self.site):
            return None if domain is None else domain.certificate
        # Previews answer below the name, at this environment's load balancer; an API of their own shows its own.
        preview = host_of(self.site)
        below = (f"*.{domain.name}",) if preview is None else ()
        return Certificate(self, "Certificate", name=preview or domain.name, zone_id=domain.zone_id, others=below).arn

    def _sign_in(self, section: UserPoolSection, foundation: Ground, console: str | None) -> UserPool:
        site = self.site
        identity = site.manifest.identity
        clients = site.names.parameter(*CLIENT_TENANTS)
        self.pre_token = FunctionHome(self, "Functions", place_of(site, foundation)).add(
            "PreToken",
            FunctionProps(
                handler="pre_token",
                memory_mib=_PRE_TOKEN_MIB,
                timeout_s=_PRE_TOKEN_S,
                environment={"TENANT_CLAIM": site.manifest.tenant_claim, "CLIENT_TENANTS": clients},
                statements=(
                    Statement(
                        "TenantsOfPrograms",
                        ("ssm:GetParameter",),
                        (self.format_arn(service="ssm", resource=f"parameter{clients}", resource_name="*"),),
                        reason="A parameter for each program, written after its client was made.",
                    ),
                ),
            ),
        )
        pool = UserPool(
            self,
            "Users",
            props=UserPoolProps(
                domain_prefix=section.domain_prefix or f"{site.names.prefix}-{self.account}",
                mfa=identity.mfa,
                groups=identity.groups,
                scopes={scope.value: told for scope, told in _SCOPES.items()},
                times=TokenTimes(access_s=section.access_token.seconds, refresh_s=section.refresh_token.seconds),
                callbacks=tuple(dict.fromkeys((*((f"{console}/",) if console else ()), *section.callbacks))),
                machine_clients=section.machine_clients,
                threat_protection=section.advanced_security,
                lasting=site.lasting,
                secret_prefix=site.names.parameter("secrets"),
                secret_key_arn=foundation.key("secrets"),
            ),
            pre_token=self.pre_token,
        )
        if section.identity_pool and UserPool.CONSOLE in pool.clients:
            self.identity_pool = IdentityPool(
                self, "Identities", props=IdentityPoolProps(groups=identity.groups, grants={}), user_pool=pool
            )
        self.publish("Issuer", pool.issuer, "The issuer of tokens, as their iss.")
        self.publish("SignIn", pool.sign_in_url, "Where people sign in.")
        for name, client_id in pool.client_ids.items():
            self.publish(
                f"Client{site.names.construct(name)}", client_id, f"The client id of {name}; also its x-api-key."
            )
        return pool


def _makes_certificate(site: Site) -> bool:
    """Whether the domain needs one: who shares a load balancer has that one's, unless API Gateway stands before it."""
    edge = site.manifest.edge
    shown_here = site.manifest.share is None or edge.api_gateway
    return edge.domain is not None and edge.domain.certificate is None and shown_here
