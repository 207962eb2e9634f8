"""What becomes of budgets that a process held when it ended: settled from its journal, or booked as lost.

The usage journal calls `settle_dead` for processes that stopped or were killed; `run` gives up leases whose holder has
been silent for too long, whose journal is gone with it, and books one `lost` row for each. The store of leases keeps
which of them have no row yet, so that none is forgotten when this process ends between the two.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import SlipwayError, Unavailable, defect
from slipway.services.gateway.admission import month_end
from slipway.services.gateway.lease_models import Account, LostLease, Unit, lost_row_ids
from slipway.services.gateway.lease_ports import LeaseStore
from slipway.services.gateway.models import Booking, Tokens, UsageRow
from slipway.services.gateway.usage_delivery import RowStore, append_all
from slipway.services.gateway.usage_records import row_json

LOST_AFTER_S: Final = 900.0  # time for a restart to bring the journal back; until then the rest stays taken anyway
_EVERY_S: Final = 15.0
_AT_ONCE: Final = 8  # leases that are closed side by side; arbitrary, fewer than connections to a store
_UNITS: Final[Mapping[str, Unit]] = {"usd_micros": "usd_micros", "tokens": "tokens"}
_log = logging.getLogger(__name__)


class LostRows(RowStore, Protocol):
    """Where usage rows are kept."""

    async def lost_remove(self, row_ids: Sequence[str]) -> None:
        """Removes the rows of leases that were not lost after all."""
        ...


class Settlement:
    """Closes what others left open."""

    def __init__(self, leases: LeaseStore, rows: LostRows, clock: Clock, *, lost_after_s: float = LOST_AFTER_S) -> None:
        self._leases = leases
        self._rows = rows
        self._clock = clock
        self._lost_after_s = lost_after_s
        self._found: set[str] = set()

    def found(self, account: Account, holder: str, times: int) -> None:
        """A lease of this process was given up so many times, and it is alive: the rows are removed soon.

        Should it end before, its journal is settled, which removes them too.
        """
        self._found.update(lost_row_ids(account.key, holder, times))

    async def settle_dead(self, holder: str, spent: Mapping[str, int], *, complete: bool) -> None:
        """Ends the leases of `holder` at what its journal says was spent; without a complete one they stay taken.

        An account that cannot be settled holds up no other. Raises Unavailable, at the end, for those that are left.
        """
        if not complete:
            _log.error("the journal of %s is not complete: what it held of budgets will be booked as lost", holder)
            return
        places = asyncio.Semaphore(_AT_ONCE)
        failures = await asyncio.gather(
            *(self._settle(places, key, holder, amount) for key, amount in spent.items()),
        )
        failed = [failure for failure in failures if failure is not None]
        if failed:
            raise Unavailable(
                f"{len(failed)} of {len(failures)} budgets of {holder} are not settled.", detail=str(failed[0])
            ) from failed[0]

    async def _settle(self, places: asyncio.Semaphore, key: str, holder: str, amount: int) -> Exception | None:
        """What went wrong, whatever it was."""
        try:
            async with places:
                if times := await self._leases.lease_close(account_of(key), holder, amount):
                    await self._rows.lost_remove(lost_row_ids(key, holder, times))
        except Exception as error:  # noqa: BLE001 - one account must not keep those of other tenants taken
            _log.error("budget %s of %s is not settled: %s", key, holder, error)
            return error
        return None

    async def run(self) -> None:
        """Looks for silent holders, for as long as the process lives."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.reap()
            except SlipwayError as error:
                _log.warning("leases are not looked after: %s", error)

    async def reap(self) -> int:
        """Books what silent holders had not settled, also for whoever began to and ended; returns of how many leases.

        Each step may be done twice, or by two at once: a row is kept once, and one that is wrong by then is removed.
        """
        if self._found:
            found = list(self._found)
            await self._rows.lost_remove(found)
            self._found.difference_update(found)
        lost = await self._leases.lease_reap(self._lost_after_s)
        if lost:
            await append_all(self._rows, [row_json(self._row(lease)) for lease in lost])
        wrong: list[str] = []
        for lease in lost:
            wrong += lease.earlier_row_ids
            if not await self._leases.lease_booked(lease):
                wrong.append(lease.row_id)
        if wrong:
            await self._rows.lost_remove(wrong)
        return len(lost)

    def _row(self, lease: LostLease) -> UsageRow:
        _log.error("a lease of %s is lost with %d %s", lease.account_key, lease.rest, lease.unit)
        is_money = lease.unit == "usd_micros"
        key_id = lease.account_key.split(":")[1].partition("/")[2] or None
        # In the month of its budget, however late it is found.
        last = account_of(lease.account_key).resets_at - timedelta(microseconds=1)
        return UsageRow(
            request_id=lease.row_id,
            caller=Caller(lease.tenant_id, lease.holder, frozenset(), key_id=key_id),
            at=min(self._clock.now(), last),
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
            booking=Booking(lease.holder, ((lease.account_key, lease.rest),), lease.times),
        )


def account_of(key: str) -> Account:
    """The account of a name, for closing: its limit does not matter any more."""
    try:
        _, owner, unit, month = key.split(":")
        began = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        return Account(key, owner.partition("/")[0], _UNITS[unit], 0, month_end(began))
    except (ValueError, KeyError) as error:
        raise defect(f"{key!r} names no budget") from error
