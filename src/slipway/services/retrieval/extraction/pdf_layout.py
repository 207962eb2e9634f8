"""The lines of one PDF page in reading order, with the rows of tables put back together.

PDFium gives text in the order in which the file draws it, a line break wherever the next piece is not beside the last.
A PDF knows no tables, so rows are found by two signs: ruling lines, whose grid says which pieces share a cell (a cell
may have several lines), and wide gaps between pieces on one baseline where there is no grid.
"""

import ctypes
import re
from bisect import bisect_right
from dataclasses import dataclass

import pypdfium2
from pypdfium2 import raw

_CELL_GAP_SHARE = 0.95  # of the letter height; a justified line spreads its words less than that
_LINE = re.compile(r"[^\r\n]+")
_SPACES = re.compile(r"[ \u00a0]+")
# PDFium marks a hyphen at the end of a line that it takes for a division of a word.
_DIVISION = "\ufffe\x02"
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_MAX_PATH_OBJECTS = 4_000  # a page with more is a drawing, not a table
_RULE_THICKNESS_PT = 2.5
_SNAP_PT = 3.0  # lines closer than this are the same ruling


@dataclass(slots=True)
class Line:
    """One line of text; `is_row` when it is a row of a table, its cells parted by ` | `."""

    text: str
    baseline: float  # points, upwards
    height: float  # of the letters, points
    is_row: bool = False


@dataclass(slots=True)
class _Piece:
    """Text that stands together on one baseline: a line, or one line of a cell."""

    text: str
    left: float
    right: float
    bottom: float
    top: float

    @property
    def height(self) -> float:
        return self.top - self.bottom


@dataclass(slots=True)
class _Rule:
    """A ruling line: where it lies across its direction, and from where to where it goes along it."""

    at: float
    start: float
    end: float


@dataclass(slots=True)
class _Grid:
    """The rulings of one table: columns between `xs` (left to right), rows between `ys` (bottom to top)."""

    xs: list[float]
    ys: list[float]

    def cell_of(self, piece: _Piece) -> tuple[int, int] | None:
        """(row from the top, column) of the cell that holds the piece, if one does."""
        middle_x, middle_y = (piece.left + piece.right) / 2, (piece.bottom + piece.top) / 2
        column, row = bisect_right(self.xs, middle_x) - 1, bisect_right(self.ys, middle_y) - 1
        if 0 <= column < len(self.xs) - 1 and 0 <= row < len(self.ys) - 1:
            return len(self.ys) - 2 - row, column
        return None


def page_lines(page: pypdfium2.PdfPage) -> list[Line]:
    """The lines of the page, empty when it has no text."""
    textpage = page.get_textpage()
    try:
        rows = _pieces(textpage)
    finally:
        textpage.close()
    if not rows:
        return []
    grids = _grids(page)
    entries: list[Line | int] = []  # an int is the table of that grid, where its first piece stands
    tables: dict[int, list[_Piece]] = {}
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
        lines.extend(_table_rows(grids[entry], tables[entry]) if isinstance(entry, int) else [entry])
    # Tools draw the footer before the body as often as after it; a reader meets it last.
    if len(lines) > 2 and lines[0].baseline < min(line.baseline for line in lines[1:]):
        lines.append(lines.pop(0))
    return lines


def _add_line(entries: list[Line | int], pieces: list[_Piece]) -> None:
    """Add the pieces of one baseline as a line: a row when there are several."""
    text = " | ".join(piece.text for piece in pieces)
    baseline = min(piece.bottom for piece in pieces)
    height = max(piece.height for piece in pieces)
    entries.append(Line(text, baseline, height, is_row=len(pieces) > 1))


