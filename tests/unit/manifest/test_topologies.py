"""Random manifests hold, so that whoever synthesizes them learns about synthesis and not about refusals."""

from hypothesis import HealthCheck, find, given, settings

from slipway.manifest.rules.reach import reaches
from slipway.manifest.rules.rulebook import check
from slipway.manifest.schema import Manifest
from tests.unit.manifest.topologies import COMPUTES, manifests


@given(manifests())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_drawn_holds_and_every_store_of_it_is_reached(manifest: Manifest) -> None:
    assert list(check(manifest)) == []
    assert manifest.region is not None
    assert manifest.network.subnet_zones >= 2
    names = [reach.store for reach in reaches(manifest)]
    kept = [name for name, service in manifest.services.items() if service.volume and service.volume.kind == "efs"]
    assert set(kept) <= set(names)


def test_every_compute_and_an_existing_vpc_are_among_them() -> None:
    for compute in COMPUTES:
        assert find(manifests([compute]), lambda manifest: bool(manifest.services)).compute == compute
    assert find(manifests(), lambda manifest: manifest.network.vpc is not None)
