"""The journal of this process: appends records with one write each, in segments whose room is taken beforehand.

An append is synchronous and costs microseconds. What was appended is in the kernel's page cache, so it survives any
death of the process; `sync` says when it survives the machine's too: `none` leaves it to the kernel, `interval` within
a second, `always` before `synced` returns. A record may reserve room for one that follows it: records that reserve are
refused when the disk or the journal's bound is full, those that they reserved for are not.

Every segment begins with a header and what `snapshot` gives, so that older ones are not needed once it is written.
The folder is held by a lock of the process; `orphans.adopt` takes folders whose lock is free.
"""

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Self

import orjson

from slipway.base.errors import SlipwayError, StorageFull, Unavailable
from slipway.base.ids import new_id
from slipway.runtime.journal.framing import (
    HEADER,
    SNAPSHOT_END,
    Position,
    framed,
    segment_path,
)

SyncPolicy = Literal["none", "interval", "always"]
SnapshotRecord = tuple[str, str, bytes]
LOCK: Final = "lock"
DONE: Final = ".done-"  # begins the name of a folder that is being removed
SEGMENT_BYTES: Final = 16 * 1024 * 1024
MAX_BYTES: Final = 1024 * 1024 * 1024
_VERSION: Final = 1
_SYNC_S: Final = 1.0
_REFUSED_S: Final = 0.5  # arbitrary: how long a refused segment is not asked for again
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Header:
    """Who wrote a segment. `boot_id` is None where the system does not tell."""

    boot_id: str | None
    sync: SyncPolicy
    started_at: str
    version: int = _VERSION

    @classmethod
    def parsed(cls, payload: bytes) -> Self:
        """From a header record; ValueError or KeyError when it is none of ours."""
        fields = orjson.loads(payload)
        return cls(fields["boot_id"], fields["sync"], fields["started_at"], fields["version"])

    def payload(self) -> bytes:
        """For a header record."""
        return orjson.dumps(self)


