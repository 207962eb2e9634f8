"""Wire types of usage plans: which there are, who is on which, and how far budgets are used."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from slipway.api.wire import Request, Response


class Plan(Response):
    """A plan of the manifest; a limit that is absent is none."""

    name: str
    requests_per_second: int | None = None
    burst: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_month: int | None = None
    budget_usd_micros: int | None = Field(default=None, description="Micro-dollars in a calendar month (UTC).")
    max_output_tokens: int | None = Field(default=None, description="The most tokens that one request has written.")


class PlanAssignment(Response):
    """Who is on which plan."""

    subject: str = Field(description="`tenant`, or the id of a key.")
    plan: str | None = Field(description="The plan's name; absent: none of its own.")


class BudgetStanding(Response):
    """How far one budget of the month is used."""

    subject: str = Field(description="`tenant`, or the id of a key.")
    unit: Literal["tokens", "usd_micros"]
    limit: int
    taken: int = Field(description="Spent, and held for requests that are under way or soon will be.")
    spent: int = Field(description="The part of `taken` that is known to be spent.")
    resets_at: datetime


class Plans(Response):
    """The platform's plans, and what holds for the caller's tenant."""

    plans: list[Plan]
    effective: str | None = Field(description="The plan that holds for the tenant; absent: no limits.")
    assignments: list[PlanAssignment] = Field(description="The tenant's own assignment and those of its keys.")
    standing: list[BudgetStanding] = Field(description="The budgets that this caller's requests draw on.")


class PlanRequest(Request):
    """A plan to be on; null takes it away."""

    plan: str | None = Field(max_length=128)
