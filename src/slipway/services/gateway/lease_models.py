"""Values of budget leases: accounts, what a holder asks of the store and what it is told.

All amounts are cumulative within an account (whole micro-dollars or tokens), so that saying one twice is harmless.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from slipway.base.errors import Unavailable

Unit = Literal["usd_micros", "tokens"]


class Settling(Unavailable):
    """The store has lost its memory and waits for its holders to say what they hold: it passes within seconds."""

    def __init__(self, left_s: float = 1.0) -> None:
        super().__init__("The store of budgets is recovering: try again shortly.", retry_after_s=max(left_s, 0.1))
        self.left_s = left_s


@dataclass(frozen=True, slots=True)
class Account:
    """One budget of one owner in one period. `key` says all three, such as `tenant:ten_x:usd_micros:2026-11`."""

    key: str
    tenant_id: str
    unit: Unit
    limit: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class Ask:
    """What a holder reports and asks for; one with a `seq` that is not above the last one changes nothing.

    `keep`: what it holds to be granted and wants to keep, never below `spent`. `need`, `ask` and `want` are the totals
    that its first waiter, all its waiters and its prefetch would have granted; 0 when it needs nothing.
    """

    account: Account
    holder: str
    seq: int
    spent: int
    keep: int
    need: int
    ask: int
    want: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class State:
    """A lease after a sync.

    `available`: what the account has left to grant. `elsewhere`: unspent rests of other holders, told when `need` was
    refused. `recalled`: another holder waits for this one's rest. `closed`: for good, under this holder's name; an
    `Ask` that is not newer than the last is told the same. `lost`: how often it was given up as lost; the rows booked
    for it are wrong now that its holder is back.
    """

    granted: int
    available: int
    elsewhere: int = 0
    recalled: bool = False
    closed: bool = False
    lost: int = 0


@dataclass(frozen=True, slots=True)
class LostLease:
    """A lease whose holder fell silent: `rest` was granted, never reported as spent, and stays taken.

    `times`: how often it was given up, this time included. Each time has a row of its own.
    """

    account_key: str
    tenant_id: str
    unit: Unit
    holder: str
    rest: int
    times: int

    @property
    def row_id(self) -> str:
        """The id of the usage row that books the rest."""
        return lost_row_id(self.account_key, self.holder, self.times)

    @property
    def earlier_row_ids(self) -> list[str]:
        """Those of the times before, which are wrong: the holder came back from them."""
        return lost_row_ids(self.account_key, self.holder, self.times - 1)


@dataclass(frozen=True, slots=True)
class LeaseCorrection:
    """What was charged to a lease without knowing (`charged`) and is known now (`spent`), for one usage row.

    `times`: 0 for the row of a request, which is in its lease once that is closed; else the row books the rest of a
    lease that was given up so many times, and is in it for as long as that is so.
    """

    account: Account
    holder: str
    row_id: str
    charged: int
    spent: int
    times: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands: `taken` is in leases, `spent` of it is reported as spent."""

    account_key: str
    limit: int
    taken: int
    spent: int


def lost_row_id(account_key: str, holder: str, times: int) -> str:
    """The same id whoever books or removes the row."""
    name = f"{account_key}\n{holder}\n{times}"
    return "lost_" + hashlib.sha256(name.encode()).hexdigest()[:26]


def lost_row_ids(account_key: str, holder: str, times: int) -> list[str]:
    """The rows that a lease may have which was given up so many times."""
    return [lost_row_id(account_key, holder, each) for each in range(1, times + 1)]
