"""The picture of an architecture, over any manifest: all is there, nothing overlaps, no line runs through a box."""

from collections.abc import Iterator
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings

from slipway.infra.inputs import Inputs
from slipway.infra.site import Site, site_of
from slipway.infra.topology import INTERNET, VPC_LINK, Edge
from slipway.manifest.blueprints import blueprint_text
from slipway.manifest.loading import parse
from slipway.manifest.schema import Manifest
from slipway.operations.picture.drawing import rounded, svg
from slipway.operations.picture.layout import INDENT, LABEL_PX, LINE_ROOM, TEXT_PX, TITLE_PX, outline, picture_of
from slipway.operations.picture.parts import API, BACKUPS, BEDROCK, FIREWALL, USERS
from slipway.operations.picture.shapes import Box, Line, Picture, Point
from slipway.operations.picture.words import width_of, wrapped
from tests.unit.manifest.topologies import manifests

AWS_BLUEPRINTS = ("rag-assistant", "microservices", "agent-gateways", "mcp-hybrid", "preview-fargate")
ANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def site(blueprint: str, environment: str) -> Site:
    manifest = parse(blueprint_text(blueprint)).loaded(environment).manifest
    return site_of(manifest, environment, Inputs(pull_request=7 if manifest.template else None))


def drawn(manifest: Manifest) -> tuple[Site, Picture]:
    of = site_of(manifest, "prod", Inputs())
    return of, picture_of(of)


def overlap(one: Box, other: Box) -> bool:
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def pieces(line: Line) -> Iterator[tuple[int, int, int, int]]:
    for (ax, ay), (bx, by) in pairwise(line.points):
        yield min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


