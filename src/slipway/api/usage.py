"""Wire types of usage: one row for each accepted request of the gateway."""

from datetime import date, datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from slipway.api.wire import Request, Response

UsageOperation = Literal["chat.completions", "embeddings", "messages", "messages.count_tokens"]
UsageGrouping = Literal["tenant", "key", "model", "day"]
UsageStatus = Literal["ok", "error", "cancelled", "unknown", "lost", "reconciled"]


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
        "while it served; lost: spent of a budget by a process whose journal is gone; reconciled: one of these "
        "two, put right by an administrator."
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


class UsageReconciliation(Request):
    """What a request truly took that was booked without knowing, as its provider's bill says."""

    input_tokens: int = Field(ge=0, le=10**12, description="All input, cached parts included.")
    output_tokens: int = Field(ge=0, le=10**12)
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    cache_write_1h_tokens: int = Field(default=0, ge=0, description="Those of the written that are kept for an hour.")
    cost_usd_micros: int | None = Field(
        default=None, ge=0, le=10**15, description="Micro-dollars; left out, the tokens at the row's price."
    )
    above_bound: bool = Field(default=False, description="Confirms that it is more than was reserved.")

    @model_validator(mode="after")
    def _parts_are_parts(self) -> Self:
        if self.cache_read_tokens + self.cache_write_tokens > self.input_tokens:
            raise ValueError("cached tokens are a part of input_tokens")
        if self.cache_write_1h_tokens > self.cache_write_tokens:
            raise ValueError("cache_write_1h_tokens are a part of cache_write_tokens")
        return self


class UsageAmounts(Response):
    """The part of a usage row that a reconciliation changes."""

    status: UsageStatus
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    tokens_estimated: bool
    cost_usd_micros: int
    cost_basis: Literal["counted", "bound"]
    uncertain_usd_micros: int
    over_bound: bool
    charged_tokens: int


class UsageReconciled(Response):
    """How a row was put right: by whom, when, and what it said before."""

    request_id: str
    tenant_id: str
    at: datetime
    by: str = Field(description="The subject of the administrator.")
    before: UsageAmounts
    after: UsageAmounts
