"""`identity`: who may sign in, and which issuers' tokens are accepted beside the built-in one's."""

from typing import Literal

from pydantic import Field

from slipway.manifest.sections.models import HttpUrl
from slipway.manifest.sections.section import Name, Section


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


class Identity(Section):
    """Sign-in, groups and issuers."""

    mfa: Literal["off", "optional", "required"] = Field(default="optional", description="A second factor at sign-in.")
    groups: tuple[Name, ...] = Field(default=("admin", "member"), description="Groups of users; each is a role.")
    issuers: tuple[Issuer, ...] = Field(
        default=(), description="Issuers whose tokens are accepted beside the platform's own."
    )