def boot_id() -> str | None:
    """Changes with every start of the machine: what was not synced before may be missing after it."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


class Journal:
    """One instance's journal; `instance_id` names its folder."""

    def __init__(
        self,
        folder: Path,
        lock: int,
        *,
        snapshot: Callable[[], Iterable[SnapshotRecord]],
        sync: SyncPolicy,
        segment_bytes: int,
        max_bytes: int,
    ) -> None:
        self.folder = folder
        self.instance_id = folder.name
        self.sync_policy: SyncPolicy = sync
        self._lock_file = lock
        self._snapshot = snapshot
        self._segment_bytes, self._max_bytes = segment_bytes, max_bytes
        self._header = Header(boot_id(), sync, datetime.now(UTC).isoformat()).payload()
        self._segment = 0
        self._file = -1
        self._offset = self._room = self._reserved = 0
        self._sizes: dict[int, int] = {}
        self._failure: SlipwayError | None = None
        self._refused: SlipwayError | None = None
        self._refused_until_s = 0.0
        self._folder_synced = False
        self._written = self._synced = 0  # bytes ever
        self._retired: list[int] = []  # files of older segments that are still to be synced
        self._sync_lock = threading.Lock()
        self._syncing: asyncio.Future[None] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        snapshot: Callable[[], Iterable[SnapshotRecord]] = tuple,
        sync: SyncPolicy = "interval",
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> Self:
        """A new journal below `root`, for this process alone. Raises StorageFull or Unavailable."""
        try:
            folder, lock = _new_folder(root)
        except OSError as error:
            raise _refusal(error) from error
        journal = cls(folder, lock, snapshot=snapshot, sync=sync, segment_bytes=segment_bytes, max_bytes=max_bytes)
        try:
            journal._rotate(0, 0)
        except BaseException:
            journal.close(remove=True)
            raise
        return journal

    @property
    def position(self) -> Position:
        """Where the next record goes."""
        return Position(self._segment, self._offset)

    @property
    def size_bytes(self) -> int:
        """The disk that its segments take, reserved room included."""
        return sum(self._sizes.values())

    def append(
        self, kind: str, record_id: str, payload: bytes, *, reserve_bytes: int = 0, release_bytes: int = 0
    ) -> None:
        """Writes one record, whole or not at all. Raises StorageFull or Unavailable.

        `reserve_bytes` is kept for a later record, which gives it back as `release_bytes` and then finds room.
        """
        line = framed(kind, record_id, payload)
        length = len(line)
        reserved = self._reserved + reserve_bytes - release_bytes
        if self._failure is not None and not release_bytes:
            raise self._failure
        if self._offset + length + reserved > self._room:
            try:
                self._rotate(length, reserved)
            except SlipwayError:
                if not release_bytes or self._offset + length > self._room:
                    raise
        self._write(line)
        self._reserved = reserved

    def release(self, reserved_bytes: int) -> None:
        """Gives back room that was reserved for a record which will not come."""
        self._reserved -= reserved_bytes

    async def synced(self) -> None:
        """Under the policy `always`: returns once all that was appended is on the device; one sync serves many.

        Raises Unavailable when the device refuses. Returns at once under the other policies.
        """
        if self.sync_policy != "always":
            return
        mark = self._written
        while self._synced < mark:
            if self._file < 0:
                raise _closed()
            if self._syncing is None or self._syncing.done():
                self._syncing = asyncio.get_running_loop().run_in_executor(None, self.sync)
            await asyncio.shield(self._syncing)

    def sync(self) -> None:
        """Puts on the device what was appended so far. Blocks for milliseconds; any thread may call it.

        Raises Unavailable when the device refuses; records that reserve are refused from then on.
        """
        with self._sync_lock:
            mark, file = self._written, self._file
            if self._synced == mark or file < 0:
                return
            try:
                os.fdatasync(file)  # when a rotation has retired it meanwhile it is still open: only we close it
                while self._retired:
                    os.fdatasync(self._retired[0])
                    os.close(self._retired.pop(0))
                if not self._folder_synced:
                    self._folder_synced = True
                    _sync_folder(self.folder)
            except OSError as error:
                self._failure = _refusal(error)
                raise self._failure from error
            self._synced = mark

    async def run(self) -> None:
        """Under the policy `interval`: syncs every second, for as long as the process lives."""
        while self.sync_policy == "interval":
            await asyncio.sleep(_SYNC_S)
            try:
                await asyncio.to_thread(self.sync)
            except SlipwayError as error:
                _log.error("journal %s: %s", self.instance_id, error)

    def check(self) -> None:
        """For readiness: raises what the next record that reserves would meet, as far as it is known."""
        if self._failure is not None:
            raise self._failure
        if self._refused is not None:
            self._rotate(0, self._reserved)  # there may be room again, and a process that is not ready is not asked

    async def remove_before(self, segment: int) -> None:
        """Removes older segments, which nobody needs any more. Raises Unavailable when the device refuses."""
        older = [number for number in self._sizes if number < min(segment, self._segment)]
        if older and self.sync_policy != "none":
            # The snapshot that stands for them is on the device before they are gone.
            await asyncio.to_thread(self.sync)
        for number in older:
            segment_path(self.folder, number).unlink(missing_ok=True)
            del self._sizes[number]

    def close(self, *, remove: bool = False) -> None:
        """Lets go of the folder: whoever adopts it next reads it, unless it is removed with all that is in it."""
        with self._sync_lock:
            for file in [*self._retired, *([self._file] if self._file >= 0 else [])]:
                os.close(file)
            self._retired, self._file = [], -1
        self._failure = _closed()
        self._room = 0
        if self._lock_file >= 0:
            if remove:
                shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock_file)
            self._lock_file = -1

    def _write(self, data: bytes) -> None:
        if self._file < 0:
            raise _closed()
        try:
            written = os.pwrite(self._file, data, self._offset)
        except OSError as error:
            raise _refusal(error) from error
        if written != len(data):
            # The next record goes over what was written of this one.
            raise _full(f"{written} of {len(data)} bytes written")
        self._offset += written
        self._written += written

    def _rotate(self, needed_bytes: int, reserved_bytes: int) -> None:
        """Begins a segment with a snapshot and room for what is needed; leaves everything as it was when it fails."""
        if self._segment and self._file < 0:
            raise _closed()
        if self._refused is not None and time.monotonic() < self._refused_until_s:
            raise self._refused
        try:
            self._begin(self._segment + 1, needed_bytes + reserved_bytes)
        except SlipwayError as error:
            self._refused, self._refused_until_s = error, time.monotonic() + _REFUSED_S
            raise
        self._refused = None

    def _begin(self, number: int, needed_bytes: int) -> None:
        head = [framed(HEADER, self.instance_id, self._header)]
        head += [framed(*record) for record in self._snapshot()]
        head.append(framed(SNAPSHOT_END, self.instance_id, b"{}"))
        beginning = b"".join(head)
        room = self._segment_bytes + len(beginning) + needed_bytes
        if self.size_bytes + room > self._max_bytes:
            raise Unavailable(
                "The journal is full, since what it holds cannot be delivered: try again shortly.",
                detail=f"{self.size_bytes} of {self._max_bytes} bytes in {self.folder}",
                retry_after_s=5.0,
            )
        path = segment_path(self.folder, number)
        file = -1
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            _allocate(file, room)
            if os.pwrite(file, beginning, 0) != len(beginning):
                raise OSError(errno.ENOSPC, "the snapshot was not written whole")
        except OSError as error:
            if file >= 0:
                os.close(file)
            path.unlink(missing_ok=True)
            raise _refusal(error) from error
        self._retire()
        self._segment, self._file = number, file
        self._offset, self._room = len(beginning), room
        self._sizes[number] = room
        self._written += len(beginning)
        self._folder_synced = False

    def _retire(self) -> None:
        if self._file < 0:
            return
        os.ftruncate(self._file, self._offset)
        self._sizes[self._segment] = self._offset
        if self.sync_policy == "none":
            os.close(self._file)
        else:
            self._retired.append(self._file)


def _new_folder(root: Path) -> tuple[Path, int]:
    """A folder of a new name with its lock held: it gets its name when it is locked, so that no adopter takes it."""
    root.mkdir(parents=True, exist_ok=True)
    name = new_id("jrn")
    making = root / f".{name}"
    making.mkdir(mode=0o700)
    lock = os.open(making / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = making.rename(root / name)
    except BaseException:
        os.close(lock)
        raise
    _sync_folder(root)
    return folder, lock


def _allocate(file: int, size_bytes: int) -> None:
    if sys.platform == "darwin":  # has no posix_fallocate: the size is set and room is found or not
        os.ftruncate(file, size_bytes)
    else:
        os.posix_fallocate(file, 0, size_bytes)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _refusal(error: OSError) -> SlipwayError:
    if error.errno in _NO_ROOM:
        return _full(str(error))
    return Unavailable("The journal cannot be written at the moment: try again shortly.", detail=str(error))


def _full(detail: str) -> StorageFull:
    return StorageFull("The journal's disk has no room left: free some, then try again.", detail=detail)


def _closed() -> Unavailable:
    return Unavailable("The journal is closed: this process is about to stop.")
