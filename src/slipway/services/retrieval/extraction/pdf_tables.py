"""The tables of one PDF page: finds their ruling lines, and makes one line of text of each row.

`pdf_layout` calls it with the pieces of text of the page. A table is a grid of rulings in both directions; or rulings
(or stripes) of equal extent below each other, between which the text stands in columns. Anything else is not its own.
"""

import ctypes
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import pypdfium2
from pypdfium2 import raw

_MAX_PATH_OBJECTS = 4_000  # a page with more is a drawing, not a table
_MAX_RULES = 400  # in one direction: finding what is connected costs their product
_RULE_THICKNESS_PT = 2.5
_ROW_GAP_SHARE = 0.25  # of the letter height: lines of one cell nearly touch, rows have padding between them
_COLUMN_GAP_SHARE = 0.6  # of the letter height: less than the padding of two cells, more than a space
_CELL_CHARS_AT_MOST = 35  # on average; lines of running text in two columns have 45 and more
_RULED_ROWS_FROM = 4  # rulings: with fewer only the head and the ends of a table are ruled
_SNAP_PT = 3.0  # lines closer than this are the same ruling


@dataclass(slots=True)
class Line:
    """One line of text; `is_row` when it is a row of a table, its cells parted by ` | `."""

    text: str
    baseline: float  # points, upwards
    height: float  # of the letters, points
    is_row: bool = False


@dataclass(slots=True)
class Piece:
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
class Grid:
    """The rulings of one table: columns between `xs` (left to right), rows between `ys` (bottom to top).

    `projected` when there are none between columns: `xs` then come from where the text leaves room, and there may be
    several rows between two rulings.
    """

    xs: list[float]
    ys: list[float]
    projected: bool = False

    def cell_of(self, piece: Piece) -> tuple[int, int] | None:
        """(row from the top, column) of the cell that holds the piece, if one does."""
        middle_x, middle_y = (piece.left + piece.right) / 2, (piece.bottom + piece.top) / 2
        column, row = bisect_right(self.xs, middle_x) - 1, bisect_right(self.ys, middle_y) - 1
        if 0 <= column < len(self.xs) - 1 and 0 <= row < len(self.ys) - 1:
            return len(self.ys) - 2 - row, column
        return None


def table_grids(page: pypdfium2.PdfPage, rows: list[list[Piece]]) -> list[Grid]:
    """The tables of the page; `rows` are its lines as pieces."""
    grids: list[Grid] = []
    for grid in _grids(page):
        if grid.projected:
            grids.extend(part for part in _parted(grid, rows) if _has_columns(part, rows))
        else:
            grids.append(grid)
    return grids


def table_rows(grid: Grid, pieces: list[Piece]) -> list[Line]:
    """One line for each row of the grid that has text; the lines of a cell are joined in their order."""
    bands: dict[int, list[Piece]] = {}
    for piece in pieces:
        bands.setdefault((grid.cell_of(piece) or (0, 0))[0], []).append(piece)
    lines = []
    for _, band in sorted(bands.items()):
        for members in _rows_of_band(grid, band) if grid.projected else [band]:
            cells: dict[int, list[Piece]] = {}
            for piece in members:
                cells.setdefault((grid.cell_of(piece) or (0, 0))[1], []).append(piece)
            # Columns before the last with text are kept when empty, so that cells stay under their headings.
            texts = [" ".join(piece.text for piece in cells.get(column, [])) for column in range(max(cells) + 1)]
            baseline = min(piece.bottom for piece in members)
            height = max(piece.height for piece in members)
            lines.append(Line(" | ".join(texts), baseline, height, is_row=len(grid.xs) > 2))
    return lines


def _rows_of_band(grid: Grid, band: list[Piece]) -> list[list[Piece]]:
    """The rows between two rulings: parted by white space, or one for each baseline where only the head is ruled."""
    rows: list[list[Piece]] = []
    lowest = 0.0
    for piece in sorted(band, key=lambda piece: -piece.top):
        if rows and piece.top > lowest - _ROW_GAP_SHARE * piece.height:
            rows[-1].append(piece)
            lowest = min(lowest, piece.bottom)
        else:
            rows.append([piece])
            lowest = piece.bottom
    starts = [piece for piece in band if (grid.cell_of(piece) or (0, 0))[1] == 0]
    if len(rows) == 1 and len(starts) > 1 and len(grid.ys) < _RULED_ROWS_FROM:
        rows = [[piece for piece in band if abs(piece.bottom - start.bottom) < start.height / 2] for start in starts]
    order = {id(piece): index for index, piece in enumerate(band)}
    return [sorted(row, key=lambda piece: order[id(piece)]) for row in rows]


