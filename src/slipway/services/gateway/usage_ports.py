"""What reports on usage need from a store."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from slipway.api.usage import UsageGrouping, UsageReport, UsageStatus
from slipway.base.callers import Caller
from slipway.services.gateway.usage_models import UsageFilter, UsagePage


class UsageReports(Protocol):
    """Reads usage rows."""

    async def usage_list(
        self,
        caller: Caller,
        *,
        after: datetime | None,
        before: datetime | None,
        model: str | None,
        key_id: str | None,
        cursor: str | None,
        limit: int,
        status: UsageStatus | None = None,
    ) -> UsageReport:
        """The tenant's rows, newest first, with the totals of everything that the filters let through.

        `after` is included, `before` is not. Raises InvalidRequest for a cursor that is none of ours.
        """
        ...

    async def usage_page(self, caller: Caller, wanted: UsageFilter, *, cursor: str | None, limit: int) -> UsagePage:
        """The rows alone. Raises as `usage_list`."""
        ...

    async def usage_groups(self, caller: Caller, wanted: UsageFilter, by: Collection[UsageGrouping]) -> UsageReport:
        """Sums by what `by` names; by tenant they go over all tenants for a caller who administers them.

        Raises InvalidRequest when there are too many groups to show.
        """
        ...
