"""The deep merge: its laws, and that the origin it records is the origin of the value it took."""

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.manifest.environments import Origin, merge
from slipway.manifest.source import Node, read

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("xyz", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
mappings = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


def noded(value: object, line: int) -> Node:
    if isinstance(value, dict):
        return Node({key: noded(child, line) for key, child in value.items()}, line, 1)
    if isinstance(value, list):
        return Node([noded(child, line) for child in value], line, 1)
    return Node(value, line, 1)


def merged_plainly(base: object, over: object) -> object:
    """The rule as one would say it, on plain data."""
    if isinstance(base, dict) and isinstance(over, dict):
        both = {key: merged_plainly(base[key], over[key]) for key in base.keys() & over.keys()}
        return {**base, **over, **both}
    return over


@given(mappings, mappings)
@settings(deadline=None)
def test_mappings_merge_and_everything_else_replaces(base: dict, over: dict) -> None:
    assert merge(noded(base, 1), noded(over, 2), "prod").data == merged_plainly(base, over)


@given(mappings)
@settings(deadline=None)
def test_nothing_overridden_is_the_base_and_merging_twice_changes_nothing(base: dict) -> None:
    assert merge(noded(base, 1)).data == base
    assert merge(noded(base, 1), noded({}, 2), "prod").data == base
    assert merge(noded(base, 1), noded(base, 2), "prod").data == base


@given(mappings, mappings)
@settings(deadline=None)
def test_each_path_has_the_origin_of_the_value_that_stands_there(base: dict, over: dict) -> None:
    merged = merge(noded(base, 1), noded(over, 2), "prod")

    def at(value: object, path: tuple) -> object:
        for part in path:
            if not isinstance(value, dict | list) or (isinstance(value, dict) and part not in value):
                return None
            value = value[part]
        return value

    def walk(value: object, path: tuple) -> None:
        origin = merged.origins[path]
        source = over if origin.source == "environments.prod" else base
        if not isinstance(value, dict):
            assert at(source, path) == value
        assert origin.line == (2 if origin.source == "environments.prod" else 1)
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            walk(child, (*path, key))

    walk(merged.data, ())


def test_keys_keep_the_order_of_the_base() -> None:
    base, _ = read("a: 1\nb: {x: 1, y: 2}\n")
    over, _ = read("c: 3\nb: {z: 3, x: 9}\n")
    merged = merge(base, over, "dev")
    assert list(merged.data) == ["a", "b", "c"]
    assert list(merged.data["b"]) == ["x", "y", "z"]
    assert merged.origins["b", "x"] == Origin("environments.dev", 2, 11, scalar=True)
    assert merged.origins["b", "y"] == Origin("base", 2, 11, scalar=True)
