"""How lines run: in the channels between columns of boxes, never through a box, and never one upon another.

Flows that lead to one box share a trunk in its channel, as those do that come from one load balancer. Each trunk has a
place of its own across the channel, each tap of a box a height of its own, and boxes on both sides of a channel take
heights that never meet, so that two lines may cross and never run along each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from slipway.operations.picture.parts import Flow, Part, Place
from slipway.operations.picture.shapes import Box, Line, Point

COLUMNS: Final[Mapping[Place, int]] = {
    "front": 0, "entry": 0, "around": 0,
    "public": 1, "entrance": 1,
    "platform": 2, "inside": 2,
    "data": 3, "service": 3, "outside": 3,
}  # fmt: skip
TRUNKS_APART: Final = 11
TAPS_APART: Final = 12
_BETWEEN: Final = TAPS_APART // 2  # taps of a channel's right side stand between those of its left side


@dataclass(slots=True)
class Trunk:
    """Flows that share a line: in `channel` (that behind column 0, 1, 2), to or from one box.

    `taps` says for each box on which side of the channel it is tapped.
    """

    channel: int
    hub: str
    flows: list[Flow] = field(default_factory=list)
    taps: dict[str, bool] = field(default_factory=dict)  # True: on the channel's left side


def trunks_of(flows: Iterable[Flow], parts: Sequence[Part]) -> tuple[Trunk, ...]:
    """The trunks of every channel. Flows within a column that go straight from box to box have none."""
    columns = {part.name: COLUMNS[part.place] for part in parts if part.place in COLUMNS}
    found: dict[tuple[int, str, bool], Trunk] = {}
    for flow in flows:
        source, target = columns[flow.source], columns[flow.target]
        if source == target and source < 2:
            continue
        spreads = (source, target) == (1, 2)
        channel, hub = min(source, target), flow.source if spreads else flow.target
        trunk = found.setdefault((channel, hub, spreads), Trunk(channel, hub))
        trunk.flows.append(flow)
        trunk.taps[flow.source] = source == channel
        trunk.taps[flow.target] = target == channel
    return tuple(found.values())


def taps_of(trunks: Iterable[Trunk], box: str) -> int:
    """How many taps a box has on that side of it which has most: what it must be high for."""
    sides = [left for trunk in trunks for name, left in trunk.taps.items() if name == box]
    return max(sides.count(True), sides.count(False))


@dataclass(slots=True)
class _Channel:
    trunks: list[Trunk]
    boxes: Mapping[str, Box]
    heights: dict[tuple[str, bool, int], int] = field(default_factory=dict)

    def settle(self) -> None:
        """Turns by turns: the order of taps follows that of trunks, and the reverse. Three turns change no more."""
        self.trunks.sort(key=lambda trunk: (self.boxes[trunk.hub].centre[1], trunk.hub))
        for _ in range(3):
            self._space_taps()
            self._order_trunks()
        self._space_taps()
        self._straighten()

    def height(self, trunk: Trunk, name: str) -> int:
        return self.heights[name, trunk.taps[name], id(trunk)]

    def _space_taps(self) -> None:
        sides: dict[tuple[str, bool], list[Trunk]] = {}
        for trunk in self.trunks:
            for name, left in trunk.taps.items():
                sides.setdefault((name, left), []).append(trunk)
        for (name, left), trunks in sides.items():
            box, shift = self.boxes[name], 0 if left else _BETWEEN
            ordered = sorted(trunks, key=lambda trunk: self._turn(trunk, box, left))
            first = box.centre[1] - TAPS_APART * (len(ordered) - 1) // 2
            first = round((first - shift) / TAPS_APART) * TAPS_APART + shift
            for place, trunk in enumerate(ordered):
                self.heights[name, left, id(trunk)] = first + place * TAPS_APART

    def _straighten(self) -> None:
        """A line that is alone in its channel, between boxes beside each other, has no bend."""
        if len(self.trunks) == 1 and len(self.trunks[0].flows) == 1:
            [trunk] = self.trunks
            one, other = (self.boxes[name] for name in trunk.taps)
            top, bottom = max(one.y, other.y), min(one.bottom, other.bottom)
            if bottom - top > TAPS_APART:
                for name, left in trunk.taps.items():
                    self.heights[name, left, id(trunk)] = (top + bottom) // 2

    def _turn(self, trunk: Trunk, box: Box, left: bool) -> tuple[int, int]:
        """Lines that turn up leave above those that turn down, so that they do not cross where they leave."""
        across = self.trunks.index(trunk) if left else -self.trunks.index(trunk)
        others = [self.boxes[name].centre[1] for name in trunk.taps if name != box.name]
        up = sum(others) < box.centre[1] * len(others)
        return (0, across) if up else (1, -across)

    def _order_trunks(self) -> None:
        """Neighbours change places while that saves a crossing."""
        moved = True
        while moved:
            moved = False
            for at in range(len(self.trunks) - 1):
                first, second = self.trunks[at], self.trunks[at + 1]
                if self._crossings(second, first) < self._crossings(first, second):
                    self.trunks[at : at + 2] = [second, first]
                    moved = True

    def _crossings(self, first: Trunk, second: Trunk) -> int:
        """Crossings of two trunks, with the first one on the left."""
        return self._cross(first, second, left=False) + self._cross(second, first, left=True)

    def _cross(self, tapping: Trunk, upright: Trunk, *, left: bool) -> int:
        ends = [self.height(upright, name) for name in upright.taps]
        taps = [self.height(tapping, name) for name, side in tapping.taps.items() if side is left]
        return sum(min(ends) < tap < max(ends) for tap in taps)


def routed(
    trunks: Sequence[Trunk], boxes: Mapping[str, Box], starts: Mapping[int, int], straight: Iterable[Flow]
) -> tuple[Line, ...]:
    """Every line. `starts` says where the trunks of each channel begin; `straight` flows lead from box to box."""
    lines = [
        Line(source=flow.source, target=flow.target, points=_direct(boxes[flow.source], boxes[flow.target]),
             colour=0, carries=flow.carries)
        for flow in straight
    ]  # fmt: skip
    colour = 1
    for number in sorted(starts, reverse=True):  # the busiest channel first: its colours are told apart longest
        channel = _Channel([trunk for trunk in trunks if trunk.channel == number], boxes)
        channel.settle()
        for place, trunk in enumerate(channel.trunks):
            across = starts[number] + place * TRUNKS_APART
            lines += [
                Line(source=flow.source, target=flow.target, points=_around(channel, trunk, flow, across),
                     colour=colour, carries=flow.carries)
                for flow in trunk.flows
            ]  # fmt: skip
            colour += 1
    return tuple(lines)


def _around(channel: _Channel, trunk: Trunk, flow: Flow, across: int) -> tuple[Point, ...]:
    """Out of one box, along the trunk, into the other."""
    ends: list[Point] = []
    for name in (flow.source, flow.target):
        box, height = channel.boxes[name], channel.height(trunk, name)
        ends += [(box.right if trunk.taps[name] else box.x, height), (across, height)]
    return ends[0], ends[1], ends[3], ends[2]


def _direct(source: Box, target: Box) -> tuple[Point, ...]:
    """Straight on: down where the other stands below, else to the right."""
    if target.y >= source.bottom:
        across = source.centre[0]
        return (across, source.bottom), (across, target.y)
    height = source.y + TAPS_APART  # above a tap in the middle
    return (source.right, height), (target.x, height)
