"""`budget`: what an environment may cost, and when somebody is told."""

from pydantic import Field

from slipway.manifest.sections.section import Section
from slipway.manifest.units import Money, Percent


class Budget(Section):
    """The monthly budget of the infrastructure, model calls included."""

    per_month: Money | None = Field(default=None, description="What a month may cost.")
    alert_at: tuple[Percent, ...] = Field(
        default=(Percent(5_000), Percent(8_000), Percent(9_500)),
        max_length=5,
        description="Shares of it at which somebody is told; at most 5.",
    )
    anomaly: Money | None = Field(
        default=Money(20_000_000),
        description="Tell of costs that are this much above what is usual for a service; null: never.",
    )
