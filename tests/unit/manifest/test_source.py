"""Reading YAML: lines and columns, the core schema's scalars, and every kind of text that is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.manifest.source import Node, Unreadable, read


def plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def test_scalars_follow_yaml_1_2() -> None:
    root, problems = read(
        "{a: yes, b: off, c: true, d: 22:00, e: 012, f: 1.5, g: ~, h: '5', i: 1e3, j: 0x1F, k: null, l: -3, m: 1_000}"
    )
    assert plain(root) == {
        "a": "yes",
        "b": "off",
        "c": True,
        "d": "22:00",
        "e": 12,
        "f": 1.5,
        "g": None,
        "h": "5",
        "i": 1000.0,
        "j": "0x1F",
        "k": None,
        "l": -3,
        "m": "1_000",
    }
    assert problems == ()


def test_a_value_stands_where_its_key_stands() -> None:
    root, _ = read("a: 1\nb:\n  c: [x,\n    y]\n")
    assert isinstance(root.value, dict)
    below = root.value["b"].value
    assert isinstance(below, dict)
    items = below["c"].value
    assert isinstance(items, list)
    places = [(node.line, node.column) for node in (root.value["a"], root.value["b"], below["c"], *items)]
    assert places == [(1, 1), (2, 1), (3, 3), (3, 7), (4, 5)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "the file is empty"),
        ("# only a comment\n", 0, "the file is empty"),
        ("a: 1\n---\nb: 2\n", 3, "one YAML document"),
        ("a: *nowhere\n", 1, "the alias *nowhere names nothing"),
        ("a: &self [*self]\n", 1, "the alias *self names nothing"),
        ("? [a, b]\n: 1\n", 1, "a key is a plain text"),
        ('a: 1\nb: "\\ud800"\n', 2, "half a character"),
        ('"\\udfff": 1\n', 1, "half a character"),
        ("a: [1, 2\n", 2, "this is not YAML"),
        ("a: b: c\n", 1, "this is not YAML"),
        ("a:\n\t- b\n", 2, "this is not YAML"),
        ("a: \x07\n", 0, "this is not YAML"),
        ("[" * 5000, 1, "nested deeper than 40 levels"),
        ("a:\n" + "".join(f"{' ' * depth}- \n" for depth in range(1, 90)), 41, "nested deeper than 40 levels"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_at_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(text)
    assert message in refused.value.problem.message
    assert refused.value.problem.line == line


def test_an_alias_bomb_is_refused_before_anything_is_built() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    with pytest.raises(Unreadable, match=r"more than 20,000 values, aliases written out"):
        read(bomb)


def test_depth_built_from_aliases_is_refused() -> None:
    ladder = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [[[[[[[[*a{i - 1}]]]]]]]]\n" for i in range(1, 10))
    with pytest.raises(Unreadable, match="nested deeper"):
        read(ladder)


def test_an_alias_within_bounds_is_its_value() -> None:
    root, problems = read("a: &size {cpu: 512}\nb: *size\n")
    assert plain(root) == {"a": {"cpu": 512}, "b": {"cpu": 512}}
    assert problems == ()


def test_duplicates_tags_and_merge_keys_are_all_told_and_reading_goes_on() -> None:
    root, problems = read("a: 1\na: 2\nb: !!python/name:os.system x\nc: !mine {d: 1}\n<<: {e: 1}\nf: 3\n")
    assert plain(root) == {"a": 1, "b": "x", "c": {"d": 1}, "f": 3}
    assert [(p.line, p.message.split(":")[0]) for p in problems] == [
        (2, "the key `a` already stands in line 1"),
        (3, "the tag tag"),
        (4, "the tag !mine is refused"),
        (5, "merge keys are refused"),
    ]


@given(st.text(alphabet="ab:-[]{}&*!'\"#|> \n\t?,~1.0%@`\\", max_size=60))
@settings(deadline=None, max_examples=300)
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        root, _ = read(text)
    except Unreadable as refused:
        assert refused.problem.message
    else:
        assert root.line >= 1
