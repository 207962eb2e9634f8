"""`recovery`: what is kept, for how long, where, and how fast the platform must be back.

Whether the declared means reach the objectives is arithmetic over several sections: `rules.objectives`.
"""

from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import REGION_PATTERN, Section
from slipway.manifest.units import Duration

Region = Annotated[str, Field(pattern=REGION_PATTERN, examples=["us-east-1"])]
# AWS Backup refuses a lifecycle whose deletion comes less than 90 days after the move to cold storage
# (docs.aws.amazon.com/aws-backup, "Lifecycle": DeleteAfterDays >= MoveToColdStorageAfterDays + 90).
COLD_MIN: Final = Duration.of(days=90)


class Retention(Section):
    """How long backups of one cadence are kept."""

    keep: Duration = Field(description="From the backup to its deletion.")
    cold_after: Duration | None = Field(
        default=None, description="When a backup moves to cold storage, where it then stays at least 90 days."
    )

    @model_validator(mode="after")
    def _cold_long_enough(self) -> Self:
        if self.cold_after is None:
            return self
        least = Duration(self.cold_after.milliseconds + COLD_MIN.milliseconds)
        if self.keep < least:
            raise PydanticCustomError(
                "cold",
                "a backup stays in cold storage at least 90 days (AWS Backup), and {keep} ends sooner than that after "
                "a move at {cold}: write keep: {least} or more, or remove cold_after and keep it warm",
                {"keep": str(self.keep), "cold": str(self.cold_after), "least": str(least)},
            )
        return self


def _from_text(given: Any) -> Any:
    """`daily: 35d` is `daily: {keep: 35d}`."""
    return {"keep": given} if isinstance(given, str) else given


Backup = Annotated[
    Retention,
    BeforeValidator(_from_text, json_schema_input_type=Duration | Retention),
]


class Backups(Section):
    """Backups by AWS Backup of every store that holds data, with copies in the recovery region if there is one."""

    daily: Backup | None = Field(default=None, description="A backup each day: 35d, or {keep: …, cold_after: …}.")
    weekly: Backup | None = Field(default=None, description="A backup each week.")
    monthly: Backup | None = Field(default=None, description="A backup each month.")


class Objectives(Section):
    """What a loss may cost at most."""

    rto: Duration = Field(description="Recovery time: from the loss until the platform serves again.")
    rpo: Duration = Field(description="Recovery point: how much of the newest data may be lost.")


class AcceptedGap(Section):
    """A store that misses the objectives, with the figure it does reach, and why that is accepted."""

    store: str = Field(min_length=1, description="The store, as `slipway check` names it.")
    rto: Duration | None = Field(default=None, description="The recovery time that it reaches.")
    rpo: Duration | None = Field(default=None, description="The recovery point that it reaches.")
    why: str = Field(min_length=10, description="Why that is accepted, in a sentence.")


class Recovery(Section):
    """Backups, the second region, and the objectives."""

    region: Region | None = Field(default=None, description="The region to recover in when the first one is lost.")
    objectives: Objectives | None = Field(default=None, description="What a loss may cost at most.")
    backups: Backups = Field(
        default=Backups(daily=Retention(keep=Duration.of(days=35))), description="What is kept, and for how long."
    )
    failover: bool = Field(
        default=False,
        description="When the first region is lost, restore in the second and lead the domain there by itself.",
    )
    accepted_gaps: tuple[AcceptedGap, ...] = Field(
        default=(), description="Stores that miss the objectives, each with its figure and why that is accepted."
    )
