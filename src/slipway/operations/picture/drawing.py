"""A picture as SVG: one file that needs nothing besides itself, legible in light and dark.

Lines of later trunks pass over earlier ones with a gap, so that a crossing is no meeting.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import Final

from slipway.operations.picture.layout import INDENT, LINE_ROOM
from slipway.operations.picture.parts import Kind
from slipway.operations.picture.shapes import Box, Frame, Line, Picture, Point

_COLOURS: Final = 11  # of trunks; 0 is that of lines that have none
_CORNER: Final = 7
_FRAME_CORNER: Final = 8
_LEGEND: Final = "A line leads from who opens connections to whom; a dashed one from a store to its copy."
# The mark of each kind, in 16 pixels.
_MARKS: Final[Mapping[Kind, str]] = {
    "people": "M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2 14c0-3 2.5-4.5 6-4.5s6 1.5 6 4.5z",
    "edge": "M8 1.5l5.5 2v4.2c0 3.4-2.3 5.8-5.5 6.8-3.2-1-5.5-3.4-5.5-6.8V3.5z",
    "network": "M8 2v4M3.5 10V8h9v2M8 6v4M2 10h3v3.5H2zM6.5 10h3v3.5h-3zM11 10h3v3.5h-3z",
    "compute": "M8 1.5l5.6 3.2v6.6L8 14.5l-5.6-3.2V4.7zM8 8l5.6-3.3M8 8v6.5M8 8L2.4 4.7",
    "store": "M2.5 4c0-3 11-3 11 0v8c0 3-11 3-11 0zM2.5 4c0 3 11 3 11 0M2.5 8c0 3 11 3 11 0",
    "service": "M2.5 2.5h4.5v4.5H2.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5H2.5zM9 9h4.5v4.5H9z",
    "outside": "M8 14.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM1.5 8h13M8 1.5c4 4 4 9 0 13M8 1.5c-4 4-4 9 0 13",
}  # fmt: skip


def svg(picture: Picture) -> str:
    """The SVG, complete."""
    style = files("slipway.operations.picture").joinpath("drawing.css").read_text("utf-8")
    body = "\n".join((*_frames(picture), *_lines(picture), *map(_box, picture.boxes), *_texts(picture)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width} {picture.height}"'
        f' width="{picture.width}" height="{picture.height}" role="img" aria-label="{escape(picture.title)} on AWS">\n'
        f"<style>\n{style}</style>\n"
        f'<rect class="paper" width="{picture.width}" height="{picture.height}" rx="10"/>\n{body}\n</svg>\n'
    )


def _frames(picture: Picture) -> Iterator[str]:
    for frame in picture.frames:
        yield f'<path class="frame {frame.name}" d="{rounded(frame.corners, _FRAME_CORNER, closed=True)}"/>'


def _texts(picture: Picture) -> Iterator[str]:
    name, _, environment = picture.title.rpartition(" ")
    yield f'<text class="head" x="24" y="38">{escape(name)} <tspan>{escape(environment)}</tspan></text>'
    for frame in picture.frames:
        yield _label(frame)
    yield f'<text class="legend" x="24" y="{picture.height - 18}">{escape(_LEGEND)}</text>'


def _label(frame: Frame) -> str:
    x, y = frame.label_at
    return f'<text class="label {frame.name}" x="{x}" y="{y}">{escape(frame.label)}</text>'


def _lines(picture: Picture) -> Iterator[str]:
    for (kind, colour), found in groupby(picture.lines, key=lambda line: (line.kind, line.colour)):
        lines, shade = list(found), 1 + (colour - 1) % _COLOURS if colour else 0
        for line in lines:
            yield f'<path class="under" d="{rounded(line.points, _CORNER)}"/>'
        for line in lines:
            yield (
                f'<path class="{kind} c{shade}" d="{rounded(line.points, _CORNER)}">'
                f"<title>{escape(_said(line))}</title></path>"
            )
        for end in dict.fromkeys(line.points[-2:] for line in lines):
            yield f'<path class="head-of c{shade}" d="{_arrow(*end)}"/>'


def _said(line: Line) -> str:
    ports = sorted({edge.port for edge in line.carries if line.target == edge.target})
    at = f" at {', '.join(map(str, ports))}" if ports else ""
    return f"{line.source} {line.kind} {line.target}{at}"


def _box(box: Box) -> str:
    x, y = box.x + INDENT, box.y
    rows = "".join(
        f'<text class="row" x="{x}" y="{y + 40 + at * LINE_ROOM}">{escape(line)}</text>'
        for at, line in enumerate(box.lines)
    )
    copy = " copy" if box.copy else ""
    return (
        f'<g class="box {box.kind}{copy}"><rect x="{box.x}" y="{y}" width="{box.width}" height="{box.height}" rx="7"/>'
        f'<path class="mark" transform="translate({box.x + 8} {y + 10})" d="{_MARKS[box.kind]}"/>'
        f'<text class="name" x="{x}" y="{y + 23}">{escape(box.title)}</text>{rows}</g>'
    )


def _arrow(before: Point, end: Point) -> str:
    """A head at the end of a line that comes from `before`, straight along one axis."""
    (fx, fy), (x, y) = before, end
    along = ((x > fx) - (x < fx), (y > fy) - (y < fy))
    back = (x - 7 * along[0], y - 7 * along[1])
    wide = (4 * along[1], 4 * along[0])
    return f"M{x} {y}L{back[0] + wide[0]} {back[1] + wide[1]}L{back[0] - wide[0]} {back[1] - wide[1]}z"


def rounded(points: Sequence[Point], radius: int, *, closed: bool = False) -> str:
    """A path along `points`, its corners round; a corner has no more room than half of its shorter side."""
    corners = list(points) if closed else list(points[1:-1])
    path = [] if closed else [f"M{points[0][0]} {points[0][1]}"]
    for at, corner in enumerate(corners):
        before = points[at - 1] if closed else points[at]
        after = points[(at + 1) % len(points)] if closed else points[at + 2]
        room = min(radius, _apart(before, corner) // 2, _apart(corner, after) // 2)
        start, end = _towards(corner, before, room), _towards(corner, after, room)
        path.append(f"{'L' if path else 'M'}{start[0]} {start[1]}Q{corner[0]} {corner[1]} {end[0]} {end[1]}")
    path.append("z" if closed else f"L{points[-1][0]} {points[-1][1]}")
    return "".join(path)


def _apart(one: Point, other: Point) -> int:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _towards(point: Point, other: Point, far: int) -> Point:
    return (
        point[0] + far * ((other[0] > point[0]) - (other[0] < point[0])),
        point[1] + far * ((other[1] > point[1]) - (other[1] < point[1])),
    )