def _parted(grid: Grid, rows: list[list[Piece]]) -> list[Grid]:
    """The grid taken apart where a line between its rulings is not in it: two tables of one width, and a heading."""
    cuts = []
    for line in rows:
        middle = (line[0].bottom + line[0].top) / 2
        beside = line[-1].right < grid.xs[0] or line[0].left > grid.xs[-1]
        if grid.ys[0] < middle < grid.ys[-1] and not beside and not any(map(grid.cell_of, line)):
            cuts.append(middle)
    parts = []
    edges = [grid.ys[0] - 1, *sorted(cuts), grid.ys[-1] + 1]
    for low, high in pairwise(edges):
        ys = [y for y in grid.ys if low < y < high]
        if len(ys) > 2:
            parts.append(Grid(grid.xs, ys, projected=True))
    return parts


def _has_columns(grid: Grid, rows: list[list[Piece]]) -> bool:
    """Whether the text between rulings stands in columns as cells do, and if so sets the columns of the grid."""
    pieces = sorted((p for line in rows for p in line if grid.cell_of(p)), key=lambda piece: piece.left)
    if not pieces or sum(len(piece.text) for piece in pieces) > _CELL_CHARS_AT_MOST * len(pieces):
        return False  # running text, in one column or in two
    borders = [pieces[0].left - 1]
    right = pieces[0].right
    for piece in pieces[1:]:
        if piece.left - right > _COLUMN_GAP_SHARE * piece.height:
            borders.append((right + piece.left) / 2)
        right = max(right, piece.right)
    grid.xs = [*borders, right + 1]
    return len(borders) > 1


def _grids(page: pypdfium2.PdfPage) -> list[Grid]:
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
        if len(horizontal) + len(vertical) > _MAX_PATH_OBJECTS:
            return []
    horizontal, vertical = _merged(horizontal), _merged(vertical)
    if len(horizontal) > _MAX_RULES or len(vertical) > _MAX_RULES:
        return []
    return _tables_of(horizontal, vertical)


def _merged(rules: list[_Rule]) -> list[_Rule]:
    """Rules that go on in one another as one: many tools draw the edges of each cell."""
    merged: list[_Rule] = []
    for rule in sorted(rules, key=lambda rule: (round(rule.at), rule.start)):
        last = merged[-1] if merged else None
        if last and abs(rule.at - last.at) <= 1 and rule.start <= last.end + _SNAP_PT:
            last.end = max(last.end, rule.end)
        else:
            merged.append(rule)
    return merged


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


def _tables_of(horizontal: list[_Rule], vertical: list[_Rule]) -> list[Grid]:
    """Rulings that reach each other, or lie below each other alike, as grids."""
    grids = []
    unconnected: list[_Rule] = []
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
        if len(ys) >= 2 and len(xs) > 2:
            grids.append(Grid(xs, ys))
        elif len(ys) > 2 and len(xs) == 2:
            grids.append(Grid(xs, ys, projected=True))
        elif len(xs) < 2:
            unconnected += members
    return grids + _unlined(unconnected)


def _unlined(rules: list[_Rule]) -> list[Grid]:
    """Rulings of equal extent below each other, without any between columns: at least the three of a table."""
    grids = []
    while rules:
        first = rules[0]
        same = [r for r in rules if abs(r.start - first.start) < _SNAP_PT and abs(r.end - first.end) < _SNAP_PT]
        rules = [rule for rule in rules if rule not in same]
        ys = _snapped([rule.at for rule in same])
        if len(ys) > 2:
            grids.append(Grid([first.start, first.end], ys, projected=True))
    return grids


def _connected(rules: list[_Rule], vertical: list[_Rule]) -> tuple[list[_Rule], list[_Rule]]:
    """The rulings that belong to the table of the first, which is the highest, and the others."""
    members, others = [rules[0]], []
    lowest = rules[0].at
    left, right = rules[0].start, rules[0].end
    for rule in rules[1:]:
        overlaps = rule.start <= right + _SNAP_PT and rule.end >= left - _SNAP_PT
        near = overlaps and (
            lowest - rule.at <= _SNAP_PT
            or any(
                line.end >= lowest - _SNAP_PT
                and line.start <= rule.at + _SNAP_PT
                and left - _SNAP_PT <= line.at <= right + _SNAP_PT
                for line in vertical
            )
        )
        if near:
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
