"""What a picture is made of: boxes, frames around them, lines between them. In whole pixels, from the top left."""

from dataclasses import dataclass
from typing import Literal

from slipway.infra.topology import Edge
from slipway.operations.picture.parts import Kind

Point = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part where it stands. `lines` are wrapped already."""

    name: str
    title: str
    lines: tuple[str, ...]
    kind: Kind
    x: int
    y: int
    width: int
    height: int
    copy: bool = False

    @property
    def right(self) -> int:
        """Where it ends."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Where it ends below."""
        return self.y + self.height

    @property
    def centre(self) -> Point:
        """Its middle."""
        return self.x + self.width // 2, self.y + self.height // 2


@dataclass(frozen=True, slots=True)
class Frame:
    """Around boxes: a region, a network, a tier. `corners` go round it; `label_at` is where its name begins."""

    name: str
    label: str
    corners: tuple[Point, ...]
    label_at: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """From one box to another, in straight pieces. Lines of one `colour` in one channel lead to, or come from, one box.

    `carries` are the topology's edges that run along it.
    """

    source: str
    target: str
    points: tuple[Point, ...]
    colour: int
    kind: Literal["calls", "copies"] = "calls"
    carries: tuple[Edge, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All of it."""

    title: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    frames: tuple[Frame, ...]
    lines: tuple[Line, ...]

    def box(self, name: str) -> Box:
        """The box of that name; raises KeyError for none."""
        for box in self.boxes:
            if box.name == name:
                return box
        raise KeyError(name)
