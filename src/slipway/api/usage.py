"""Wire types of usage: one row for each accepted request of the gateway."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from slipway.api.wire import Response

UsageOperation = Literal["chat.completions", "embeddings", "messages", "messages.count_tokens"]
UsageGrouping = Literal["tenant", "key", "model", "day"]
UsageStatus = Literal["ok", "error", "cancelled", "unknown", "lost"]


class UsageRow(Response):
    """One accepted request: who asked for which model, what it took, cost and how it ended."""

    request_id: str = Field(description="The `x-request-id` of its answer.")
    at: datetime = Field(description="When it was accepted.")
    key_id: str | None = Field(description="The API key that was used, when one was.")
    subject: str
    actor: str | None = Field(default=None, description="The part of the platform that asked on the subject's behalf.")
    operation: UsageOperation
    requested_model: str = Field(description="The model as the request named it.")
    model: str = Field(description="The model that answered: another one when a fallback stood in.")
    provider: str
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int = Field(default=0, description="Prompt tokens that the provider read from its cache.")
    cache_write_tokens: int = Field(default=0, description="Prompt tokens that it wrote to its cache.")
    cache_write_1h_tokens: int = Field(default=0, description="Those of them that are kept for an hour.")
    tokens_estimated: bool = Field(description="Whether the provider gave no count and characters were counted.")
    price_version: str = Field(default="", description="The table of prices that was used.")
    price: str = Field(
        default="",
        description="Micro-dollars per million tokens: prompt/completion/cache read/cache write/cache write for 1 h.",
    )
    cost_usd_micros: int = Field(description="Micro-dollars at `price`, with `uncertain_usd_micros`.")
    cost_basis: Literal["counted", "bound"] = Field(
        default="counted", description="bound: nobody counted, so it is booked at the most that it may have cost."
    )
    reserved_usd_micros: int = Field(default=0, description="The most it could cost, as held before the call.")
    uncertain_usd_micros: int = Field(
        default=0, description="The part of the cost that attempts which broke before may have cost, at their bounds."
    )
    over_bound: bool = Field(default=False, description="Whether the provider billed more than was reserved.")
    provider_request_id: str | None = Field(default=None, description="The provider's own id of the request.")
    charged_tokens: int = Field(description="What budgets of tokens count: the bound where nobody counted.")
    latency_ms: int = Field(description="From acceptance to the end of the answer.")
    ttft_ms: int | None = Field(default=None, description="For streams: from acceptance to the first chunk.")
    status: UsageStatus = Field(
        description="cancelled: the client was gone before the answer was complete; unknown: the process was killed "
        "while it served; lost: spent of a budget by a process whose journal is gone."
    )
    error_code: str | None = None


class UsageTotals(Response):
    """Sums over the whole period asked for, not only over the rows of this page."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd_micros: int


class UsageGroup(UsageTotals):
    """Sums of the rows that share what they were grouped by; the other three are absent."""

    tenant_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    day: date | None = Field(default=None, description="In UTC.")


class UsageReport(Response):
    """Rows newest first, or groups, with totals."""

    items: list[UsageRow]
    totals: UsageTotals
    next: str | None = Field(default=None, description="The cursor of the following page; absent on the last one.")
    groups: list[UsageGroup] | None = Field(
        default=None, description="With `group_by`: by day, tenant, key and model; then there are no items."
    )
