"""Brings usage rows to the store, whatever it takes: the live journal's and those of processes that were killed.

Everything here may be done twice: rows are kept once by request id, and totals of leases are totals.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from slipway.base.errors import InvalidRequest
from slipway.runtime.journal import HEADER, SNAPSHOT_END, Header, Orphan, Reader, Record
from slipway.runtime.journal.writer import boot_id
from slipway.services.gateway import metrics
from slipway.services.gateway.usage_records import (
    CLOSING,
    OPENING,
    SPENT,
    WITHDRAWAL,
    charges_of,
    holds_of,
    mended,
    spent_of,
    unknown_row,
)

BATCH: Final = 1000
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 0.1, 2.0
_log = logging.getLogger(__name__)


class RowStore(Protocol):
    """The part of UsageStore that takes rows."""

    async def usage_append(self, rows: Sequence[bytes]) -> None:
        """As `UsageStore.usage_append`."""
        ...


class SettleDead(Protocol):
    """Closes the leases of a process that is gone, or stopping."""

    async def __call__(self, holder: str, spent: Mapping[str, int], *, complete: bool) -> None:
        """`spent` has totals by account; an account of `holder` that it does not name was not spent of.

        Not `complete`: records are missing, so that more may have been spent. May be called again with the same
        values. Raises Unavailable when it cannot be done now.
        """
        ...


async def settle_nothing(holder: str, spent: Mapping[str, int], *, complete: bool) -> None:
    """For a gateway without budgets."""


async def append_all(store: RowStore, rows: Sequence[bytes]) -> None:
    """Stores the rows, however long the database is away.

    One that it refuses is stored as far as it takes it (`mended`), and the log has it whole.
    """
    if not rows:
        return
    refusal = await _appended(store, rows)
    if refusal is None:
        return
    if len(rows) > 1:
        middle = len(rows) // 2
        await append_all(store, rows[:middle])
        await append_all(store, rows[middle:])
        return
    for row in mended(rows[0]):
        if await _appended(store, [row]) is None:
            _log.warning("usage row stored as far as the table takes it: %s", rows[0].decode(), exc_info=refusal)
            return
    metrics.USAGE_REJECTED.inc()
    _log.error("usage row not stored: %s", rows[0].decode(), exc_info=refusal)


async def _appended(store: RowStore, rows: Sequence[bytes]) -> InvalidRequest | None:
    """Stores all rows, waiting out whatever passes; what the store says when it will never take one of them."""
    backoff_s = _FIRST_BACKOFF_S
    while True:
        try:
            await store.usage_append(rows)
            return None
        except InvalidRequest as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the rows stay until it has passed
            metrics.USAGE_FAILURES.inc()
            if backoff_s == _FIRST_BACKOFF_S:
                _log.warning("usage rows wait for the database: %s", error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _LAST_BACKOFF_S)


async def delivered(orphan: Orphan, store: RowStore) -> tuple[dict[str, int], bool]:
    """Stores the rows of a dead process; returns what it spent by account, and whether no record is missing."""
    history = _History()
    reader = orphan.reader()
    try:
        while closings := await asyncio.to_thread(history.read, reader):
            await append_all(store, closings)
            metrics.USAGE_RECOVERED.labels("closed").inc(len(closings))
    finally:
        reader.close()
    history.end()
    rows = [unknown_row(request_id, payload, orphan.instance_id) for request_id, payload in history.opened.items()]
    for start in range(0, len(rows), BATCH):
        await append_all(store, rows[start : start + BATCH])
    metrics.USAGE_RECOVERED.labels("unknown").inc(len(rows))
    complete = history.complete and not reader.damaged
    _log.warning(
        "journal %s recovered: %d rows, %d of them unknown, %s",
        orphan.instance_id,
        history.closed + len(rows),
        len(rows),
        "nothing is missing" if complete else "records may be missing",
    )
    return history.totals(), complete


class _History:
    """What a journal says when it is read from its beginning: who was open at the end, and what was spent."""

    def __init__(self) -> None:
        self.opened: dict[str, bytes] = {}
        self.closed = 0
        self._spent: dict[str, int] = {}
        self._begun = False
        self._whole = True
        # A snapshot counts once it is whole; until then what came before it does.
        self._snapshot: tuple[dict[str, bytes], dict[str, int]] | None = None

    @property
    def complete(self) -> bool:
        """Whether what was written is all there, as far as the headers tell."""
        return self._begun and self._whole

    def totals(self) -> dict[str, int]:
        """By account: what was spent, and all that open requests held."""
        totals = dict(self._spent)
        for opening in self.opened.values():
            for account, amount in holds_of(opening):
                totals[account] = totals.get(account, 0) + amount
        return totals

    def read(self, reader: Reader) -> list[bytes]:
        """Takes records until there is a batch of closings; fewer, or none, at the end."""
        closings: list[bytes] = []
        while len(closings) < BATCH:
            records = reader.read(BATCH - len(closings))
            if not records:
                break
            for record in records:
                self._take(record)
                if record.kind == CLOSING:
                    closings.append(record.payload)
        self.closed += len(closings)
        return closings

    def end(self) -> None:
        """What a snapshot said that is not whole stands beside what came before it."""
        if self._snapshot is not None:
            opened, spent = self._snapshot
            self._snapshot = None
            self.opened = {**opened, **self.opened}
            for account, amount in spent.items():
                self._spent[account] = max(amount, self._spent.get(account, 0))

    def _take(self, record: Record) -> None:
        kind = record.kind
        if kind == HEADER:
            self._begin(record.payload)
        elif kind == SNAPSHOT_END and self._snapshot is not None:
            self.opened, self._spent = self._snapshot
            self._snapshot = None
        elif kind == OPENING:
            (self.opened if self._snapshot is None else self._snapshot[0])[record.id] = record.payload
        elif kind == SPENT:
            (self._spent if self._snapshot is None else self._snapshot[1]).setdefault(
                record.id, spent_of(record.payload)
            )
        elif kind == CLOSING:
            self._drop(record.id)
            for account, amount in charges_of(record.payload):
                self._spent[account] = self._spent.get(account, 0) + amount
        elif kind == WITHDRAWAL:
            self._drop(record.id)

    def _drop(self, request_id: str) -> None:
        self.opened.pop(request_id, None)
        if self._snapshot is not None:
            self._snapshot[0].pop(request_id, None)

    def _begin(self, payload: bytes) -> None:
        self.end()
        self._snapshot = ({}, {})
        self._begun = True
        try:
            header = Header.parsed(payload)
        except (ValueError, KeyError):
            self._whole = False
            return
        here = boot_id()
        if header.sync != "always" and header.boot_id != here:
            self._whole = False
