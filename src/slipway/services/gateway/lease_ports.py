"""The store of budget leases: what the escrow needs, so that no sum of leases ever goes above its budget.

An account's `taken` is the sum of `granted` over its leases, open, lost or closed; a lease is (account, holder). Every
operation is atomic for its account. All raise Unavailable when the store is away, and Conflict on a lost race.
"""

from collections.abc import Sequence
from typing import Protocol

from slipway.base.callers import Caller
from slipway.services.gateway.lease_models import Account, Ask, LostLease, Standing, State


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

    async def lease_close(self, account: Account, holder: str, spent: int) -> bool:
        """Ends a lease for good at what was truly spent; the rest is available again. Twice is harmless.

        True when the lease was given up as lost before: the row booked for it (`lost_row_id`) is to be removed.
        """
        ...

    async def lease_reap(self, lost_after_s: float) -> Sequence[LostLease]:
        """Gives up leases that expired `lost_after_s` ago or earlier: their rest counts as spent and stays taken.

        Each is returned once, whoever reaps; those without a rest are not.
        """
        ...

    async def standing_list(self, caller: Caller, account_keys: Sequence[str]) -> Sequence[Standing]:
        """How the caller's accounts stand; those that nobody has used yet are left out."""
        ...
