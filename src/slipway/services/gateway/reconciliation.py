"""Putting right what was booked without knowing: rows of requests and leases whose process died (ADR 13).

An administrator who has the provider's bill says what a request took. Its row is rewritten once, with what it said
before and who changed it kept beside it, and what its budgets were charged too much is given back to them. The row and
its correction are one transaction; the leases, which may be kept elsewhere, follow at once or, when that fails, from
whichever process looks next. A lease is corrected once for each row.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from slipway.api.usage import UsageAmounts, UsageReconciled, UsageReconciliation, UsageRow
from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import Conflict, InvalidRequest, NotFound, SlipwayError
from slipway.services.gateway.lease_models import LeaseCorrection
from slipway.services.gateway.lease_ports import LeaseStore
from slipway.services.gateway.models import Booking, Price, Tokens
from slipway.services.gateway.settlement import account_of

_EVERY_S: Final = 15.0
_UNCERTAIN: Final = ("unknown", "lost")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A usage row as it is kept; `booking` is None for one that was never uncertain, or before there were bookings."""

    tenant_id: str
    row: UsageRow
    booking: Booking | None


@dataclass(frozen=True, slots=True)
class Correction:
    """How one row was put right, when and by whom: it is never changed."""

    tenant_id: str
    request_id: str
    at: datetime
    by: Caller
    before: UsageAmounts
    after: UsageAmounts
    booking: Booking | None


class CorrectionStore(Protocol):
    """Keeps corrections beside their rows, over all tenants. Each method raises Unavailable when it is away."""

    async def row_find(self, request_id: str) -> Kept | None:
        """The row of that id."""
        ...

    async def correction_find(self, request_id: str) -> Correction | None:
        """How it was put right."""
        ...

    async def correction_add(self, correction: Correction) -> bool:
        """Rewrites the row and keeps the correction, both or neither; False when the row is not uncertain any more."""
        ...

    async def correction_pending(self) -> Sequence[Correction]:
        """Those whose leases are still to be corrected."""
        ...

    async def correction_settled(self, request_id: str) -> None:
        """Notes that all leases of a correction have it."""
        ...


PriceOf = Callable[[UsageRow], Price | None]


class Reconciliation:
    """Corrects rows and their leases. `price_of` tells what a row's tokens cost, or None where nobody knows."""

    def __init__(self, store: CorrectionStore, leases: LeaseStore, clock: Clock, price_of: PriceOf) -> None:
        self._store = store
        self._leases = leases
        self._clock = clock
        self._price_of = price_of

    async def reconcile(self, caller: Caller, request_id: str, asked: UsageReconciliation) -> UsageReconciled:
        """Rewrites the row; saying the same again changes nothing.

        Raises NotFound, Conflict for a row that is not uncertain or was put right otherwise, InvalidRequest for more
        than was reserved unless that is confirmed, and for a cost that nobody can tell.
        """
        kept = await self._store.row_find(request_id)
        if kept is None:
            raise NotFound("There is no such usage row.")
        if kept.row.status in _UNCERTAIN:
            correction = Correction(
                tenant_id=kept.tenant_id,
                request_id=request_id,
                at=self._clock.now(),
                by=caller,
                before=UsageAmounts.model_validate(kept.row.model_dump()),
                after=self._after(kept, asked),
                booking=kept.booking,
            )
            if await self._store.correction_add(correction):
                _log.warning(
                    "usage row %s of %s: %s reconciled it from %s to %s",
                    *(request_id, kept.tenant_id, caller.subject),
                    *(correction.before.model_dump_json(), correction.after.model_dump_json()),
                )
                await self._settle_now(correction)
                return _told(correction)
        return _told(await self._same(kept, asked))

    async def run(self) -> None:
        """Brings corrections to leases that could not be reached, for as long as the process lives."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.settle()
            except SlipwayError as error:
                _log.warning("corrections of leases wait: %s", error)

    async def settle(self) -> None:
        """Corrects the leases of every correction that waits."""
        for correction in await self._store.correction_pending():
            await self._settle(correction)

    async def _same(self, kept: Kept, asked: UsageReconciliation) -> Correction:
        found = await self._store.correction_find(kept.row.request_id)
        if found is None:
            raise Conflict(f"This row is {kept.row.status}: only what is unknown or lost can be reconciled.")
        before = Kept(kept.tenant_id, kept.row.model_copy(update=found.before.model_dump()), found.booking)
        if self._after(before, asked) != found.after:
            raise Conflict("This row has been reconciled already, to other numbers.")
        return found

    def _after(self, kept: Kept, asked: UsageReconciliation) -> UsageAmounts:
        row, hour = kept.row, asked.cache_write_1h_tokens
        tokens = Tokens(
            asked.input_tokens,
            asked.output_tokens,
            asked.cache_read_tokens,
            asked.cache_write_tokens - hour,
            hour,
        )
        cost = asked.cost_usd_micros
        if cost is None:
            price = self._price_of(row)
            if price is not None:
                cost = price.cost_usd_micros(tokens)
            elif row.cost_usd_micros:
                raise InvalidRequest("This row has no price: say cost_usd_micros.")
            else:
                cost = 0
        # Without a budget a request may have had no bound, which is 0.
        above = cost > row.cost_usd_micros > 0 or tokens.total > row.charged_tokens > 0
        if above and not asked.above_bound:
            raise InvalidRequest(
                f"This is more than was reserved ({row.charged_tokens} tokens, {row.cost_usd_micros} micro-dollars): "
                "say above_bound if the provider did bill it."
            )
        return UsageAmounts(
            status="reconciled",
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            cache_read_tokens=tokens.cache_read,
            cache_write_tokens=asked.cache_write_tokens,
            cache_write_1h_tokens=hour,
            tokens_estimated=False,
            cost_usd_micros=cost,
            cost_basis="counted",
            uncertain_usd_micros=0,
            over_bound=above,
            charged_tokens=tokens.total,
        )

    async def _settle_now(self, correction: Correction) -> None:
        try:
            await self._settle(correction)
        except SlipwayError as error:
            _log.warning("the leases of %s are corrected later: %s", correction.request_id, error)

    async def _settle(self, correction: Correction) -> None:
        done = True
        for lease in lease_corrections(correction):
            # A budget of the past is nobody's any more, whatever became of its lease.
            past = lease.account.resets_at < self._clock.now()
            done = (await self._leases.lease_correct(lease) or past) and done
        if done:
            await self._store.correction_settled(correction.request_id)


def lease_corrections(correction: Correction) -> list[LeaseCorrection]:
    """What a correction changes of leases, each account once."""
    booking, after = correction.booking, correction.after
    if booking is None:
        return []
    charged: dict[str, int] = {}
    for key, amount in booking.charges:
        charged[key] = charged.get(key, 0) + amount
    accounts = [(account_of(key), amount) for key, amount in charged.items()]
    return [
        LeaseCorrection(
            account=account,
            holder=booking.holder,
            row_id=correction.request_id,
            charged=amount,
            spent=after.cost_usd_micros if account.unit == "usd_micros" else after.charged_tokens,
            times=booking.times,
        )
        for account, amount in accounts
    ]


def _told(correction: Correction) -> UsageReconciled:
    return UsageReconciled(
        request_id=correction.request_id,
        tenant_id=correction.tenant_id,
        at=correction.at,
        by=correction.by.subject,
        before=correction.before,
        after=correction.after,
    )
