"""Where everything stands: four columns from the way in to the stores, the second region beside them.

`picture_of` is all that is called. Each column is as wide as its widest word, each box as high as its text and its
taps, so that nothing overflows; frames follow from the boxes that they hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from slipway.infra.site import Site
from slipway.operations.picture.parts import USERS, Part, Place, flows_of, parts_of
from slipway.operations.picture.routes import COLUMNS, TAPS_APART, TRUNKS_APART, Trunk, routed, taps_of, trunks_of
from slipway.operations.picture.shapes import Box, Frame, Line, Picture, Point
from slipway.operations.picture.words import longest_word, width_of, wrapped

TITLE_PX: Final = 14
TEXT_PX: Final = 12
LABEL_PX: Final = 12
TITLE_ROOM: Final = 12 + 16  # from a box's top to below its title
LINE_ROOM: Final = 16
INDENT: Final = 30  # of a box's text: the mark of its kind stands before it
_PAD: Final = 10
_GAP: Final = 14  # between boxes of a column
_APART: Final = 16  # more of it before what only serves the rest
_MARGIN: Final = 24
_TIER: Final = 14  # from a tier's frame to its boxes
_CLUSTER: Final = 12  # from a cluster's frame to its boxes
_VPC: Final = 14  # from the VPC's frame to the tiers'
_LABEL: Final = 30  # from a frame's top to what it holds
_LEAST: Final = {0: 164, 1: 140, 2: 186, 3: 172, 4: 152}  # widths of columns
_COPY: Final = " (copy)"  # behind the name of what it is a copy of
_SECOND: Final = 4  # the column of the recovery region


@dataclass(frozen=True, slots=True)
class _Spans:
    """Where each column stands across, and where the trunks of the channel behind it begin."""

    left: Mapping[int, int]
    width: Mapping[int, int]
    trunks: Mapping[int, int]

    def right(self, column: int) -> int:
        return self.left[column] + self.width[column]


def picture_of(site: Site) -> Picture:
    """The picture of one environment."""
    return _Drawn(site).picture()


class _Drawn:
    """One picture while it grows, from top to bottom."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.parts = parts_of(site)
        self.flows = flows_of(site, self.parts)
        self.trunks = trunks_of(self.flows, self.parts)
        self.spans = self._across()
        self.boxes: dict[str, Box] = {}
        self.frames: list[Frame] = []

    def picture(self) -> Picture:
        region_top = self._front(60)
        tiers_top = region_top + _LABEL + _LABEL
        first = tiers_top + _LABEL
        inside = self._platform(first)
        entrances = self._entrances(first)
        data = self._stack(("data",), 3, first) + _TIER if self._any("data") else tiers_top
        left = max(inside, entrances) + _VPC
        network = (region_top + _LABEL, left, data + _VPC if self._any("data") else None)
        self._network_frames(network, tiers_top, inside, data)
        aside = self._stack(("around",), 0, self._stack(("entry",), 0, first) + _GAP + _APART)
        services = self._stack(("service",), 3, (network[2] or region_top + _LABEL - _GAP) + _GAP)
        second = self._second_region(first)
        region_bottom = max(left, aside, services, second, network[2] or 0) + _GAP
        self._region_frames(region_top, region_bottom)
        bottom = self._outside(region_bottom + _GAP)
        return self._whole(bottom)

    def _across(self) -> _Spans:
        """Columns beside each other, as wide as their widest title or word, with room for trunks between."""
        widths = {
            column: max(
                _LEAST[column],
                *(_least_width(part) for part in self.parts if COLUMNS.get(part.place) == column),
                _frame_width(self._cluster_label()) if column == 2 else 0,
                0,
            )
            for column in range(4)
        }
        widths[_SECOND] = max(
            _LEAST[_SECOND],
            *(_least_width(copy) for copy in map(_copy_of, self.parts) if copy is not None),
            *(_least_width(part) for part in self.parts if part.place == "recovery"),
            0,
        )
        before = {0: 20, 1: 24 + _TIER, 2: _CLUSTER + _TIER + 12}
        after = {0: _VPC + _TIER + 20, 1: _CLUSTER + _TIER + 12, 2: _VPC + _TIER + 12}
        left, trunks = {0: _MARGIN + _TIER}, {}
        for column in range(3):
            count = sum(trunk.channel == column for trunk in self.trunks)
            trunks[column] = left[column] + widths[column] + before[column]
            left[column + 1] = trunks[column] + max(count - 1, 0) * TRUNKS_APART + after[column]
        left[_SECOND] = left[3] + widths[3] + 2 * _VPC + _TIER + 16 + _TIER
        return _Spans(left, widths, trunks)

    def _of(self, place: Place) -> list[Part]:
        return [part for part in self.parts if part.place == place]

    def _any(self, place: Place) -> bool:
        return any(part.place == place for part in self.parts)

    def _put(self, part: Part, x: int, y: int, width: int) -> Box:
        box = boxed(part, x, y, width, self.trunks)
        self.boxes[part.name] = box
        return box

    def _stack(self, places: Sequence[Place], column: int, top: int) -> int:
        """Boxes under each other; answers where the last one ends."""
        end = top - _GAP
        for part in (part for place in places for part in self._of(place)):
            box = self._put(part, self.spans.left[column], end + _GAP, self.spans.width[column])
            copy = _copy_of(part)
            if copy is not None:
                second = boxed(copy, self.spans.left[_SECOND], box.y, self.spans.width[_SECOND], ())
                box = replace(box, height=max(box.height, second.height))
                self.boxes[part.name] = box
                self.boxes[copy.name] = replace(second, height=box.height, copy=True)
            end = box.bottom
        return end

    def _front(self, top: int) -> int:
        """Users above the way in, and beside them what stands in no region; answers where the region begins."""
        x, end = self.spans.left[0], top
        for part in self._of("front"):
            first = part.name == USERS
            width = self.spans.width[0] if first else max(_least_width(part), 190)
            box = self._put(part, x, top, width)
            x = self.spans.left[1] - _VPC - _TIER if first else box.right + _GAP
            end = max(end, box.bottom)
        return end + 34

    def _platform(self, first: int) -> int:
        """Workloads in their cluster, and below it what else runs in private subnets; answers where the tier ends."""
        end = first
        if self._any("platform"):
            top, x, width = first, self.spans.left[2], self.spans.width[2]
            end = self._stack(("platform",), 2, top + _LABEL) + _CLUSTER
            label = self._cluster_label()
            self._frame("cluster", label, [(x - _CLUSTER, x + width + _CLUSTER, top, end)])
            end += _GAP
        return self._stack(("inside",), 2, end) + _TIER

    def _cluster_label(self) -> str:
        manifest = self.site.manifest
        capacity = manifest.capacity
        return {
            "fargate": "ECS on Fargate",
            "ec2": f"ECS, {capacity.min}–{capacity.max} {capacity.instance}",
            "eks": f"EKS, {capacity.min}–{capacity.max} {capacity.instance}",
        }[manifest.compute]

    def _entrances(self, first: int) -> int:
        """Public subnets above where the load balancer is public, else below; answers where they end."""
        places: tuple[Place, Place] = ("public", "entrance")
        if self._any("public") and self.boxes and not any(part.name == "load-balancer" for part in self._of("public")):
            places = ("entrance", "public")
        end, self.entrance_ends = first, {}
        for place in places:
            if self._any(place):
                bottom = self._stack((place,), 1, end) + _TIER
                self.entrance_ends[place] = (end - _LABEL, bottom)
                end = bottom + _GAP + _LABEL
        return max((bottom for _, bottom in self.entrance_ends.values()), default=first)

    def _network_frames(self, network: tuple[int, int, int | None], tiers_top: int, inside: int, data: int) -> None:
        """The VPC and its tiers, as slabs side by side: left, right, top, bottom."""
        spans, (top, left_end, right_end) = self.spans, network
        platform = spans.left[2] - _CLUSTER - _TIER, spans.right(2) + _CLUSTER + _TIER
        isolated = "isolated" in self.site.manifest.network.present_tiers
        edge = spans.left[3] - _TIER - _VPC if right_end is not None else platform[1] + _VPC
        slabs = [(spans.left[1] - _TIER - _VPC, edge, top, left_end)]
        private = [(*platform, tiers_top, inside)]
        if right_end is not None:
            slabs.append((edge, spans.right(3) + _TIER + _VPC, top, right_end))
            stores = spans.left[3] - _TIER, spans.right(3) + _TIER, tiers_top, data
            if isolated:
                self._frame("isolated", "Isolated subnets", [stores])
            else:
                private = [(platform[0], stores[0], tiers_top, inside), stores]
        if "entrance" in self.entrance_ends:
            private.insert(0, (spans.left[1] - _TIER, platform[0], *self.entrance_ends["entrance"]))
        if "public" in self.entrance_ends:
            public = spans.left[1] - _TIER, spans.right(1) + _TIER, *self.entrance_ends["public"]
            self._frame("public", "Public subnets", [public])
        self._frame("private", "Private subnets", private)
        self._frame("vpc", self._network_label(), slabs)

    def _network_label(self) -> str:
        network, share = self.site.manifest.network, self.site.manifest.share
        whose = f"VPC of {share}" if share else f"VPC {network.cidr}" if network.vpc is None else network.vpc
        zones = network.azs if network.vpc is None else network.subnet_zones
        return f"{whose} · {zones} zone{'s' if zones > 1 else ''}"

    def _second_region(self, first: int) -> int:
        """Below the copies, which stand beside what they copy; answers where the column ends."""
        copies = [box for box in self.boxes.values() if box.copy]
        end = max((box.bottom for box in copies), default=first - _GAP)
        for part in self._of("recovery"):
            end = self._put(part, self.spans.left[_SECOND], end + _GAP, self.spans.width[_SECOND]).bottom
        return end

    def _region_frames(self, top: int, bottom: int) -> None:
        spans, site = self.spans, self.site
        self.region_right = spans.right(3) + _TIER + 2 * _VPC
        self._frame("region", f"{site.region}", [(_MARGIN, self.region_right, top, bottom)], spans.left[1] - 28)
        if any(box.copy for box in self.boxes.values()) or self._any("recovery"):
            left, right = spans.left[_SECOND] - _TIER, spans.right(_SECOND) + _TIER
            self._frame("second", f"{site.manifest.recovery.region}", [(left, right, top, bottom)])
            self.region_right = right

    def _outside(self, top: int) -> int:
        """What is called outside AWS, below the region; answers where it ends."""
        if not self._any("outside"):
            return top
        left, right = self.spans.left[3] - _TIER, self.spans.right(3) + _TIER
        end = self._stack(("outside",), 3, top + _LABEL) + _TIER
        self._frame("outside", "Outside AWS", [(left, right, top, end)])
        return end

    def _frame(
        self, name: str, label: str, slabs: Sequence[tuple[int, int, int, int]], label_x: int | None = None
    ) -> None:
        x, _, y, _ = slabs[0]
        self.frames.append(Frame(name, label, outline(slabs), ((x if label_x is None else label_x) + 12, y + 20)))

    def _whole(self, bottom: int) -> Picture:
        trunked = {(flow.source, flow.target) for trunk in self.trunks for flow in trunk.flows}
        straight = [flow for flow in self.flows if (flow.source, flow.target) not in trunked]
        lines = routed(self.trunks, self.boxes, self.spans.trunks, straight)
        copies = [self._copied(box) for box in self.boxes.values() if box.copy]
        right = max(self.region_right, max(box.right for box in self.boxes.values()))
        return Picture(
            title=f"{self.site.manifest.name} {self.site.names.environment}",
            width=right + _MARGIN,
            height=bottom + 44,
            boxes=tuple(self.boxes.values()),
            frames=tuple(sorted(self.frames, key=lambda frame: _ORDER.index(frame.name))),
            lines=(*lines, *copies),
        )

    def _copied(self, copy: Box) -> Line:
        source = self.boxes[copy.name.removesuffix(_COPY)]
        height = source.centre[1]
        points = ((source.right, height), (copy.x, height))
        return Line(source=source.name, target=copy.name, points=points, colour=0, kind="copies")


