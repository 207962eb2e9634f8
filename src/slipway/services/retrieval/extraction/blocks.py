"""Builds the one text of a document from paragraphs, headings, list items and tables, as DOCX and HTML have them.

The readers of both formats drive it with what they meet. A row of a table becomes one line with ` | ` between its
cells; a table that only lays out a page (its cells hold paragraphs or tables of their own) is taken apart instead.
"""

import re
from dataclasses import dataclass, field

from slipway.base.errors import TooLarge
from slipway.services.retrieval.extraction.models import MAX_TEXT_CHARS, Heading

_AROUND_BREAK = re.compile(r"(?<![ \t])[ \t]*+\n[ \t]*+")
_SPACES = re.compile(r" {2,}")
_CELL_SPACE = re.compile(r"\s+")
_LAYOUT_BLOCKS = 8  # arbitrary: a cell with more paragraphs than this is a page, not a cell


@dataclass(slots=True)
class _Block:
    text: str
    level: int = 0  # of a heading; 0 for text
    tight: bool = False  # items and rows stand on neighbouring lines


@dataclass(slots=True)
class _Sink:
    blocks: list[_Block] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    layout: bool = False  # holds a table or a heading


@dataclass(slots=True)
class _Table:
    cells: list[_Sink] = field(default_factory=list)
    rows: int = 0
    lost: bool = False  # made for a cell outside of any table: no end of it will come


class BlockWriter:
    """Collects blocks in reading order; every call may come in any nesting that a broken file has."""

    def __init__(self) -> None:
        self._sinks = [_Sink()]
        self._tables: list[_Table] = []
        self._chars = 0

    def add(self, text: str) -> None:
        """Text inside the current block."""
        self._chars += len(text)
        if self._chars > MAX_TEXT_CHARS:
            raise TooLarge(f"The document unpacks to more than {MAX_TEXT_CHARS:,} characters. Split it first.")
        self._sinks[-1].pieces.append(text)

    def end_block(self, *, level: int = 0, prefix: str = "", tight: bool = False, raw: bool = False) -> str:
        """Close the current block, if it has text, and return that; `raw` keeps its spaces."""
        sink = self._sinks[-1]
        if not sink.pieces:
            return ""
        text = "".join(sink.pieces)
        sink.pieces.clear()
        text = text.strip("\n") if raw else _SPACES.sub(" ", _AROUND_BREAK.sub("\n", text)).strip()
        if not text.strip():
            return ""
        sink.blocks.append(_Block(prefix + text, level, tight))
        sink.layout = sink.layout or level > 0
        return text

    def start_table(self) -> None:
        self.end_block()
        self._sinks[-1].layout = True
        self._tables.append(_Table())

    def start_cell(self) -> None:
        if not self._tables:  # a cell that lost its table
            self.start_table()
            self._tables[-1].lost = True
        self._sinks.append(_Sink())

    def end_cell(self) -> None:
        self.end_block()
        self._tables[-1].cells.append(self._sinks.pop())
        if self._tables[-1].lost:
            self.end_table()

    def end_row(self) -> None:
        """Write the cells since the last row: as one line, or block after block when they lay out a page."""
        self.end_block()
        if not self._tables:
            return
        table = self._tables[-1]
        cells, table.cells = table.cells, []
        sink = self._sinks[-1]
        if any(cell.layout or len(cell.blocks) > _LAYOUT_BLOCKS for cell in cells):
            for cell in cells:
                sink.blocks.extend(cell.blocks)
            return
        texts = [_CELL_SPACE.sub(" ", " ".join(block.text for block in cell.blocks)).strip() for cell in cells]
        if any(texts):
            sink.blocks.append(_Block(" | ".join(texts), tight=table.rows > 0))
            table.rows += 1

    def end_table(self) -> None:
        if self._tables[-1].cells:  # a file without row elements
            self.end_row()
        self.end_block()
        self._tables.pop()

    def finish(self) -> tuple[str, tuple[Heading, ...]]:
        """The text: a blank line between blocks, none between items and rows; and where its headings are."""
        while self._tables:
            self.end_table()
        self.end_block()
        parts: list[str] = []
        headings: list[Heading] = []
        position = 0
        for index, block in enumerate(self._sinks[0].blocks):
            if index:
                gap = "\n" if block.tight else "\n\n"
                parts.append(gap)
                position += len(gap)
            if block.level:
                headings.append(Heading(position, position + len(block.text), block.level))
            parts.append(block.text)
            position += len(block.text)
        return "".join(parts), tuple(headings)
