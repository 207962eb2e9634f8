"""Wire types of usage: one row for each accepted request of the gateway."""

from datetime import datetime
from typing import Literal

from slipway.api.wire import Response

UsageStatus = Literal["ok", "error", "cancelled", "unknown"]


class UsageRow(Response):
    """One accepted request: who asked for which model, what it took, cost and how it ended."""

    request_id: str
    at: datetime
    key_id: str | None
    subject: str
    actor: str | None = None
    operation: Literal["chat.completions", "embeddings"]
    model: str
    provider: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd_micros: int
    latency_ms: int
    status: UsageStatus
    error_code: str | None = None


class UsageTotals(Response):
    """Sums over the whole period asked for, not only over the rows of this page."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd_micros: int


class UsageReport(Response):
    """Rows newest first, with totals."""

    items: list[UsageRow]
    totals: UsageTotals
    next: str | None = None
