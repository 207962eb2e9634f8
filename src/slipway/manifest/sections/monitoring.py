"""`monitoring`: the values past which somebody is told."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import Section
from slipway.manifest.units import Duration, Money, Percent

_WHOLE = Percent(10_000)


class Alarms(Section):
    """Each alarm fires above its value."""

    latency: Duration = Field(default=Duration(5_000), description="Time of an API request (p95).")
    error_rate: Percent = Field(default=Percent(500), description="Requests answered with 5xx.")
    cpu: Percent = Field(default=Percent(8_000), description="CPU of a component.")
    memory: Percent = Field(default=Percent(8_000), description="Memory of a component.")
    db_connections: Percent = Field(default=Percent(8_000), description="Connections of those the database allows.")
    cost_per_session: Money = Field(default=Money(50_000), description="Model costs of one session.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        above = [name for name in ("error_rate", "cpu", "memory", "db_connections") if getattr(self, name) > _WHOLE]
        if above:
            raise PydanticCustomError(
                "alarm", "{names} above 100% would never fire: write at most 100%", {"names": ", ".join(above)}
            )
        return self


class Monitoring(Section):
    """What is watched."""

    alarms: Alarms = Field(default=Alarms(), description="The values past which an alarm fires.")
