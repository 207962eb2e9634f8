"""Journals of processes that are gone, each taken over by exactly one of those that look for them.

A folder is an orphan when its lock is free: the kernel frees it with the process, however that ends. An adopter holds
the lock until it is done, so when it dies too the next one begins again; what it does must bear being done twice.
"""

import fcntl
import os
import shutil
from pathlib import Path

from slipway.runtime.journal.reader import Reader
from slipway.runtime.journal.writer import DONE, LOCK


class Orphan:
    """A dead process's journal, held by this process."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.instance_id = folder.name
        self._lock = lock

    def reader(self) -> Reader:
        """Reads the whole of it, from its beginning."""
        return Reader(self.folder)

    def done(self) -> None:
        """Removes it, and lets go."""
        # All of it or nothing: a half removed journal would tell another story to the next adopter.
        shutil.rmtree(self.folder.rename(self.folder.with_name(f"{DONE}{self.instance_id}")), ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Leaves it to the next adopter."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def adopt(root: Path) -> list[Orphan]:
    """Takes over every journal below `root` whose process is gone; those of living processes and adopters stay."""
    if not root.is_dir():
        return []
    taken = []
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(DONE):
            shutil.rmtree(folder, ignore_errors=True)
        lock = None if folder.name.startswith(".") else _locked(folder / LOCK)
        if lock is not None:
            taken.append(Orphan(folder, lock))
    return taken


def _locked(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another adopter may have been done between the two calls: then this is the lock of a file without a name.
        if path.stat().st_ino == os.fstat(file).st_ino:
            return file
    except OSError:
        pass
    os.close(file)
    return None
