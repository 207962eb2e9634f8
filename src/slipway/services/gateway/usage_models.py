"""Values of reports on usage: which rows are asked for, and a page of them."""

from dataclasses import dataclass
from datetime import datetime

from slipway.api.usage import UsageRow, UsageStatus


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which rows are asked for: `after` is included, `before` is not."""

    after: datetime | None = None
    before: datetime | None = None
    model: str | None = None
    key_id: str | None = None
    status: UsageStatus | None = None


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Rows newest first, and the cursor of the next page."""

    items: list[UsageRow]
    next: str | None
