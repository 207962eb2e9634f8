"""What mostly an environment says: where it runs, when, for how long, and whether it is a template."""

from pydantic import Field

from slipway.manifest.sections.section import Section
from slipway.manifest.units import TimeOfDay


class Schedule(Section):
    """When an environment is stopped and started, to save money."""

    stop: TimeOfDay = Field(description="When it stops.")
    start: TimeOfDay | None = Field(default=None, description="When it starts again; left out, only by hand.")