_ORDER: Final = ("region", "second", "outside", "vpc", "private", "public", "isolated", "cluster")


def boxed(part: Part, x: int, y: int, width: int, trunks: Iterable[Trunk]) -> Box:
    """The box of a part: as high as its text, and as its taps."""
    lines = tuple(row for line in part.lines for row in wrapped(line, TEXT_PX, width - INDENT - _PAD))
    text = TITLE_ROOM + LINE_ROOM * len(lines) + 8
    taps = (taps_of(trunks, part.name) + 1) * TAPS_APART
    return Box(
        name=part.name, title=part.title, lines=lines, kind=part.kind, x=x, y=y, width=width, height=max(text, taps)
    )


def outline(slabs: Sequence[tuple[int, int, int, int]]) -> tuple[Point, ...]:
    """Round slabs that stand side by side, each with its left, right, top and bottom."""
    above = [point for left, right, top, _ in slabs for point in ((left, top), (right, top))]
    below = [point for left, right, _, bottom in reversed(slabs) for point in ((right, bottom), (left, bottom))]
    return _corners([*above, *below])


def _corners(points: Sequence[Point]) -> tuple[Point, ...]:
    """Without points that stand twice or on a straight line."""
    kept: list[Point] = []
    for point in points:
        if kept and point == kept[-1]:
            continue
        while len(kept) > 1 and (kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def _copy_of(part: Part) -> Part | None:
    """What stands for a part in the recovery region."""
    if part.copy is None:
        return None
    return Part(name=f"{part.name}{_COPY}", title=part.copy[0], lines=part.copy[1:], kind=part.kind, place="recovery")


def _least_width(part: Part) -> int:
    widest = max(width_of(part.title, TITLE_PX, bold=True), *(longest_word(line, TEXT_PX) for line in part.lines), 0)
    return int(widest) + 1 + INDENT + _PAD


def _frame_width(label: str) -> int:
    return int(width_of(label, LABEL_PX)) + 1 + 12
