"""`plans`: usage plans, who may spend what. Rates fail open and budgets fail closed; the gateway holds both."""

from pydantic import Field

from slipway.manifest.sections.section import Section
from slipway.manifest.units import Count, Money


class Plan(Section):
    """Limits; what is left out is not limited. The plan named `default` holds for tenants that have none."""

    requests_per_second: int | None = Field(default=None, ge=1, description="Steady rate of requests.")
    burst: int | None = Field(default=None, ge=1, description="Requests above the rate that are let through at once.")
    tokens_per_minute: Count | None = Field(default=None, description="Tokens in a minute, a steady rate.")
    tokens_per_month: Count | None = Field(default=None, description="Tokens in a calendar month (UTC).")
    budget_per_month: Money | None = Field(default=None, description="Money in a calendar month (UTC).")
    max_output_tokens: Count | None = Field(
        default=None,
        description="The most tokens that one request may have written: holds for a request that states no max_tokens, "
        "and one that states more is refused.",
    )
