"""The store of budget leases: what the escrow needs, so that no sum of leases ever goes above its budget.

An account's `taken` is the sum of `granted` over its leases, open, lost or closed; a lease is (account, holder). Every
operation is atomic for its account. All raise Unavailable when the store is away, and Conflict on a lost race.
"""

from collections.abc import Sequence
from typing import Protocol

from slipway.base.callers import Caller
from slipway.services.gateway.lease_models import Account, Ask, LeaseCorrection, LostLease, Standing, State


class LeaseStore(Protocol):
    """Grants slices of budgets."""

    async def lease_epoch(self) -> int:
        """Another number each time the store has lost its memory: holders then sync every lease at once."""
        ...

    async def lease_sync(self, ask: Ask) -> State:
        """Reports what was spent, gives back, asks for more, and puts off the lease's expiry.

        In this order: `spent` counts at once, above the limit too; what is above `keep` returns; then `need` is granted
        whole, or nothing is and the other holders' rests are recalled.
        """
        ...

    async def lease_close(self, account: Account, holder: str, spent: int) -> int:
        """Ends a lease for good at what was truly spent; the rest is available again. Twice is harmless.

        Returns how often it was given up as lost before: the rows booked for it (`lost_row_ids`) are to be removed.
        """
        ...

    async def lease_reap(self, lost_after_s: float) -> Sequence[LostLease]:
        """Gives up leases that expired `lost_after_s` ago or earlier: their rest counts as spent and stays taken.

        Returns all that have a rest whose row is not booked yet (`lease_booked`), whoever gave them up.
        """
        ...

    async def lease_booked(self, lost: LostLease) -> bool:
        """Notes that the row of a lease is written, so that `lease_reap` returns it no more.

        False when the lease is not lost any more, its holder or its journal having come back: the row is to be removed.
        """
        ...

    async def lease_correct(self, correction: LeaseCorrection) -> bool:
        """Puts what was charged to a lease right, once for each row, however often it is asked; False: not yet.

        That is while the row of a request is not yet in its lease. A lease that does not hold it any more, or that is
        not known, stays as it is.
        """
        ...

    async def standing_list(self, caller: Caller, account_keys: Sequence[str]) -> Sequence[Standing]:
        """How the caller's accounts stand; those that nobody has used yet are left out."""
        ...
