"""What becomes of budgets that a process held when it ended: settled from its journal, or booked as lost.

The usage journal calls `settle_dead` for processes that stopped or were killed; `run` gives up leases whose holder has
been silent for too long, whose journal is gone with it, and books one `lost` row for each.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Protocol

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import SlipwayError, defect
from slipway.services.gateway.admission import month_end
from slipway.services.gateway.lease_models import Account, LostLease, Unit, lost_row_id
from slipway.services.gateway.lease_ports import LeaseStore
from slipway.services.gateway.models import Tokens, UsageRow
from slipway.services.gateway.usage_delivery import RowStore, append_all
from slipway.services.gateway.usage_records import row_json

LOST_AFTER_S: Final = 900.0  # time for a restart to bring the journal back; until then the rest stays taken anyway
_EVERY_S: Final = 15.0
_UNITS: Final[Mapping[str, Unit]] = {"usd_micros": "usd_micros", "tokens": "tokens"}
_log = logging.getLogger(__name__)


class LostRows(RowStore, Protocol):
    """Where usage rows are kept."""

    async def lost_remove(self, row_id: str) -> None:
        """Removes the row of a lease that was not lost after all."""
        ...


class Settlement:
    """Closes what others left open."""

    def __init__(self, leases: LeaseStore, rows: LostRows, clock: Clock, *, lost_after_s: float = LOST_AFTER_S) -> None:
        self._leases = leases
        self._rows = rows
        self._clock = clock
        self._lost_after_s = lost_after_s

    async def settle_dead(self, holder: str, spent: Mapping[str, int], *, complete: bool) -> None:
        """Ends the leases of `holder` at what its journal says was spent; without a complete one they stay taken.

        Raises Unavailable when it cannot be done now.
        """
        if not complete:
            _log.error("the journal of %s is not complete: what it held of budgets will be booked as lost", holder)
            return
        for key, amount in spent.items():
            if await self._leases.lease_close(account_of(key), holder, amount):
                await self._rows.lost_remove(lost_row_id(key, holder))

    async def run(self) -> None:
        """Looks for silent holders, for as long as the process lives."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.reap()
            except SlipwayError as error:
                _log.warning("leases are not looked after: %s", error)

    async def reap(self) -> int:
        """Books what silent holders had not settled; returns of how many leases."""
        lost = await self._leases.lease_reap(self._lost_after_s)
        if lost:
            await append_all(self._rows, [row_json(self._row(lease)) for lease in lost])
        return len(lost)

    def _row(self, lease: LostLease) -> UsageRow:
        _log.error("a lease of %s is lost with %d %s", lease.account_key, lease.rest, lease.unit)
        is_money = lease.unit == "usd_micros"
        key_id = lease.account_key.split(":")[1].partition("/")[2] or None
        return UsageRow(
            request_id=lease.row_id,
            caller=Caller(lease.tenant_id, lease.holder, frozenset(), key_id=key_id),
            at=self._clock.now(),
            operation="chat.completions",
            requested_model="",
            model="",
            provider="",
            tokens=Tokens(0 if is_money else lease.rest, estimated=True),
            cost_usd_micros=lease.rest if is_money else 0,
            latency_ms=0,
            ttft_ms=None,
            status="lost",
            error_code="journal_lost",
            price_version="",
            cost_basis="bound",
            reserved_usd_micros=lease.rest if is_money else 0,
            charged_tokens=0 if is_money else lease.rest,
        )


def account_of(key: str) -> Account:
    """The account of a name, for closing: its limit does not matter any more."""
    try:
        _, owner, unit, month = key.split(":")
        began = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        return Account(key, owner.partition("/")[0], _UNITS[unit], 0, month_end(began))
    except (ValueError, KeyError) as error:
        raise defect(f"{key!r} names no budget") from error