def beside(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two straight pieces run along each other nearer than an eye tells them apart: 5 pixels."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    level, upright = one[1] == one[3] and other[1] == other[3], one[0] == one[2] and other[0] == other[2]
    return (level and wide > 0 and high > -5) or (upright and high > 0 and wide > -5)


def within(box: Box, corners: tuple[Point, ...]) -> bool:
    """Whether a box stands in a frame: each of its corners by the even-odd rule over the frame's upright sides."""
    spots = [(x, y) for x in (box.x + 0.5, box.right - 0.5) for y in (box.y + 0.5, box.bottom - 0.5)]
    sides = [(a[0], *sorted((a[1], b[1]))) for a, b in pairwise((*corners, corners[0])) if a[0] == b[0]]
    return all(sum(x < at and low < y < high for at, low, high in sides) % 2 for x, y in spots)


@ANY
@given(manifests())
def test_no_two_boxes_overlap_and_all_stand_on_the_paper(manifest: Manifest):
    _, picture = drawn(manifest)
    for one, other in combinations(picture.boxes, 2):
        assert not overlap(one, other), f"{one.name} and {other.name}"
    for box in picture.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.right <= picture.width
        assert box.bottom <= picture.height
    names = [box.name for box in picture.boxes]
    assert len(set(names)) == len(names)


@ANY
@given(manifests())
def test_text_fits_its_box_and_its_frame(manifest: Manifest):
    _, picture = drawn(manifest)
    for box in picture.boxes:
        room = box.width - INDENT
        assert width_of(box.title, TITLE_PX, bold=True) <= room, box.title
        for line in box.lines:
            assert width_of(line, TEXT_PX) <= room, line
        assert 40 + LINE_ROOM * (len(box.lines) - 1) + 4 <= box.height
    for frame in picture.frames:
        x, y = frame.label_at
        label = Box(
            name="",
            title="",
            lines=(),
            kind="edge",
            x=x,
            y=y - 12,
            width=int(width_of(frame.label, LABEL_PX)),
            height=14,
        )
        assert within(label, frame.corners), frame.label
        assert not any(overlap(label, box) for box in picture.boxes), frame.label


@ANY
@given(manifests())
def test_every_workload_store_and_dependency_is_there(manifest: Manifest):
    of, picture = drawn(manifest)
    names = {box.name for box in picture.boxes}
    assert {workload.name for workload in of.topology.workloads} <= names
    assert {*of.topology.stores, *manifest.dependencies} <= names


def carried(picture: Picture, edge: Edge) -> list[tuple[str, str]]:
    return [(line.source, line.target) for line in picture.lines if edge in line.carries]


@ANY
@given(manifests())
def test_every_edge_is_drawn_from_its_source_to_its_target(manifest: Manifest):
    of, picture = drawn(manifest)
    for edge in of.topology.edges:
        hops = dict(carried(picture, edge))
        at = USERS if edge.source in (INTERNET, VPC_LINK) else edge.source
        while at in hops:
            at = hops.pop(at)
        assert at == edge.target
        assert not hops
    drawn_pairs = {(line.source, line.target) for line in picture.lines}
    for workload in of.topology.workloads:
        for store in set(workload.needs) & set(of.topology.stores):
            assert (workload.name, store) in drawn_pairs


@ANY
@given(manifests())
def test_lines_end_at_their_boxes_and_run_through_no_other(manifest: Manifest):
    _, picture = drawn(manifest)
    for line in picture.lines:
        for name, (x, y) in ((line.source, line.points[0]), (line.target, line.points[-1])):
            box = picture.box(name)
            on_side = x in (box.x, box.right) and box.y < y < box.bottom
            assert on_side or (y in (box.y, box.bottom) and box.x < x < box.right), f"{line.source} {line.target}"
        for left, top, right, bottom in pieces(line):
            for box in picture.boxes:
                through = left < box.right and box.x < right and top < box.bottom and box.y < bottom
                upright = left == right and box.x < left < box.right and top < box.bottom and box.y < bottom
                level = top == bottom and box.y < top < box.bottom and left < box.right and box.x < right
                assert not (through or upright or level), f"{line.source} {line.target} through {box.name}"


@ANY
@given(manifests())
def test_lines_cross_but_never_run_along_each_other(manifest: Manifest):
    _, picture = drawn(manifest)
    for one, other in combinations(picture.lines, 2):
        if one.colour != other.colour:
            assert not any(beside(a, b) for a in pieces(one) for b in pieces(other)), f"{one} {other}"


@ANY
@given(manifests())
def test_the_network_holds_what_stands_in_it_and_nothing_else(manifest: Manifest):
    of, picture = drawn(manifest)
    corners = {frame.name: frame.corners for frame in picture.frames}
    workloads = {workload.name for workload in of.topology.workloads}
    inside = {box.name for box in picture.boxes if within(box, corners["vpc"])}
    assert workloads <= inside
    assert not inside & {USERS, FIREWALL, API, BEDROCK, BACKUPS, "objects", "dynamodb", "internet", "KMS"}
    if manifest.data.postgres is not None and manifest.data.postgres.engine == "aurora":
        assert "postgres" in inside
    if workloads:
        assert {box.name for box in picture.boxes if within(box, corners["cluster"])} == workloads
    for box in picture.boxes:
        assert not within(box, corners["vpc"]) or within(box, corners["region"])
    if manifest.recovery.region is not None:
        assert "us-west-2" in {frame.label for frame in picture.frames}


@ANY
@given(manifests())
def test_the_same_manifest_gives_the_same_well_formed_bytes(manifest: Manifest):
    text = svg(drawn(manifest)[1])
    assert text == svg(drawn(manifest)[1])
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for asking in ("<script", "<image", "href", "@import", "url("):
        assert asking not in text


@pytest.mark.parametrize("blueprint", AWS_BLUEPRINTS)
def test_each_line_of_a_blueprint_is_one_path_that_says_who_calls_whom(blueprint: str):
    picture = picture_of(site(blueprint, "prod"))
    titles = [each.text for each in ElementTree.fromstring(svg(picture)).iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(picture.lines)
    for line in picture.lines:
        assert any(str(title).startswith(f"{line.source} {line.kind} {line.target}") for title in titles)


def test_copies_stand_beside_what_they_copy():
    picture = picture_of(site("rag-assistant", "prod"))
    for name in ("postgres", "objects", BACKUPS):
        assert picture.box(f"{name} (copy)").y == picture.box(name).y
        assert picture.box(f"{name} (copy)").copy
    assert "postgres (copy)" not in {box.name for box in picture_of(site("rag-assistant", "dev")).boxes}


def test_a_preview_shows_whose_network_it_shares():
    picture = picture_of(site("preview-fargate", "preview"))
    assert picture.title == "preview-fargate preview-7"
    assert any(frame.label.startswith("VPC of dev") for frame in picture.frames)
    assert "of dev, shared" in picture.box("load-balancer").lines


def test_the_longest_name_widens_its_box():
    name = "a-service-with-forty-characters-in-name0"
    text = f"slipway: 1\nname: long\ncomponents: {{identity: {{}}}}\nservices:\n  {name}: {{image: ./x, port: 3000}}\n"
    manifest = parse(text + "environments: {prod: {region: us-east-1}}\n").loaded("prod").manifest
    box = picture_of(site_of(manifest, "prod", Inputs())).box(name)
    assert box.width >= INDENT + width_of(name, TITLE_PX, bold=True)


def test_text_wraps_between_words():
    assert wrapped("one two three", 12, width_of("one two", 12)) == ("one two", "three")
    assert wrapped("unbreakable", 12, 1) == ("unbreakable",)
    assert wrapped("", 12, 100) == ()


def test_a_frame_goes_round_slabs_without_needless_corners():
    assert outline([(0, 10, 0, 10), (10, 20, 0, 10)]) == ((0, 0), (20, 0), (20, 10), (0, 10))
    assert outline([(0, 10, 0, 20), (10, 20, 0, 5)]) == ((0, 0), (20, 0), (20, 5), (10, 5), (10, 20), (0, 20))


def test_corners_are_round_only_as_far_as_there_is_room():
    assert rounded(((0, 0), (10, 0), (10, 20)), 7) == "M0 0L5 0Q10 0 10 5L10 20"
    assert rounded(((0, 0), (0, 9)), 7) == "M0 0L0 9"
