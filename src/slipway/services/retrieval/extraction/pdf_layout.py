"""The lines of one PDF page in reading order, with the rows of tables put back together.

PDFium gives text in the order in which the file draws it, a line break wherever the next piece is not beside the last.
A PDF knows no tables, so rows are found by two signs: ruling lines, whose grid says which pieces share a cell (a cell
may have several lines; `pdf_tables`), and wide gaps between pieces on one baseline where there is no grid.
"""

import ctypes
import re

import pypdfium2
from pypdfium2 import raw

from slipway.services.retrieval.extraction.pdf_tables import Line, Piece, table_grids, table_rows

_CELL_GAP_SHARE = 0.95  # of the letter height; a justified line spreads its words less than that
_ALIKE_SHARE = 0.25  # of the letter height: by how much the spaces of a justified line differ
_JUSTIFIED_MAX_SHARE = 4.0  # wider than that no line is stretched
_LINE = re.compile(r"[^\r\n]+")
# What stands before an item or a heading with a tab behind it: a bullet, "(a)", "3.", "2.11".
_LABEL = re.compile(r"(?:[•‣▪◦·●○■□–—*\-]|\(?[^\W_]{1,3}[.)]|\d{1,2}(?:\.\d{1,2})+\.?)[ \u00a0]+")
_SPACES = re.compile(r"[ \u00a0]+")
# PDFium marks a hyphen at the end of a line that it takes for a division of a word.
_DIVISION = "\ufffe\x02"
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")

# White space within a line as its span, and the boxes of the letters before and after it.
_Gap = tuple[tuple[int, int], raw.FS_RECTF, raw.FS_RECTF]


def page_lines(page: pypdfium2.PdfPage) -> list[Line]:
    """The lines of the page, empty when it has no text."""
    textpage = page.get_textpage()
    try:
        rows = _pieces(textpage)
    finally:
        textpage.close()
    if not rows:
        return []
    grids = table_grids(page, rows)
    entries: list[Line | int] = []  # an int is the table of that grid, where its first piece stands
    tables: dict[int, list[Piece]] = {}
    for pieces in rows:
        inside = next((i for i, grid in enumerate(grids) if all(map(grid.cell_of, pieces))), None)
        if inside is None:
            _add_line(entries, pieces)
        elif inside in tables:
            tables[inside].extend(pieces)
        else:
            tables[inside] = list(pieces)
            entries.append(inside)
    lines: list[Line] = []
    for entry in entries:
        lines.extend(table_rows(grids[entry], tables[entry]) if isinstance(entry, int) else [entry])
    # Tools draw the footer before the body as often as after it; a reader meets it last.
    if len(lines) > 2 and lines[0].baseline < min(line.baseline for line in lines[1:]):
        lines.append(lines.pop(0))
    return lines


def _add_line(entries: list[Line | int], pieces: list[Piece]) -> None:
    """Add the pieces of one baseline as a line: a row when there are several."""
    text = " | ".join(piece.text for piece in pieces)
    baseline = min(piece.bottom for piece in pieces)
    height = max(piece.height for piece in pieces)
    entries.append(Line(text, baseline, height, is_row=len(pieces) > 1))


def _pieces(textpage: pypdfium2.PdfTextPage) -> list[list[Piece]]:
    """The lines that PDFium gives, each cut at its wide gaps; pieces of neighbouring lines on one baseline joined."""
    text = textpage.get_text_range()
    if not text.strip():
        return []
    boxes = _Boxes(textpage, text)
    lines: list[list[Piece]] = []
    divided = ""  # the first part of a word whose end is on the next line
    for match in _LINE.finditer(text):
        pieces = _cut(boxes, text, *match.span())
        if not pieces:
            continue
        if divided:
            pieces[0].text = divided + pieces[0].text
            divided = ""
        if text[match.end() - 1] in _DIVISION:
            head, _, divided = pieces[-1].text.rpartition(" ")
            pieces[-1].text = head
            if not head:
                pieces.pop()
        if lines and pieces and _is_beside(lines[-1][-1], pieces[0]):
            lines[-1].extend(pieces)
        elif pieces:
            lines.append(pieces)
    if divided and lines:
        lines[-1][-1].text += " " + divided
    return lines


