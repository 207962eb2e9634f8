"""`identity`: who may sign in, and which issuers' tokens are accepted beside the built-in one's."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.models import HttpUrl
from slipway.manifest.sections.section import DOMAIN_PREFIX_PATTERN, Name, Section
from slipway.manifest.units import Duration

_SIGNED_IN_AT: Final = ("https://", "http://localhost")


class Issuer(Section):
    """An OpenID Connect issuer whose tokens are accepted, found by discovery."""

    issuer: HttpUrl = Field(description="Its URL, exactly as the `iss` claim of its tokens.")
    audience: str = Field(min_length=1, max_length=500, description="The `aud` claim that a token must carry.")
    tenant_claim: str | None = Field(
        default=None,
        min_length=1,
        description="The claim that carries the tenant; left out, the manifest's tenant_claim.",
    )
    roles_claim: str | None = Field(
        default=None, min_length=1, description="The claim that carries roles; left out, everybody is a member."
    )


class UserPool(Section):
    """A Cognito user pool. Before each token it is asked for the tenant, which goes into `tenant_claim`."""

    domain_prefix: Annotated[str, Field(pattern=DOMAIN_PREFIX_PATTERN)] | None = Field(
        default=None,
        description="Where users sign in: this before Cognito's own domain; left out, made of the platform's name.",
    )
    machine_clients: tuple[Name, ...] = Field(
        default=(), description="Programs that sign in with a secret, which lies in Secrets Manager."
    )
    callbacks: tuple[HttpUrl, ...] = Field(
        default=(), description="Addresses that sign-in may lead back to; the console's own is always one."
    )
    identity_pool: bool = Field(default=False, description="Give those who signed in AWS credentials of their group.")
    advanced_security: bool = Field(
        default=True, description="Ask for more when a sign-in is unusual, and refuse known passwords (Plus plan)."
    )
    access_token: Duration = Field(default=Duration.of(hours=1), description="How long a token is good (5m to 1d).")
    refresh_token: Duration = Field(
        default=Duration.of(days=30), description="How long one may be renewed without signing in (1h to 10y)."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not Duration.of(minutes=5) <= self.access_token <= Duration.of(days=1):
            raise PydanticCustomError("user_pool", "access_token is 5m to 1d: Cognito takes no other")
        if not Duration.of(hours=1) <= self.refresh_token <= Duration.of(days=3650):
            raise PydanticCustomError("user_pool", "refresh_token is 1h to 10y: Cognito takes no other")
        if any(not address.startswith(_SIGNED_IN_AT) for address in self.callbacks):
            raise PydanticCustomError("user_pool", "a callback is https, or http for localhost: Cognito takes no other")
        if self.domain_prefix and any(word in self.domain_prefix for word in ("aws", "amazon", "cognito")):
            raise PydanticCustomError("user_pool", "domain_prefix holds aws, amazon or cognito, which Cognito refuses")
        return self


class Identity(Section):
    """Sign-in, groups and issuers."""

    mfa: Literal["off", "optional", "required"] = Field(default="optional", description="A second factor at sign-in.")
    groups: tuple[Name, ...] = Field(default=("admin", "member"), description="Groups of users; each is a role.")
    issuers: tuple[Issuer, ...] = Field(
        default=(), description="Issuers whose tokens are accepted beside the platform's own."
    )
    user_pool: UserPool | None = Field(
        default=None, description="Sign-in by Cognito; left out, the built-in issuer signs people in."
    )
