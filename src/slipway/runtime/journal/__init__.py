"""Append-only journals of one process each, which survive its `kill -9` and are taken over by another process.

`Journal` writes, `Reader` follows, `adopt` takes over what dead processes left. What the records mean is for whoever
keeps the journal; the gateway's usage is the first. Records are lines `<kind> <id> <crc32> <payload>`.
"""

from slipway.runtime.journal.framing import HEADER, SNAPSHOT_END, Position, Record
from slipway.runtime.journal.orphans import Orphan, adopt
from slipway.runtime.journal.reader import START, Reader
from slipway.runtime.journal.writer import Header, Journal, SnapshotRecord, SyncPolicy

__all__ = [
    "HEADER",
    "SNAPSHOT_END",
    "START",
    "Header",
    "Journal",
    "Orphan",
    "Position",
    "Reader",
    "Record",
    "SnapshotRecord",
    "SyncPolicy",
    "adopt",
]