def _is_beside(left: Piece, right: Piece) -> bool:
    """Whether two pieces that PDFium put on lines of their own are cells of one row."""
    tolerance = 0.3 * min(left.height, right.height)
    same = abs(left.bottom - right.bottom) < tolerance and abs(left.top - right.top) < tolerance
    return same and right.left > left.right


def _cut(boxes: "_Boxes", text: str, start: int, end: int) -> list[Piece]:
    """The line `text[start:end]` as pieces between gaps that are too wide for a space between words."""
    while start < end and text[start] in " \u00a0":
        start += 1
    while end > start and text[end - 1] in " \u00a0" + _DIVISION:
        end -= 1
    if start >= end:
        return []
    boxes.enter(start, end)
    label = _LABEL.match(text, start, end)
    gaps = [
        (space.span(), boxes.of(space.start() - 1), boxes.of(space.end()))
        for space in _SPACES.finditer(text, label.end() if label else start, end)
    ]
    pieces: list[Piece] = []
    first, left_box = start, boxes.of(start)
    for (left, right), before, after in _wide(gaps):
        _append(pieces, text[first:left], left_box, before)
        first, left_box = right, after
    _append(pieces, text[first:end], left_box, boxes.of(end - 1))
    return pieces


def _wide(gaps: list[_Gap]) -> list[_Gap]:
    """Those of a line's gaps that part cells."""
    wide = []
    widths = []
    for gap in gaps:
        _, before, after = gap
        height = max(before.top - before.bottom, after.top - after.bottom, 0.1)
        widths.append((after.left - before.right) / height)
        if widths[-1] > _CELL_GAP_SHARE or widths[-1] < -2:
            wide.append(gap)
    # A justified line of few words has wide gaps too, but all alike.
    if len(widths) > 1 and max(widths) - min(widths) < _ALIKE_SHARE and max(widths) < _JUSTIFIED_MAX_SHARE:
        return []
    return wide


def _append(pieces: list[Piece], text: str, first: raw.FS_RECTF, last: raw.FS_RECTF) -> None:
    text = _SPACES.sub(" ", _CONTROLS.sub("", text)).strip()
    if text:
        bottom, top = min(first.bottom, last.bottom), max(first.top, last.top)
        pieces.append(Piece(text, first.left, last.right, bottom, top))


class _Boxes:
    """Where characters of a page's text stand, by their index in the text."""

    def __init__(self, textpage: pypdfium2.PdfTextPage, text: str) -> None:
        self._textpage = textpage.raw
        self._chars = textpage.count_chars()
        self._shift: int | None = None
        # PDFium counts UTF-16 units; a page with none beyond them needs no table.
        self._units: list[int] | None = None
        if not text.isascii() and max(text) > "\uffff":
            self._units = []
            unit = 0
            for character in text:
                self._units.append(unit)
                unit += 1 + (character > "\uffff")

    def enter(self, start: int, end: int) -> None:
        """Prepare for the line `text[start:end]`: its characters are mostly as far apart in the page as in the text."""
        self._shift = None
        first, last = self._char(start), self._char(end - 1)
        if last - first == end - 1 - start:
            self._shift = first - start  # spares a call for each character

    def of(self, index: int) -> raw.FS_RECTF:
        """The box of the character at `index` with the ascent and descent of its font, in points."""
        char = self._char(index) if self._shift is None else index + self._shift
        box = raw.FS_RECTF()
        if 0 <= char < self._chars:
            raw.FPDFText_GetLooseCharBox(self._textpage, char, ctypes.byref(box))
        return box

    def _char(self, index: int) -> int:
        unit = index if self._units is None else self._units[index]
        return int(raw.FPDFText_GetCharIndexFromTextIndex(self._textpage, unit))
