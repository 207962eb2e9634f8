"""Reads the records of one instance's journal in order: a live one up to where its writer is, a dead one to its end.

Damage is skipped and counted, never raised: a torn last line is where the process died; whatever else is not whole is
what the machine lost when it went down.
"""

import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway.runtime.journal.framing import Position, Record, segment_numbers, segment_path, unframed

START: Final = Position(0, 0)
_CHUNK_BYTES: Final = 256 * 1024
_log = logging.getLogger(__name__)


class Reader:
    """Follows a journal from a position.

    `end` tells where a live writer is; without it the journal is a dead process's and is read whole. With `kinds` other
    records are passed over unchecked. `damaged` counts lines and segments that are missing or not whole; `torn` says
    whether the last line is cut off, as a killed process leaves it.
    """

    def __init__(
        self,
        folder: Path,
        position: Position = START,
        *,
        end: Callable[[], Position] | None = None,
        kinds: str | None = None,
    ) -> None:
        self.damaged = 0
        self.torn = False
        self._folder = folder
        self._end = end
        self._kinds = kinds.encode("ascii") if kinds is not None else None
        self._given = position
        self._segment, self._offset = position
        self._records: deque[Record] = deque()
        self._file: int | None = None

    @property
    def position(self) -> Position:
        """Where the next record begins, or what follows the last one that was given."""
        return self._given

    def read(self, limit: int) -> list[Record]:
        """The next records, at most `limit`; none when the end is reached (a live journal may go on)."""
        while len(self._records) < limit and self._fill():
            pass
        taken = [self._records.popleft() for _ in range(min(limit, len(self._records)))]
        self._given = taken[-1].position if self._records else Position(self._segment, self._offset)
        return taken

    def close(self) -> None:
        """Closes the file under it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _fill(self) -> bool:
        """Takes whole lines of the next chunk; False when there are none for now."""
        wanted = _CHUNK_BYTES
        while True:
            if self._file is None and not self._turn():
                return False
            assert self._file is not None, "turned to a segment"
            left = self._bound(self._file) - self._offset
            data = os.pread(self._file, min(wanted, left), self._offset) if left > 0 else b""
            cut = data.rfind(b"\n") + 1
            if cut:
                self._take(data[:cut])
                return True
            if data and not data.strip(b"\0"):
                self._offset += len(data)  # room that was reserved and never written
            elif 0 < len(data) < left:
                wanted *= 2
            elif not self._leave(data):
                return False

    def _bound(self, file: int) -> int:
        if self._end is not None:
            segment, offset = self._end()
            if segment == self._segment:
                return offset
        return os.fstat(file).st_size

    def _take(self, data: bytes) -> None:
        for line in data[:-1].split(b"\n"):
            self._offset += len(line) + 1
            body = line
            if body[:1] == b"\0":
                self._damage("a hole")
                body = body.lstrip(b"\0")
            if self._kinds is not None and body[:1] not in self._kinds:
                continue
            record = unframed(body)
            if record is None:
                self._damage("a line that is not whole")
            else:
                self._records.append(Record(*record, Position(self._segment, self._offset)))

    def _damage(self, what: str) -> None:
        self.damaged += 1
        _log.warning("journal %s, segment %d: %s before byte %d", self._folder.name, self._segment, what, self._offset)

    def _leave(self, rest: bytes) -> bool:
        """At the end of a segment: whether there is another one."""
        last = self._end()[0] if self._end is not None else max(segment_numbers(self._folder), default=0)
        if self._segment >= last:
            self.torn = bool(rest)
            return False
        if rest:
            self._damage("a line that is cut off, with others after it,")
        self.close()
        self._segment, self._offset = self._segment + 1, 0
        return True

    def _turn(self) -> bool:
        """Opens the segment of the position or, when it is gone, the first one after it."""
        following = [number for number in segment_numbers(self._folder) if number >= self._segment]
        if not following:
            return False
        if following[0] != self._segment:
            if self._segment != START.segment:
                self._damage("segments that are missing")
            self._segment, self._offset = following[0], 0
        self._file = os.open(segment_path(self._folder, self._segment), os.O_RDONLY | os.O_CLOEXEC)
        return True
