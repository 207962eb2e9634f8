"""One record as a line of a journal, and back: `<kind char> <id> <crc32 hex> <payload bytes>` and a line feed.

The checksum goes over kind, id and payload. A line that is not whole is None to whoever reads it, never an error.
"""

from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

HEADER: Final = "H"  # the first record of every segment: who wrote it, and on which boot of the machine
SNAPSHOT_END: Final = "S"  # what stands between the header and this one replaces all that older segments said


class Position(NamedTuple):
    """A place in a journal: segments count from 1, `offset` is in bytes."""

    segment: int
    offset: int


class Record(NamedTuple):
    """One record; `position` is where the next one begins."""

    kind: str
    id: str
    payload: bytes
    position: Position


def framed(kind: str, record_id: str, payload: bytes) -> bytes:
    """The line of a record. `kind` is one ASCII character, `record_id` has no space, the payload no line feed."""
    head = f"{kind} {record_id} ".encode()
    return head + f"{crc32(payload, crc32(head)):08x} ".encode() + payload + b"\n"


def unframed(line: bytes) -> tuple[str, str, bytes] | None:
    """Kind, id and payload of a line without its line feed; None when it is not what `framed` made."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or len(parts[0]) != 1:
        return None
    kind, record_id, checksum, payload = parts
    if checksum != b"%08x" % crc32(payload, crc32(line[: len(record_id) + 3])):
        return None
    try:
        return kind.decode("ascii"), record_id.decode(), payload
    except UnicodeDecodeError:
        return None


def segment_path(folder: Path, number: int) -> Path:
    """Where a segment is kept."""
    return folder / f"{number:06d}.log"


def segment_numbers(folder: Path) -> list[int]:
    """The segments that are there, oldest first."""
    return sorted(int(path.stem) for path in folder.glob("*.log") if path.stem.isdecimal())
