"""`audit` and `delivery`: who did what, and who may deploy."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import (
    ACCOUNT_PATTERN,
    BRANCH_PATTERN,
    OIDC_PROVIDER_PATTERN,
    POLICY_PATTERN,
    REPOSITORY_PATTERN,
    Section,
)
from slipway.manifest.units import Duration


class Audit(Section):
    """What AWS itself records about the account."""

    trail: bool = Field(default=True, description="Record each call of AWS's API (CloudTrail).")
    keep: Duration = Field(default=Duration.of(days=365), description="How long the records are kept.")
    guard_duty: bool = Field(
        default=True,
        description="Look for threats in them (GuardDuty). An account has one detector a region: true in one "
        "environment of an account and region only.",
    )

    @model_validator(mode="after")
    def _days(self) -> Self:
        if self.keep < Duration.of(days=1) or self.keep.milliseconds % Duration.of(days=1).milliseconds:
            raise PydanticCustomError("audit", "keep is whole days, like 365d")
        return self


class Delivery(Section):
    """How a change gets to AWS, and with which rights."""

    account: Annotated[str, Field(pattern=ACCOUNT_PATTERN)] | None = Field(
        default=None, description="The AWS account that this environment lives in; no other is deployed to."
    )
    github: Annotated[str, Field(pattern=REPOSITORY_PATTERN)] | None = Field(
        default=None, description="The repository whose workflows may deploy, without a stored key (OpenID Connect)."
    )
    branch: str = Field(default="main", pattern=BRANCH_PATTERN, description="The branch whose workflows may deploy.")
    oidc_provider: Annotated[str, Field(pattern=OIDC_PROVIDER_PATTERN)] | None = Field(
        default=None, description="The account's OpenID provider for GitHub, if it has one; left out, it is made."
    )
    boundary: Annotated[str, Field(pattern=POLICY_PATTERN)] | None = Field(
        default=None, description="The policy that bounds the rights of every role that is made."
    )
    strategy: Literal["rolling", "blue-green"] = Field(
        default="rolling",
        description="rolling: task by task, back when alarms fire. blue-green: all new beside all old, then switch.",
    )
    images_kept: int = Field(default=30, ge=1, le=1000, description="Images that a repository keeps.")