def _table_rows(grid: _Grid, pieces: list[_Piece]) -> list[Line]:
    """One line for each row of the grid that has text; the lines of a cell are joined in their order."""
    rows: dict[int, dict[int, list[_Piece]]] = {}
    for piece in pieces:
        row, column = grid.cell_of(piece) or (0, 0)
        rows.setdefault(row, {}).setdefault(column, []).append(piece)
    lines = []
    for row in sorted(rows):
        cells = rows[row]
        # Columns before the last with text are kept when empty, so that cells stay under their headings.
        texts = [" ".join(piece.text for piece in cells.get(column, [])) for column in range(max(cells) + 1)]
        members = [piece for cell in cells.values() for piece in cell]
        lines.append(
            Line(
                " | ".join(texts),
                min(piece.bottom for piece in members),
                max(piece.height for piece in members),
                is_row=len(grid.xs) > 2,
            )
        )
    return lines


def _pieces(textpage: pypdfium2.PdfTextPage) -> list[list[_Piece]]:
    """The lines that PDFium gives, each cut at its wide gaps; pieces of neighbouring lines on one baseline joined."""
    text = textpage.get_text_range()
    if not text.strip():
        return []
    boxes = _Boxes(textpage, text)
    lines: list[list[_Piece]] = []
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


def _is_beside(left: _Piece, right: _Piece) -> bool:
    """Whether two pieces that PDFium put on lines of their own are cells of one row."""
    tolerance = 0.3 * min(left.height, right.height)
    same = abs(left.bottom - right.bottom) < tolerance and abs(left.top - right.top) < tolerance
    return same and right.left > left.right


def _cut(boxes: "_Boxes", text: str, start: int, end: int) -> list[_Piece]:
    """The line `text[start:end]` as pieces between gaps that are too wide for a space between words."""
    while start < end and text[start] in " \u00a0":
        start += 1
    while end > start and text[end - 1] in " \u00a0" + _DIVISION:
        end -= 1
    if start >= end:
        return []
    pieces: list[_Piece] = []
    first = start
    left_box = boxes.of(start)
    for space in _SPACES.finditer(text, start, end):
        before, after = boxes.of(space.start() - 1), boxes.of(space.end())
        gap = after.left - before.right
        height = max(before.top - before.bottom, after.top - after.bottom)
        if gap > _CELL_GAP_SHARE * height or gap < -2 * height:
            _append(pieces, text[first : space.start()], left_box, before)
            first, left_box = space.end(), after
    _append(pieces, text[first:end], left_box, boxes.of(end - 1))
    return pieces


def _append(pieces: list[_Piece], text: str, first: raw.FS_RECTF, last: raw.FS_RECTF) -> None:
    text = _SPACES.sub(" ", _CONTROLS.sub("", text)).strip()
    if text:
        bottom, top = min(first.bottom, last.bottom), max(first.top, last.top)
        pieces.append(_Piece(text, first.left, last.right, bottom, top))


class _Boxes:
    """Where characters of a page's text stand, by their index in the text."""

    def __init__(self, textpage: pypdfium2.PdfTextPage, text: str) -> None:
        self._textpage = textpage.raw
        self._chars = textpage.count_chars()
        # PDFium counts UTF-16 units; a page with none beyond them needs no table.
        self._units: list[int] | None = None
        if not text.isascii() and max(text) > "\uffff":
            self._units = []
            unit = 0
            for character in text:
                self._units.append(unit)
                unit += 1 + (character > "\uffff")

    def of(self, index: int) -> raw.FS_RECTF:
        """The box of the character at `index` with the ascent and descent of its font, in points."""
        unit = index if self._units is None else self._units[index]
        char = raw.FPDFText_GetCharIndexFromTextIndex(self._textpage, unit)
        box = raw.FS_RECTF()
        if 0 <= char < self._chars:
            raw.FPDFText_GetLooseCharBox(self._textpage, char, ctypes.byref(box))
        return box


