"""Objects in a folder: written to a temporary file beside their place, synced, then renamed, so never half there.

Several processes may share the folder. A temporary file is locked by the process that writes it, which the kernel
undoes when that process dies; `sweep` removes those that nobody holds.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from slipway.base.callers import Caller
from slipway.base.errors import NotFound, StorageFull, TooLarge, Unavailable
from slipway.runtime.objects import PresignedPut, StoredObject
from slipway.runtime.objects.keys import tenant_key
from slipway.runtime.objects.upload_tokens import UploadGrant, UploadTokens

_PIECE_BYTES: Final = 256 * 1024  # one thread hop and one hash call for each; 64 KiB cost twice the time (2026-11-21)
_STALE_AFTER_S: Final = 60.0  # covers the moment between a temporary file's creation and its lock
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

P = ParamSpec("P")
T = TypeVar("T")


class FolderObjects:
    """The folder adapter of `Objects`; `upload_url` is the address of the route that takes its presigned PUTs."""

    def __init__(self, root: Path, *, tokens: UploadTokens, upload_url: str) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self._tokens = tokens
        self._upload_url = upload_url.rstrip("/")

    async def put(self, caller: Caller, key: str, content: AsyncIterator[bytes], *, max_bytes: int) -> StoredObject:
        """See Objects."""
        target = self._path(caller, key)
        sink = _Sink(self._incoming)
        try:
            await _in_thread(sink.open)
            size_bytes, pieces, held_bytes = 0, list[bytes](), 0
            async for piece in content:
                size_bytes += len(piece)
                held_bytes += len(piece)
                if size_bytes > max_bytes:
                    raise TooLarge(f"This is larger than the {max_bytes:,} bytes that are taken.")
                pieces.append(piece)
                if held_bytes >= _PIECE_BYTES:
                    await _in_thread(sink.write, b"".join(pieces))
                    pieces, held_bytes = [], 0
            sha256 = await _in_thread(sink.commit, b"".join(pieces), target)
        except BaseException:
            # Shielded: a cancelled request still has to take back what it began. In a thread: a commit that is under
            # way holds the lock while it waits for the disk.
            await asyncio.shield(asyncio.to_thread(sink.discard))
            raise
        return StoredObject(key, size_bytes, sha256)

    async def read(self, caller: Caller, key: str) -> AsyncIterator[bytes]:
        """See Objects."""
        path = self._path(caller, key)
        file = await _in_thread(path.open, "rb", 0)
        try:
            while piece := await _in_thread(file.read, _PIECE_BYTES):
                yield piece
        finally:
            file.close()

    async def fetch(self, caller: Caller, key: str, into: Path) -> StoredObject:
        """See Objects."""
        path = self._path(caller, key)
        await _in_thread(shutil.copyfile, path, into)
        return StoredObject(key, (await _in_thread(into.stat)).st_size, None)

    async def stat(self, caller: Caller, key: str) -> StoredObject | None:
        """See Objects."""
        try:
            status = await _in_thread(self._path(caller, key).stat)
        except NotFound:
            return None
        return StoredObject(key, status.st_size, None)

    async def delete(self, caller: Caller, key: str) -> None:
        """See Objects."""
        path = self._path(caller, key)
        await _in_thread(path.unlink, missing_ok=True)

    async def delete_under(self, caller: Caller, folder: str) -> None:
        """See Objects."""
        path = self._path(caller, folder)
        with contextlib.suppress(NotFound):
            await _in_thread(shutil.rmtree, path)

    async def presign_put(self, caller: Caller, key: str, *, size_bytes: int, expires_s: int) -> PresignedPut:
        """See Objects."""
        tenant_key(caller, key)
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=expires_s)
        grant = UploadGrant(caller.tenant_id, key, size_bytes, int(expires_at.timestamp()))
        return PresignedPut(f"{self._upload_url}/{self._tokens.sign(grant)}", {}, expires_at)

    async def sweep(self) -> None:
        """See Objects."""
        await _in_thread(_sweep, self._incoming)

    async def check(self) -> None:
        """See Objects."""

        def write() -> None:
            sink = _Sink(self._incoming)
            sink.open()
            sink.discard()

        await _in_thread(write)

    def _path(self, caller: Caller, key: str) -> Path:
        return self._root / tenant_key(caller, key)


class _Sink:
    """One temporary file until it is committed or discarded; a discard may meet a call that still runs in a thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / secrets.token_hex(16)
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None
        self._discarded = False

    def open(self) -> None:
        with self._lock:
            if self._discarded:
                return
            _make_private(self._path.parent)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def write(self, data: bytes) -> None:
        with self._lock:
            self._write(data)

    def commit(self, data: bytes, target: Path) -> str:
        """Writes the last piece and gives the file its name; returns the SHA-256 of all in hexadecimal."""
        with self._lock:
            self._write(data)
            descriptor = self._open_descriptor()
            os.fsync(descriptor)
            try:
                _rename(self._path, target)
            except FileNotFoundError:  # somebody removed the folder between its creation and the rename
                _rename(self._path, target)
            self._close()
            _sync_folder(target.parent)
        return self._hash.hexdigest()

    def discard(self) -> None:
        with self._lock:
            self._discarded = True
            if self._descriptor is not None:
                self._close()
                self._path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        view, descriptor = memoryview(data), self._open_descriptor()
        while view:
            view = view[os.write(descriptor, view) :]

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise Unavailable("The upload was given up.", detail="write after discard")
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _rename(source: Path, target: Path) -> None:
    _make_private(target.parent)
    source.replace(target)


def _make_private(folder: Path) -> None:
    """Makes the folder and those above it that are missing, each open to its owner only: `parents` heeds no mode."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            if time.time() - path.stat().st_mtime < _STALE_AFTER_S:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


async def _in_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(function, *arguments, **options)
    except FileNotFoundError as error:
        raise NotFound("There is no such object.", detail=str(error)) from error
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("There is no room left to store this file.", detail=str(error)) from error
        raise Unavailable("The object store does not answer.", detail=str(error)) from error
