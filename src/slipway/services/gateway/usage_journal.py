"""Usage between the request that made it and the database: a journal on this machine's disk, and who delivers it.

A request is opened before its provider is called and closed once, however it ends; both are records of the process's
journal (`runtime/journal`). What cannot be opened must not be served. `run` delivers closings in batches while the
process lives, waits while the database is away, and takes over the journals of processes that were killed. Memory holds
what is open, never what waits: that is on the disk.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from slipway.base.errors import SlipwayError
from slipway.runtime.journal import Journal, Orphan, Reader, SnapshotRecord, SyncPolicy, adopt
from slipway.runtime.journal.writer import MAX_BYTES, SEGMENT_BYTES
from slipway.services.gateway import metrics
from slipway.services.gateway.models import Charge, Opening, UsageRow
from slipway.services.gateway.usage_delivery import BATCH, RowStore, SettleDead, append_all, settle_nothing
from slipway.services.gateway.usage_records import (
    CLOSING,
    OPENING,
    SPENT,
    WITHDRAWAL,
    opening_json,
    row_json,
    spent_json,
)
from slipway.services.gateway.usage_recovery import Recovery

_READ: Final = 250  # records read at a time: the event loop is held for half a millisecond
_GATHER_S: Final = 0.1  # a pause before each write: one transaction for a burst
_ADOPT_S: Final = 2.0
# A closing has the opening's texts, a provider's id and some 500 bytes of numbers and names.
_CLOSING_BYTES: Final = 1024
_CHARGE_BYTES: Final = 32
_log = logging.getLogger(__name__)


class UsageJournal:
    """The usage log of this process; implements UsageLog."""

    def __init__(
        self, root: Path, journal: Journal, store: RowStore, *, settle_dead: SettleDead = settle_nothing
    ) -> None:
        self._root = root
        self._journal = journal
        self._store = store
        self.settle_dead = settle_dead
        self._open: dict[str, tuple[bytes, int]] = {}
        self._spent: dict[str, int] = {}
        self._unwritten: dict[str, tuple[bytes, tuple[Charge, ...]]] = {}
        self._waiting = 0
        self._filled = asyncio.Event()
        self._delivering = asyncio.Lock()
        self._batch: list[bytes] = []
        self._recovery = Recovery(store)
        self._reader = Reader(journal.folder, end=lambda: journal.position, kinds=CLOSING)

    @classmethod
    def start(
        cls,
        root: Path,
        store: RowStore,
        *,
        settle_dead: SettleDead = settle_nothing,
        sync: SyncPolicy = "interval",
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> Self:
        """A new journal below `root`. Raises StorageFull or Unavailable."""
        journals: list[Self] = []

        def snapshot() -> Iterator[SnapshotRecord]:
            return journals[0]._snapshot() if journals else iter(())

        journal = Journal.open(root, snapshot=snapshot, sync=sync, segment_bytes=segment_bytes, max_bytes=max_bytes)
        usage = cls(root, journal, store, settle_dead=settle_dead)
        journals.append(usage)
        metrics.USAGE_WAITING.set_function(lambda: usage.pending)
        return usage

    @property
    def instance_id(self) -> str:
        """Names this process's journal, and it as a holder of leases."""
        return self._journal.instance_id

    @property
    def must_sync(self) -> bool:
        """Whether `synced` is to be awaited after `open` and before the provider is called."""
        return self._journal.sync_policy == "always"

    @property
    def pending(self) -> int:
        """Rows that are not in the database yet."""
        return self._waiting

    def open(self, opening: Opening) -> None:
        """Keeps what is known of a request, in place of what was kept for it before; else it must not be served.

        Raises StorageFull or Unavailable; what was kept before then stays.
        """
        payload = opening_json(opening)
        request_id = opening.request_id
        reserved = len(payload) + _CLOSING_BYTES + _CHARGE_BYTES * len(opening.holds)
        before = self._open.get(request_id)
        try:
            self._journal.append(OPENING, request_id, payload, reserve_bytes=reserved)
        except SlipwayError:
            metrics.USAGE_REFUSED.inc()
            raise
        if before is not None:
            self._journal.release(before[1])
        self._open[request_id] = (payload, reserved)

    async def synced(self) -> None:
        """Returns once what was opened is as durable as the sync policy promises. Raises Unavailable."""
        await self._journal.synced()

    def withdraw(self, request_id: str) -> None:
        """Takes an opening back: its provider was not called, nothing is held and there is no row."""
        _, reserved = self._open.pop(request_id)
        try:
            self._journal.append(WITHDRAWAL, request_id, b"{}", release_bytes=reserved)
        except SlipwayError as error:
            self._journal.release(reserved)
            _log.warning("request %s is booked at its bound when this process is killed: %s", request_id, error)

    def close(self, row: UsageRow) -> None:
        """Keeps the row of a request that was opened, once. Never raises: what the disk refuses waits in memory."""
        request_id = row.request_id
        opened = self._open.get(request_id)
        if opened is None or request_id in self._unwritten:
            _log.error("usage row of a request that is not open: %r", row)
            return
        payload = row_json(row)
        try:
            self._journal.append(CLOSING, request_id, payload, release_bytes=opened[1])
        except SlipwayError as error:
            if not self._unwritten:
                _log.error("usage rows are kept in memory: %s", error)
            self._unwritten[request_id] = (payload, row.charges)
            metrics.USAGE_IN_MEMORY.set(len(self._unwritten))
        else:
            self._closed(request_id, row.charges)
        self._waiting += 1
        metrics.observe(row)
        if not self._filled.is_set():
            self._filled.set()

    def _closed(self, request_id: str, charges: tuple[Charge, ...]) -> None:
        # After the record is written: a snapshot that was made on the way has the request open and not yet charged.
        del self._open[request_id]
        for account, amount in charges:
            self._spent[account] = self._spent.get(account, 0) + amount

    def leasing(self, account: str) -> None:
        """Notes that this process is about to hold of an account, so that it is settled if it dies before it spends.

        Raises StorageFull or Unavailable.
        """
        if account not in self._spent:
            self._journal.append(SPENT, account, spent_json(0))
            self._spent[account] = 0

    def forget(self, account: str) -> None:
        """Drops the total of an account whose lease this process has closed for good."""
        self._spent.pop(account, None)

    async def check(self) -> None:
        """For readiness: raises when the next request would be refused."""
        self._journal.check()

    async def run(self) -> None:
        """Delivers closings, syncs and adopts, for as long as the process lives."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deliver_always())
            tasks.create_task(self._journal.run())
            tasks.create_task(self._adopt_always())

    async def flush(self, timeout_s: float = 15.0) -> None:
        """Delivers what waits, at stop, settles this process's leases and lets go of the journal.

        What cannot be delivered by then stays on the disk, for whoever adopts it.
        """
        done = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._ended()
                done = await self._delivered() and await self._settled() and not self._open
        if not done:
            _log.warning("journal %s stays: %d open, %d rows wait", self.instance_id, len(self._open), self._waiting)
        for payload, _ in self._unwritten.values():
            _log.error("usage row not stored: %s", payload.decode())
        self._reader.close()
        self._journal.close(remove=done)

    async def _ended(self) -> None:
        """Waits a moment for requests that the server has just cut off: their rows are on the way."""
        for _ in range(100):
            if len(self._open) == len(self._unwritten):
                return
            await asyncio.sleep(0.01)

    async def _delivered(self) -> bool:
        """Whether everything is in the database and nothing is open."""
        while self._waiting:
            await self._deliver()
            await asyncio.sleep(0.01)
        return not self._open and not self._waiting

    async def _settled(self) -> bool:
        try:
            await self.settle_dead(self.instance_id, dict(self._spent), complete=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal stays and the stop goes on
            _log.warning("leases of %s are not closed: %s", self.instance_id, error)
            return False
        return True

    async def _deliver_always(self) -> None:
        while True:
            await self._filled.wait()
            await asyncio.sleep(_GATHER_S)
            self._filled.clear()
            await self._deliver()

    async def _deliver(self) -> None:
        """Everything that waits, batch by batch; the lock is for `flush` beside a `run` that is being cancelled."""
        async with self._delivering:
            while await self._gather():
                await append_all(self._store, self._batch)
                self._count(len(self._batch))
                self._batch = []
                with contextlib.suppress(SlipwayError):  # `check` says so; they are removed another time
                    await self._journal.remove_before(self._reader.position.segment)
            await self._deliver_unwritten()

    async def _gather(self) -> bool:
        """Fills the batch; one whose delivery was cancelled is still there."""
        while len(self._batch) < BATCH:
            records = self._reader.read(min(_READ, BATCH - len(self._batch)))
            if not records:
                break
            self._batch += [record.payload for record in records]
            await asyncio.sleep(0)
        return bool(self._batch)

    async def _deliver_unwritten(self) -> None:
        """Rows that the disk refused go from memory; the journal is told when it has room again."""
        while self._unwritten:
            rows = dict(list(self._unwritten.items())[:BATCH])
            await append_all(self._store, [payload for payload, _ in rows.values()])
            self._count(len(rows))
            for request_id, (payload, charges) in rows.items():
                del self._unwritten[request_id]
                reserved = self._open[request_id][1]
                try:
                    self._journal.append(CLOSING, request_id, payload, release_bytes=reserved)
                    self._waiting += 1  # it is delivered once more, which changes nothing
                    self._filled.set()
                except SlipwayError:
                    self._journal.release(reserved)
                self._closed(request_id, charges)
            metrics.USAGE_IN_MEMORY.set(len(self._unwritten))

    def _count(self, rows: int) -> None:
        self._waiting -= rows
        metrics.USAGE_WRITTEN.inc(rows)

    def _snapshot(self) -> Iterator[SnapshotRecord]:
        for request_id, (payload, _) in self._open.items():
            yield OPENING, request_id, payload
        for account, amount in self._spent.items():
            yield SPENT, account, spent_json(amount)

    async def _adopt_always(self) -> None:
        while True:
            await self._recover(await asyncio.to_thread(adopt, self._root))
            await asyncio.sleep(_ADOPT_S)

    async def _recover(self, orphans: list[Orphan]) -> None:
        try:
            for orphan in orphans:
                await self._recovery.attempt(orphan, self.settle_dead)
        finally:
            for orphan in orphans:
                orphan.release()
