"""`components`: which parts of the catalog run, how large, and when more of them."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.catalog import SizeName
from slipway.manifest.sections.section import Section
from slipway.manifest.units import Duration, Percent, TimeOfDay

_WHOLE = Percent(10_000)


class ScaleChange(Section):
    """Other bounds from a time of day on, until the next change."""

    at: TimeOfDay = Field(description="When the bounds change.")
    min: int = Field(ge=0, le=1000, description="Copies that always run from then on.")
    max: int = Field(ge=1, le=1000, description="Copies that run at most from then on.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _in_order(self.min, self.max)
        return self


class Scale(Section):
    """How many copies run at least and at most, and what makes them more: whichever is passed first. `null` takes a
    reason away."""

    min: int = Field(default=1, ge=0, le=1000, description="Copies that always run.")
    max: int = Field(default=10, ge=1, le=1000, description="Copies that run at most.")
    cpu: Percent | None = Field(default=Percent(7_000), description="Average CPU past which copies are added.")
    memory: Percent | None = Field(default=Percent(8_000), description="Average memory past which copies are added.")
    requests_per_minute: int | None = Field(
        default=1000, ge=1, description="Requests a minute for each copy past which copies are added (with a route)."
    )
    latency: Duration | None = Field(
        default=Duration(2_000), description="Average time of an answer past which copies are added (with a route)."
    )
    sustained: Duration = Field(
        default=Duration.of(minutes=2), description="How long a value is past its limit before copies are added."
    )
    predictive: bool = Field(
        default=False, description="Add copies ahead of what the last two weeks say is coming (ECS only)."
    )
    schedule: tuple[ScaleChange, ...] = Field(default=(), description="Other bounds at certain times of the day.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _in_order(self.min, self.max)
        above = [name for name in ("cpu", "memory") if (getattr(self, name) or _WHOLE) > _WHOLE]
        if above:
            raise PydanticCustomError(
                "scale", "{names} above 100% is never passed: write at most 100%", {"names": " and ".join(above)}
            )
        if self.sustained.milliseconds % 60_000 or not 1 <= self.sustained.seconds // 60 <= 60:
            raise PydanticCustomError("scale", "sustained is counted in whole minutes: write 1m to 60m")
        return self


def _in_order(least: int, most: int) -> None:
    if least > most:
        raise PydanticCustomError(
            "scale", "min is {min} and max is {max}: write a max of at least {min}", {"min": least, "max": most}
        )


class ComponentSettings(Section):
    """What can be set for a part of the catalog; its routes and needs are facts of the catalog."""

    size: SizeName | None = Field(default=None, description="Task size; left out, the catalog's own.")
    scale: Scale = Field(default=Scale(), description="How many copies run.")
    spot: bool = Field(
        default=False, description="Run on spare capacity, which AWS takes back at two minutes' notice (Fargate Spot)."
    )
