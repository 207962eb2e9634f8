"""Usage as CSV (RFC 4180), a page of rows at a time.

A cell of text that a spreadsheet would take for a formula begins with an apostrophe: names of models are the callers'.
"""

import csv
import io
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from typing import Any, Final

from slipway.api.usage import UsageGroup, UsageGrouping, UsageRow, UsageTotals
from slipway.base.callers import Caller
from slipway.services.gateway.usage_models import UsageFilter, UsagePage
from slipway.services.gateway.usage_ports import UsageReports

PAGE: Final = 1000
# OWASP's list, with the wide forms that some languages' spreadsheets take for the same.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_COLUMN: Final[dict[UsageGrouping, str]] = {"day": "day", "tenant": "tenant_id", "key": "key_id", "model": "model"}


async def rows_csv(
    store: UsageReports, caller: Caller, wanted: UsageFilter, first: UsagePage
) -> AsyncGenerator[str, None]:
    """All rows from the page `first` on. Raises what the store raises: a text that is cut off is no whole one."""
    columns = list(UsageRow.model_fields)
    yield _lines([columns])
    page = first
    while True:
        yield _lines([[getattr(row, column) for column in columns] for row in page.items])
        if page.next is None:
            return
        page = await store.usage_page(caller, wanted, cursor=page.next, limit=PAGE)


def groups_csv(groups: Sequence[UsageGroup], by: Collection[UsageGrouping]) -> str:
    """One line a group, with what it was grouped by in front."""
    columns = [_COLUMN[grouping] for grouping in _COLUMN if grouping in by] + list(UsageTotals.model_fields)
    return _lines([columns, *([getattr(group, column) for column in columns] for group in groups)])


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"  # as JSON has it: Python's own words mean nothing to others
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
