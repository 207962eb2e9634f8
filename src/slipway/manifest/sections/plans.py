"""`plans`: usage plans, who may spend what. Rates fail open and budgets fail closed; the gateway holds both."""

from pydantic import Field

from slipway.manifest.sections.section import Section
from slipway.manifest.units import Count, Money


class Plan(Section):
    """The limits of the tenants on one plan; what is left out is not limited."""

    requests_per_second: int | None = Field(default=None, ge=1, description="Steady rate of requests.")
    burst: int | None = Field(default=None, ge=1, description="Requests above the rate that are let through at once.")
    tokens_per_month: Count | None = Field(default=None, description="Tokens in a calendar month (UTC).")
    budget_per_month: Money | None = Field(default=None, description="Money in a calendar month (UTC).")
