"""Metrics of leases and budgets as Prometheus reads them, wired as the gateway does."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from slipway.services.gateway import metrics
from slipway.services.gateway.wiring import hooks
from tests.unit.services.gateway.test_escrow import ACCOUNT


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"slipway_gateway_{name}", labels) or 0.0


@pytest.fixture
def no_leases() -> Iterator[None]:
    yield
    metrics.leases_from(dict)


def test_what_the_escrow_tells_is_counted(no_leases: None):
    class Settlement:
        found = staticmethod(lambda *_: None)

    class Journal:
        forget = staticmethod(lambda _: None)

    told = hooks(cast("Any", Settlement), cast("Any", Journal))
    names = [
        ("lease_syncs_total", {"outcome": "answered"}),
        ("lease_syncs_total", {"outcome": "failed"}),
        ("lease_sync_seconds_total", {}),
        ("budget_refused_total", {"reason": "tokens"}),
        ("budget_refused_total", {"reason": "store_away"}),
        ("budget_over_billed_total", {"unit": "tokens"}),
    ]
    before = [value(name, **labels) for name, labels in names]
    told.synced(0.25, True)
    told.synced(0.25, False)
    told.refused(ACCOUNT)
    told.store_away(ACCOUNT)
    told.over_billed(ACCOUNT, 7)
    after = [value(name, **labels) for name, labels in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 0.5, 1, 1, 1]


def test_what_is_held_is_asked_for_when_it_is_read(no_leases: None):
    held = {("tokens", "granted"): 5}
    metrics.leases_from(lambda: held)
    assert value("leases", unit="tokens", what="granted") == 5
    held["tokens", "granted"] = 9
    assert value("leases", unit="tokens", what="granted") == 9
