"""Budgets inside one process: leases on slices of them, from which requests are paid without asking anybody (ADR 13).

The gateway's path holds a request's bound before the call and settles its real cost after it. `try_hold` and `settle`
touch memory only; `hold` asks the store when the lease's rest is too small, one sync at a time for each account and for
all that wait. The sum of what all processes hold and have spent never passes a budget, but for what a provider bills
above a request's bound: that is counted at once. With the store away a lease serves until it is used up or runs out.

Everything runs on one event loop; nothing here is safe for threads.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from slipway.base.clock import Clock
from slipway.base.errors import BudgetExceeded, Conflict, SlipwayError, Unavailable
from slipway.base.ids import new_id
from slipway.runtime.deadline import within
from slipway.services.gateway.lease_models import Account, Ask, Settling, State
from slipway.services.gateway.lease_ports import LeaseStore

_SYNC_TIMEOUT_S: Final = 2.0  # a store that is slower is away: its answer may still count, and is repeated
_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2)  # between syncs while somebody waits for another holder's rest
_QUIET_SYNCS: Final = 8  # at once, when nobody waits; arbitrary
_SPARSE: Final = 100  # requests of the usual size; with less than that left nothing is taken ahead
_AHEAD_S: Final = 2.0  # of the spending of late are kept ready
_MOST_ENDED: Final = 10_000  # arbitrary; one a tenant and month
_AHEAD_REQUESTS: Final = 16  # and as many of the largest; arbitrary


_log = logging.getLogger(__name__)


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class EscrowHooks:
    """Where the escrow tells what happens, for metrics and for rows to remove. None may raise or take long."""

    synced: Callable[[float, bool], None] = _nothing  # seconds it took, whether the store answered
    refused: Callable[[Account], None] = _nothing
    store_away: Callable[[Account], None] = _nothing  # and that refused a request
    over_billed: Callable[[Account, int], None] = _nothing  # by how much the cost was above the bound
    ended: Callable[[Account], None] = _nothing  # its period is over, and the store has closed its lease
    found: Callable[[Account, str, int], None] = _nothing  # this holder's lease was lost so many times and is not


class _Waiter:
    __slots__ = ("amount", "deadline_s", "granted")

    def __init__(self, amount: int, deadline_s: float) -> None:
        self.amount = amount
        self.deadline_s = deadline_s
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Lease:
    """One account's lease. `spent + held <= granted` but for over-billing."""

    __slots__ = (
        "account",
        "available",
        "granted",
        "held",
        "holder",
        "largest",
        "lost",
        "rate_per_s",
        "recalled",
        "reported",
        "sampled",
        "seq",
        "settled",
        "spent",
        "task",
        "urgent",
        "used_at_s",
        "valid_until_s",
        "waiters",
    )

    def __init__(self, account: Account, holder: str) -> None:
        self.account = account
        self.holder = holder
        self.seq = 0
        self.granted = 0
        self.spent = 0
        self.held = 0
        self.valid_until_s = float("-inf")
        self.reported = 0  # `spent` as the store knows it
        self.available = 0  # in the account, when the store was last asked
        self.recalled = False
        self.lost = 0
        self.largest = 0  # hold of late
        self.sampled = 0  # `spent + held` at the last heartbeat
        self.rate_per_s = 0.0
        self.used_at_s = float("-inf")
        self.waiters: deque[_Waiter] = deque()
        self.settled = asyncio.Event()
        self.urgent = False  # over-billed while a sync was under way
        self.task: asyncio.Task[None] | None = None

    @property
    def rest(self) -> int:
        return self.granted - self.spent - self.held


