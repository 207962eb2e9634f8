"""The manifests that Slipway hands out hold themselves, in every environment."""

from pathlib import Path

import pytest

from slipway.manifest import load, open_document
from slipway.manifest.blueprints import blueprint_names, blueprint_text

EXAMPLES = Path(__file__).parents[3] / "examples" / "manifests"
RAG_ASSISTANT = EXAMPLES / "rag-assistant.yaml"


def test_there_are_a_local_blueprint_and_the_rag_assistant() -> None:
    assert set(blueprint_names()) >= {"local", "rag-assistant"}


@pytest.mark.parametrize("name", blueprint_names())
def test_a_blueprint_holds_in_every_environment(tmp_path: Path, name: str) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text(blueprint_text(name), "utf-8")
    checked = open_document(file).check()
    assert [loaded.manifest.name for loaded in checked] == [name] * len(checked)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_holds_in_every_environment(file: Path) -> None:
    assert open_document(file).check()


@pytest.mark.requirement("DLV-01", "R")
@pytest.mark.parametrize("environment", [None, "dev", "prod", "preview"])
def test_the_example_of_the_design_holds(environment: str | None) -> None:
    loaded = load(RAG_ASSISTANT, environment)
    manifest = loaded.manifest
    assert loaded.environments == ("dev", "prod", "preview")
    assert manifest.tenant_claim == "merchant_id"
    assert manifest.component_order() == ("gateway", "retrieval", "memory", "chat")
    assert manifest.services["backend"].needs == ("redis", "gateway")
    prod = environment == "prod"
    assert (manifest.network.azs, manifest.network.nat) == ((3, "per-az") if prod else (2, "single"))
    assert manifest.edge.waf is prod
    gateway = manifest.component("gateway")
    assert (gateway.size, gateway.scale.min, gateway.scale.max) == (("large", 3, 10) if prod else ("small", 1, 10))
    assert manifest.budget.per_month is not None
    assert manifest.budget.per_month.usd_micros == (1_200 if prod else 300) * 1_000_000
    assert [percent.basis_points for percent in manifest.budget.alert_at] == [5_000, 8_000, 9_500]
    assert (manifest.template, manifest.share) == ((True, "dev") if environment == "preview" else (False, None))
    assert (manifest.schedule is not None) is (environment == "dev")


def test_the_rag_assistant_states_the_numbers_of_its_document(tmp_path: Path) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text(blueprint_text("rag-assistant"), "utf-8")
    base, dev, staging, prod = (loaded.manifest for loaded in open_document(file).check())
    assert (base.network.azs, base.network.tiers) == (3, ("public", "private", "isolated"))
    assert (base.edge.throttle.rate, base.edge.throttle.burst) == (1000, 2000)
    backups = base.recovery.backups
    assert backups.daily is not None
    assert backups.weekly is not None
    assert backups.monthly is not None
    assert (backups.daily.keep.days, backups.weekly.keep.days, backups.monthly.keep.days) == (35, 365, 2555)
    assert (backups.daily.cold_after, str(backups.weekly.cold_after)) == (None, "30d")
    assert base.recovery.objectives is not None
    assert (base.recovery.objectives.rto.seconds, base.recovery.objectives.rpo.seconds) == (4 * 3600, 3600)
    assert base.recovery.region == "us-west-2"
    assert [str(m.budget.per_month) for m in (dev, staging, prod)] == ["$300", "$600", "$1,200"]
    assert (dev.edge.waf, prod.edge.waf) == (False, True)
    assert (dev.network.nat, prod.network.nat) == ("single", "per-az")
