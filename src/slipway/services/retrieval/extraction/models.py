"""What extraction hands on: one string for a document, its pages and headings as offsets into it, and the limits.

The ingestion workflow stores it between its steps (`dump`, `load`), chunking reads it. Offsets are code points of
`text`, which is what Python's `str` and PostgreSQL's `substring` count, not bytes and not UTF-16 units.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 128 * 1024 * 1024  # the promise is 100 MB; the rest is room for a file that is just above it
MAX_PAGES: Final = 10_000  # the promise is 5,000
# What a small file may unpack to: as much as the largest plain text file, so that no format is a way around MAX_BYTES.
MAX_TEXT_CHARS: Final = MAX_BYTES

PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HTML: Final = "text/html"
MARKDOWN: Final = "text/markdown"
PLAIN: Final = "text/plain"

# Called with (parts done, parts in all): pages of a PDF; a document of one part reports it once.
Progress = Callable[[int, int], None]

REFUSED: Final = 3  # the exit code of a child that says in its result why it refuses the file

_NOT_STORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Page:
    """One page, numbered from 1, as code-point offsets into the text; an empty page has `start == end`."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading known from the structure of the file; `level` counts from 1."""

    start: int
    end: int
    level: int


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """A document's text; `pages` lie in it in order without overlap, `headings` may be empty."""

    text: str
    pages: tuple[Page, ...]
    title: str
    media_type: str
    headings: tuple[Heading, ...] = ()

    def page_at(self, offset: int) -> int:
        """The number of the page that the character at `offset` stands on."""
        index = bisect_right(self.pages, offset, key=lambda page: page.start) - 1
        return self.pages[max(index, 0)].number

    def dump(self, path: Path) -> None:
        """Write it to a file: one line of JSON, then the text in UTF-8."""
        with path.open("wb") as file:
            file.writelines(self.dumped())

    def dumped(self) -> tuple[bytes, bytes]:
        """What `dump` writes, in two pieces."""
        header = {
            "title": self.title,
            "media_type": self.media_type,
            "pages": [[page.number, page.start, page.end] for page in self.pages],
            "headings": [[heading.start, heading.end, heading.level] for heading in self.headings],
        }
        return json.dumps(header).encode() + b"\n", self.text.encode()

    @classmethod
    def load(cls, path: Path) -> "ExtractedText":
        """Read what `dump` wrote."""
        with path.open("rb") as file:
            header = json.loads(file.readline())
            text = file.read().decode()
        return cls(
            text=text,
            pages=tuple(Page(*page) for page in header["pages"]),
            title=header["title"],
            media_type=header["media_type"],
            headings=tuple(Heading(*heading) for heading in header["headings"]),
        )


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot store (NUL, lone surrogates) replaced one for one by U+FFFD."""
    if text.isascii() and "\x00" not in text:
        return text
    return _NOT_STORABLE.sub("\ufffd", text)


def single_page(text: str) -> tuple[Page, ...]:
    """The pages of a format that has none: all of it is page 1."""
    return (Page(1, 0, len(text)),)