def _grids(page: pypdfium2.PdfPage) -> list[_Grid]:
    """The ruled tables of a page; a frame around one cell and underlines are none."""
    horizontal: list[_Rule] = []
    vertical: list[_Rule] = []
    count = raw.FPDFPage_CountObjects(page)
    paths = 0
    for index in range(count):
        item = raw.FPDFPage_GetObject(page, index)
        if raw.FPDFPageObj_GetType(item) != raw.FPDF_PAGEOBJ_PATH:
            continue
        paths += 1
        if paths > _MAX_PATH_OBJECTS:
            return []
        for left, bottom, right, top in _boxes_of_path(item):
            if top - bottom <= _RULE_THICKNESS_PT < right - left:
                horizontal.append(_Rule((bottom + top) / 2, left, right))
            elif right - left <= _RULE_THICKNESS_PT < top - bottom:
                vertical.append(_Rule((left + right) / 2, bottom, top))
    return _tables_of(horizontal, vertical)


def _boxes_of_path(item: raw.FPDF_PAGEOBJECT) -> list[tuple[float, float, float, float]]:
    """The straight parts of a path as (left, bottom, right, top) on the page; a curved one has none."""
    matrix = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(item, ctypes.byref(matrix))
    boxes = []
    x, y = ctypes.c_float(), ctypes.c_float()
    previous: tuple[float, float] | None = None
    for index in range(min(raw.FPDFPath_CountSegments(item), _MAX_PATH_OBJECTS)):
        segment = raw.FPDFPath_GetPathSegment(item, index)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_BEZIERTO or not raw.FPDFPathSegment_GetPoint(segment, x, y):
            return []
        point = (
            matrix.a * x.value + matrix.c * y.value + matrix.e,
            matrix.b * x.value + matrix.d * y.value + matrix.f,
        )
        if kind == raw.FPDF_SEGMENT_LINETO and previous is not None:
            xs, ys = sorted((previous[0], point[0])), sorted((previous[1], point[1]))
            boxes.append((xs[0], ys[0], xs[1], ys[1]))
        previous = point
    return boxes


def _tables_of(horizontal: list[_Rule], vertical: list[_Rule]) -> list[_Grid]:
    """Rulings that reach each other, as grids of at least two columns or rows."""
    grids = []
    rest = sorted(horizontal, key=lambda rule: -rule.at)
    while rest:
        # A table is what touches: rows of it overlap sideways, and a vertical ruling crosses from one to the next.
        members, rest = _connected(rest, vertical)
        low, high = min(rule.at for rule in members), max(rule.at for rule in members)
        left, right = min(rule.start for rule in members), max(rule.end for rule in members)
        inner = [
            rule.at
            for rule in vertical
            if left - _SNAP_PT <= rule.at <= right + _SNAP_PT
            and rule.start <= high + _SNAP_PT
            and rule.end >= low - _SNAP_PT
        ]
        ys, xs = _snapped([rule.at for rule in members]), _snapped(inner)
        if len(ys) >= 2 and len(xs) >= 2 and (len(ys) > 2 or len(xs) > 2):
            grids.append(_Grid(xs, ys))
    return grids


def _connected(rules: list[_Rule], vertical: list[_Rule]) -> tuple[list[_Rule], list[_Rule]]:
    """The rulings that belong to the table of the first, which is the highest, and the others."""
    members, others = [rules[0]], []
    lowest = rules[0].at
    left, right = rules[0].start, rules[0].end
    for rule in rules[1:]:
        overlaps = rule.start <= right + _SNAP_PT and rule.end >= left - _SNAP_PT
        near = lowest - rule.at <= _SNAP_PT or any(
            line.end >= lowest - _SNAP_PT
            and line.start <= rule.at + _SNAP_PT
            and left - _SNAP_PT <= line.at <= right + _SNAP_PT
            for line in vertical
        )
        if overlaps and near:
            members.append(rule)
            lowest = min(lowest, rule.at)
            left, right = min(left, rule.start), max(right, rule.end)
        else:
            others.append(rule)
    return members, others


def _snapped(values: list[float]) -> list[float]:
    """The distinct positions among values, in order, with those nearer than a ruling's width taken as one."""
    distinct: list[float] = []
    for value in sorted(values):
        if not distinct or value - distinct[-1] > _SNAP_PT:
            distinct.append(value)
    return distinct