class Escrow:
    """The leases of one process. `holder` names its instance: no other, before or after it, has the same name."""

    def __init__(
        self,
        store: LeaseStore,
        clock: Clock,
        holder: str,
        *,
        heartbeat_s: float = 0.5,
        ttl_s: float = 120.0,
        idle_s: float = 10.0,
        wait_s: float = 2.0,
        hooks: EscrowHooks | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic_s = clock.monotonic_s
        self._holder = holder
        self._heartbeat_s = heartbeat_s
        self._ttl_s = ttl_s
        self._idle_s = idle_s
        self._wait_s = wait_s
        self._hooks = hooks or EscrowHooks()
        self._leases: dict[str, _Lease] = {}
        self._ending: dict[str, _Lease] = {}  # of past periods, until the store has closed them
        self._ended: dict[str, None] = {}  # the last that were closed, oldest first
        self._epoch: int | None = None
        self._quiet = asyncio.Semaphore(_QUIET_SYNCS)

    def try_hold(self, account: Account, amount: int) -> bool:
        """Holds `amount` when the lease has it; False sends the caller to `hold`. Awaits nothing."""
        lease = self._leases.get(account.key)
        if (
            lease is None
            or amount > lease.granted - lease.spent - lease.held
            or lease.waiters
            or (now_s := self._monotonic_s()) >= lease.valid_until_s
        ):
            return False
        lease.held += amount
        lease.used_at_s = now_s
        if amount > lease.largest:
            lease.largest = amount
        return True

    async def hold(self, account: Account, amount: int) -> None:
        """Holds `amount`, asking the store where needed.

        Raises BudgetExceeded when the budget has too little left, at once or after the time to wait for what other
        requests and processes hold of it; Unavailable when the store is away and the lease used up.
        """
        if self.try_hold(account, amount):
            return
        if amount > account.limit:
            self._hooks.refused(account)
            raise _exceeded(account, self._retry_after_s(account), whole=True)
        lease = self._lease(account)
        waiter = _Waiter(amount, self._monotonic_s() + self._wait_s)
        lease.waiters.append(waiter)
        self._kick(lease)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
                lease.held -= amount
                lease.settled.set()
            with contextlib.suppress(ValueError):
                lease.waiters.remove(waiter)
            raise

    def settle(self, account: Account, held: int, spent: int) -> None:
        """Turns what was held into what it cost; 0 returns it. A cost above the bound is flagged and reported now."""
        lease = self._lease(account)
        lease.held = max(lease.held - held, 0)  # a request may outlive `close`
        lease.spent += spent
        if spent > held:
            self._hooks.over_billed(account, spent - held)
            lease.urgent = True
            self._kick(lease)
        if lease.waiters:
            self._admit(lease)
            lease.settled.set()

    def totals(self) -> dict[str, tuple[Account, int]]:
        """What this process has spent of each account, over its lease's whole life."""
        return {key: (lease.account, lease.spent) for key, lease in (self._ending | self._leases).items()}

    def held(self) -> Mapping[tuple[str, str], int]:
        """What this process holds of budgets, by unit: `granted`, of that `spent` and `held`, and how many `leases`."""
        sums: dict[tuple[str, str], int] = {}
        for lease in (*self._leases.values(), *self._ending.values()):
            for what, value in (
                ("granted", lease.granted),
                ("spent", lease.spent),
                ("held", lease.held),
                ("leases", 1),
            ):
                key = (lease.account.unit, what)
                sums[key] = sums.get(key, 0) + value
        return sums

    async def run(self) -> None:
        """Reports, renews, takes ahead and gives back, until it is cancelled."""
        await self._look()
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await self._look()
            self._beat()

    async def close(self) -> None:
        """Gives back what is left, after the last request. What cannot be told the store is left to the journal."""
        leases = [*self._leases.values(), *self._ending.values()]
        self._leases.clear()
        self._ending.clear()
        await asyncio.gather(*(self._end(lease) for lease in leases))

    def _lease(self, account: Account) -> _Lease:
        lease = self._leases.get(account.key)
        if lease is None:
            lease = self._leases[account.key] = _Lease(account, self._name(account.key))
        elif lease.account is not account:
            lease.account = account  # the plan's limit may be another now
        return lease

    def _name(self, account_key: str) -> str:
        """A closed lease is not opened again under its name: after a clock went back the next one has another."""
        return f"{self._holder}.{new_id('lse')}" if account_key in self._ended else self._holder

    def _note_ended(self, account_key: str) -> None:
        """Of more than are kept the store says itself that they are closed, at the cost of one exchange."""
        self._ended.pop(account_key, None)
        self._ended[account_key] = None
        if len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def _kick(self, lease: _Lease) -> None:
        if lease.task is None or lease.task.done():
            lease.task = asyncio.get_running_loop().create_task(self._work(lease))

    def _beat(self) -> None:
        now_s, now = self._monotonic_s(), self._clock.now()
        for lease in list(self._leases.values()):
            used = lease.spent + lease.held
            # What was spent between two heartbeats, half of it from before: settled holds make it a little less.
            lease.rate_per_s = (lease.rate_per_s + max(used - lease.sampled, 0) / self._heartbeat_s) / 2
            lease.sampled = used
            if now >= lease.account.resets_at and not lease.held and not lease.waiters:
                if (lease.task is None or lease.task.done()) and lease.account.key not in self._ending:
                    self._ending[lease.account.key] = self._leases.pop(lease.account.key)
                    self._note_ended(lease.account.key)
            elif self._is_due(lease, now_s):
                self._kick(lease)
        for lease in self._ending.values():
            if lease.task is None or lease.task.done():
                lease.task = asyncio.get_running_loop().create_task(self._end_past(lease))

    async def _look(self) -> None:
        """When the store has lost its memory it learns again what is held, all of it."""
        try:
            epoch = await within(_SYNC_TIMEOUT_S, self._store.lease_epoch())
        except (SlipwayError, TimeoutError):
            return
        if self._epoch is not None and epoch != self._epoch:
            for lease in self._leases.values():
                lease.urgent = True
                self._kick(lease)
        self._epoch = epoch

    def _is_due(self, lease: _Lease, now_s: float) -> bool:
        if lease.spent != lease.reported or lease.rest != 0 or lease.recalled:
            return True  # a rest is asked about at each heartbeat: somebody may wait for it
        return lease.held > 0 and lease.valid_until_s - now_s < self._ttl_s / 2

    async def _work(self, lease: _Lease) -> None:
        """Syncs until nobody waits and everything is reported."""
        tries = 0
        while True:
            lease.urgent = False
            if lease.waiters:
                answered = await self._sync(lease)
            else:
                async with self._quiet:
                    answered = await self._sync(lease)
            if not lease.waiters:
                if answered and lease.urgent:
                    continue
                return
            lease.settled.clear()
            pause_s = _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]
            soonest_s = min(waiter.deadline_s for waiter in lease.waiters) - self._monotonic_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(min(pause_s, soonest_s), 0.001)):
                    await lease.settled.wait()
            tries += 1

    async def _sync(self, lease: _Lease) -> bool:
        """One exchange with the store and what follows from it; False when there was no answer."""
        present = list(lease.waiters)
        ask = self._ask(lease)
        sent_s = self._monotonic_s()
        try:
            state = await within(_SYNC_TIMEOUT_S, self._store.lease_sync(ask))
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            if not isinstance(error, SlipwayError | TimeoutError):
                _log.error("a sync of %s failed: %s", lease.account.key, error, exc_info=error)
            self._hooks.synced(self._monotonic_s() - sent_s, False)
            self._fail(lease, present, error)
            return False
        self._hooks.synced(self._monotonic_s() - sent_s, True)
        if state.closed:
            self._note_ended(lease.account.key)
            lease.holder = self._name(lease.account.key)
            lease.seq = lease.granted = lease.spent = lease.reported = lease.lost = 0
            return True
        lease.granted = state.granted
        lease.available = state.available
        lease.recalled = state.recalled
        lease.reported = ask.spent
        lease.valid_until_s = sent_s + self._ttl_s * 0.9
        if state.lost > lease.lost:
            lease.lost = state.lost
            self._hooks.found(lease.account, lease.holder, state.lost)
        self._admit(lease)
        self._refuse(lease, state, present)
        return True

    def _ask(self, lease: _Lease) -> Ask:
        now_s = self._monotonic_s()
        used = lease.spent + lease.held
        first = lease.waiters[0].amount if lease.waiters else 0
        waiting = sum(waiter.amount for waiter in lease.waiters)
        size = max([lease.largest, *(waiter.amount for waiter in lease.waiters)])
        lease.largest = size * 3 // 4 if not lease.waiters else size  # a large one of long ago does not count
        idle = not lease.waiters and now_s - lease.used_at_s > self._idle_s
        if lease.recalled or idle:
            # Before it is sent: what may be given back already is not used any more, whatever becomes of the answer.
            lease.granted = max(min(lease.granted, used), lease.spent)
        want = used + waiting
        if not lease.recalled and not idle and (lease.waiters or lease.available >= _SPARSE * size):
            ahead = max(_AHEAD_REQUESTS * size, int(lease.rate_per_s * _AHEAD_S))
            if lease.waiters or lease.rest < ahead // 2:
                want += ahead
        lease.seq += 1
        # Without a waiter a lease that over-billing has left too small asks to cover what is in flight.
        return Ask(
            account=lease.account,
            holder=lease.holder,
            seq=lease.seq,
            spent=lease.spent,
            keep=lease.granted,
            need=used + first,
            ask=used + waiting,
            want=want,
            ttl_s=self._ttl_s,
        )

    def _admit(self, lease: _Lease) -> None:
        """Lets waiters go in their order as far as the rest reaches."""
        now_s = self._monotonic_s()
        if now_s >= lease.valid_until_s:
            return
        while lease.waiters and lease.waiters[0].amount <= lease.rest:
            waiter = lease.waiters.popleft()
            if waiter.granted.done():
                continue
            lease.held += waiter.amount
            lease.largest = max(lease.largest, waiter.amount)
            lease.used_at_s = now_s
            waiter.granted.set_result(None)

    def _refuse(self, lease: _Lease, state: State, present: list[_Waiter]) -> None:
        """Sends away those that the store has too little for, once nothing can return or their time is over."""
        now_s = self._monotonic_s()
        nothing_returns = state.elsewhere == 0 and lease.held == 0
        reach = state.available + max(lease.rest, 0)
        for waiter in present:
            if waiter.granted.done():
                continue
            if (nothing_returns and waiter.amount > reach) or now_s >= waiter.deadline_s:
                lease.waiters.remove(waiter)
                self._hooks.refused(lease.account)
                waiter.granted.set_exception(_exceeded(lease.account, self._retry_after_s(lease.account)))

    def _fail(self, lease: _Lease, present: list[_Waiter], error: Exception) -> None:
        """Budgets fail closed: who waits for a store that is away is told so."""
        now_s = self._monotonic_s()
        for waiter in present:
            if isinstance(error, Settling):  # it passes at a known time
                waiter.deadline_s = max(waiter.deadline_s, now_s + error.left_s + self._wait_s)
            if waiter.granted.done() or (isinstance(error, Conflict | Settling) and now_s < waiter.deadline_s):
                continue
            lease.waiters.remove(waiter)
            self._hooks.store_away(lease.account)
            waiter.granted.set_exception(
                Unavailable(
                    "The store of budgets does not answer, and this budget's lease is used up: try again shortly.",
                    detail=str(error) or repr(error),
                    retry_after_s=1.0,
                )
            )

    async def _end(self, lease: _Lease) -> bool:
        if lease.task is not None and lease.task is not asyncio.current_task():
            lease.task.cancel()
            await asyncio.wait([lease.task])
        self._fail(lease, list(lease.waiters), Unavailable("This process stops: try again."))
        try:
            async with asyncio.timeout(_SYNC_TIMEOUT_S):
                if lease.held:  # in flight at a hard stop: their part stays taken until the journal tells their cost
                    lease.recalled = True
                    await self._store.lease_sync(self._ask(lease))
                elif lease.seq or lease.spent:
                    lost = await self._store.lease_close(lease.account, lease.holder, lease.spent)
                    if lost:
                        self._hooks.found(lease.account, lease.holder, lost)
        except Exception as error:  # noqa: BLE001 - the journal has what was spent, and a stop must not end here
            if not isinstance(error, SlipwayError | TimeoutError):
                _log.error("the lease of %s is not closed: %s", lease.account.key, error, exc_info=error)
            return False
        return True

    async def _end_past(self, lease: _Lease) -> None:
        if await self._end(lease):
            self._ending.pop(lease.account.key, None)
            self._hooks.ended(lease.account)

    def _retry_after_s(self, account: Account) -> float:
        return max((account.resets_at - self._clock.now()).total_seconds(), 1.0)


def _dollars(usd_micros: int) -> str:
    """`$1,200.00`, and `$0.003` for less than cents tell."""
    whole = f"{usd_micros / 1_000_000:,.6f}".rstrip("0")
    cents = f"{usd_micros / 1_000_000:,.2f}"
    return "$" + (whole if len(whole) > len(cents) else cents)


def _exceeded(account: Account, retry_after_s: float, *, whole: bool = False) -> BudgetExceeded:
    """Names whose budget of what it is, its limit, and when it returns."""
    owner = {"tenant": "this tenant", "key": "this key"}.get(account.key.partition(":")[0], "this caller")
    what, limit = "token", f"{account.limit:,} tokens"
    if account.unit == "usd_micros":
        what, limit = "money", _dollars(account.limit)
    returns = f"{account.resets_at:%Y-%m-%d %H:%M} UTC"
    if whole:
        sentence = f"This request could use more than the whole {what} budget of {owner}, {limit}: ask for less."
    else:
        sentence = f"The {what} budget of {owner}, {limit}, has too little left for this request: it returns {returns}."
    return BudgetExceeded(sentence, retry_after_s=retry_after_s)
