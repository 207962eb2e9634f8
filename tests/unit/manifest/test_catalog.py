"""The catalog's facts, and the order of start."""

import pytest

from slipway.base.errors import Misconfigured
from slipway.manifest.catalog import CATALOG, COMPONENTS, Component, Need, closure, find_circle, start_order


def component(name: Need, *needs: Need) -> Component:
    return Component(name, "for a test", routes=(), needs=needs)


def test_every_component_starts_after_what_it_needs() -> None:
    order = start_order(CATALOG)
    assert sorted(order) == sorted(CATALOG)
    for name in order:
        for need in CATALOG[name].needs:
            if need.value in CATALOG:
                assert order.index(need.value) < order.index(name)


def test_what_a_component_needs_starts_with_it() -> None:
    assert start_order(["chat"]) == ("gateway", "retrieval", "memory", "chat")
    assert start_order(["memory"]) == ("memory",)
    assert closure(["retrieval"]) == {"retrieval", "gateway"}
    assert start_order([]) == ()


def test_the_order_does_not_depend_on_how_the_names_were_given() -> None:
    assert start_order(["chat", "identity"]) == start_order(["identity", "chat"])


def test_an_unknown_component_is_refused() -> None:
    with pytest.raises(Misconfigured, match="'gatway' is not a component: the catalog has identity, gateway"):
        start_order(["gatway"])


def test_circular_needs_are_refused_with_the_circle() -> None:
    catalog = {
        "gateway": component(Need.GATEWAY, Need.MEMORY),
        "memory": component(Need.MEMORY, Need.CHAT),
        "chat": component(Need.CHAT, Need.MEMORY, Need.POSTGRES),
    }
    with pytest.raises(Misconfigured, match="in a circle: memory → chat → memory"):
        start_order(["gateway"], catalog)


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({}, ()),
        ({"a": ["b"], "b": ["c"], "c": []}, ()),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"]}, ()),
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ("b", "c", "b")),
        ({"x": ["y"], "a": ["x", "b"], "b": ["a"]}, ("a", "b", "a")),
    ],
)
def test_a_circle_is_found_wherever_it_is(needs: dict, circle: tuple) -> None:
    assert find_circle(needs) == circle


def test_no_two_components_share_a_route_and_every_one_can_be_probed() -> None:
    routes = [route for part in COMPONENTS for route in part.routes]
    assert len(routes) == len(set(routes))
    assert all(route.startswith("/") for route in routes)
    assert all(part.probes.health == "/health" and part.probes.ready == "/ready" for part in COMPONENTS)
    assert [part.name.value for part in COMPONENTS] == list(CATALOG)
