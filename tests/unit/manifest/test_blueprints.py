"""The manifests that Slipway hands out hold themselves in every environment, and state the numbers of their documents.

That the templates hold these numbers too is proven in `tests/infra`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.manifest import Manifest, load, open_document
from slipway.manifest.blueprints import blueprint_names, blueprint_text
from slipway.manifest.catalog import CATALOG, TASK_SIZES
from slipway.services.gateway.prices import price_of

EXAMPLES = Path(__file__).parents[3] / "examples" / "manifests"
RAG_ASSISTANT = EXAMPLES / "rag-assistant.yaml"
ENVIRONMENTS = {
    "agent-gateways": ("dev", "staging", "prod"),
    "local": (),
    "mcp-hybrid": ("dev", "staging", "prod"),
    "microservices": ("dev", "staging", "prod"),
    "preview-fargate": ("dev", "staging", "prod", "preview"),
    "rag-assistant": ("dev", "staging", "prod"),
}
Blueprint = Callable[[str, str | None], Manifest]


@pytest.fixture
def blueprint(tmp_path: Path) -> Blueprint:
    """The manifest of a blueprint in one environment."""

    def loaded(name: str, environment: str | None) -> Manifest:
        file = tmp_path / "slipway.yaml"
        file.write_text(blueprint_text(name), "utf-8")
        return load(file, environment).manifest

    return loaded


def test_there_are_a_local_blueprint_and_the_five_of_the_documents() -> None:
    assert blueprint_names() == tuple(ENVIRONMENTS)


@pytest.mark.parametrize("name", blueprint_names())
def test_a_blueprint_holds_in_every_environment(tmp_path: Path, name: str) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text(blueprint_text(name), "utf-8")
    checked = open_document(file).check()
    assert [loaded.environment for loaded in checked] == [None, *ENVIRONMENTS[name]]
    assert {loaded.manifest.name for loaded in checked} == {name}
    for loaded in checked[1:]:
        manifest = loaded.manifest
        assert manifest.region == "us-east-1"
        assert manifest.budget.per_month is not None
        assert {"Project", "Owner", "CostCenter"} <= set(manifest.tags)
        assert manifest.monitoring.notify.critical
        assert manifest.edge.tls == "1.3"


@pytest.mark.parametrize("name", [name for name in blueprint_names() if name != "local"])
def test_every_model_of_a_blueprint_has_a_price(blueprint: Blueprint, name: str) -> None:
    manifest = blueprint(name, "prod")
    for model in manifest.models.available.values():
        assert price_of(model, manifest.region) is not None, model.id


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


def test_the_rag_assistant_states_the_numbers_of_its_document(blueprint: Blueprint) -> None:
    dev, staging, prod = (blueprint("rag-assistant", each) for each in ("dev", "staging", "prod"))
    assert (prod.network.azs, prod.network.tiers) == (3, ("public", "private", "isolated"))
    assert (prod.edge.api_gateway, prod.edge.throttle.rate, prod.edge.throttle.burst) == (True, 1000, 2000)
    backups = prod.recovery.backups
    assert backups.daily is not None
    assert backups.weekly is not None
    assert backups.monthly is not None
    assert (backups.daily.keep.days, backups.weekly.keep.days, backups.monthly.keep.days) == (35, 365, 2555)
    assert (backups.daily.cold_after, str(backups.weekly.cold_after)) == (None, "30d")
    assert prod.recovery.objectives is not None
    assert (prod.recovery.objectives.rto.seconds, prod.recovery.objectives.rpo.seconds) == (4 * 3600, 3600)
    assert (prod.recovery.region, prod.recovery.failover) == ("us-west-2", True)
    assert [str(each.budget.per_month) for each in (dev, staging, prod)] == ["$300", "$600", "$1,200"]
    assert [each.edge.waf for each in (dev, prod)] == [False, True]
    assert [each.network.nat for each in (dev, prod)] == ["single", "per-az"]
    assert str(dev.schedule.stop if dev.schedule else None) == "22:00 UTC"


def test_the_rag_assistant_watches_what_its_document_watches(blueprint: Blueprint) -> None:
    prod = blueprint("rag-assistant", "prod")
    alarms, notify = prod.monitoring.alarms, prod.monitoring.notify
    assert [str(each) for each in (alarms.latency, alarms.error_rate, alarms.cpu, alarms.db_connections)] == [
        "5s", "5%", "80%", "80%",
    ]  # fmt: skip
    assert str(alarms.cost_per_session) == "$0.05"
    assert (notify.critical, notify.security) == (("admin@example.com",), ("security@example.com",))
    assert str(prod.monitoring.synthetic_every) == "5m"


def test_the_rag_assistant_has_its_agent_workflows_sign_in_and_mindsdb(blueprint: Blueprint) -> None:
    prod = blueprint("rag-assistant", "prod")
    assert prod.agents.bedrock_agent
    workflows = prod.workflows
    assert (workflows.engine, str(workflows.ingestion.limit), str(workflows.retraining.limit)) == (
        "step-functions", "15m", "2h",
    )  # fmt: skip
    assert prod.identity.user_pool is not None
    assert (prod.identity.mfa, prod.identity.user_pool.advanced_security) == ("required", True)
    mindsdb = prod.services["mindsdb"]
    assert mindsdb.image.startswith("mindsdb/mindsdb:")
    assert mindsdb.route is None
    assert mindsdb.volume is not None
    assert mindsdb.volume.kind == "efs"


def test_the_microservices_have_the_subnets_of_their_document(blueprint: Blueprint) -> None:
    prod = blueprint("microservices", "prod")
    assert prod.network.subnets is not None
    assert (prod.network.cidr, prod.network.azs) == ("10.0.0.0/16", 2)
    assert prod.network.subnets.public == ("10.0.1.0/24", "10.0.2.0/24")
    assert prod.network.subnets.private == ("10.0.3.0/24", "10.0.4.0/24")


def test_the_microservices_have_the_tasks_routes_and_volumes_of_their_document(blueprint: Blueprint) -> None:
    prod = blueprint("microservices", "prod")
    assert {name: (s.cpu, s.memory_mib, s.count, s.port) for name, s in prod.services.items()} == {
        "frontend": (512, 1024, 2, 3000),
        "backend": (512, 1024, 2, 5001),
        "ai-service": (1024, 2048, 1, 8000),
        "redis": (256, 512, 1, 6379),
        "qdrant": (512, 1024, 1, 6333),
    }
    assert {name: (s.route, s.exposure) for name, s in prod.services.items() if s.route} == {
        "frontend": ("/*", "public"), "backend": ("/api/*", "public"), "qdrant": ("/qdrant/*", "internal"),
    }  # fmt: skip
    assert {name: s.volume.kind for name, s in prod.services.items() if s.volume} == {"redis": "host", "qdrant": "efs"}
    assert {s.discovery for s in prod.services.values() if s.discovery} == {"redis", "ai-service", "qdrant"}
    assert prod.dependencies["mongodb"].port == 27017
    assert prod.component_order() == ()


def test_the_microservices_scale_and_promise_what_their_document_says(blueprint: Blueprint) -> None:
    prod = blueprint("microservices", "prod")
    assert (prod.compute, prod.capacity.instance) == ("ec2", "t3.medium")
    assert (prod.capacity.min, prod.capacity.max, str(prod.capacity.target)) == (1, 5, "100%")
    scale = prod.services["backend"].bounds()
    assert (scale.min, scale.max, str(scale.cpu), str(scale.memory)) == (1, 10, "70%", "80%")
    assert (scale.requests_per_minute, str(scale.latency), str(scale.sustained)) == (1000, "2s", "2m")
    promised = prod.monitoring.objectives
    assert [str(each) for each in (promised.availability, promised.latency, promised.errors)] == ["99.9%", "2s", "1%"]
    assert [str(each) for each in promised.utilization] == ["60%", "80%"]
    assert (prod.recovery.objectives is not None, prod.recovery.accepted_gaps[0].store) == (True, "qdrant")
    assert str(prod.recovery.objectives and prod.recovery.objectives.rpo) == "5m"


def test_the_agent_gateways_state_the_numbers_of_their_document(blueprint: Blueprint) -> None:
    prod = blueprint("agent-gateways", "prod")
    assert (prod.compute, prod.capacity.instance, prod.network.azs) == ("eks", "t3.medium", 2)
    assert prod.bastion is not None
    assert prod.bastion.instance == "t3.large"
    assert tuple(prod.data.dynamodb.tables) == ("usage_plans", "usage_logs")
    assert (prod.data.logs, prod.data.log_domain.nodes) == ("opensearch", 2)
    assert (prod.agents.knowledge_base is not None, prod.edge.cdn, prod.network.flow_logs) == (True, True, True)
    assert prod.features
    assert {"gateway", "memory", "retrieval"} <= set(prod.component_order())


def test_the_mcp_hybrid_states_the_numbers_of_its_document(blueprint: Blueprint) -> None:
    dev, prod = blueprint("mcp-hybrid", "dev"), blueprint("mcp-hybrid", "prod")
    assert [each.delivery.account for each in (dev, prod)] == ["123456789012", "987654321098"]
    assert [each.edge.waf for each in (dev, prod)] == [False, True]
    assert (dev.network.azs, prod.network.azs > 1) == (1, True)
    agents = [each.services["agents"] for each in (dev, prod)]
    assert [(each.cpu, each.memory_mib, each.bounds().min) for each in agents] == [(2048, 4096, 1), (4096, 8192, 3)]
    sizes = [TASK_SIZES[each.component("gateway").size or CATALOG["gateway"].default_size] for each in (dev, prod)]
    assert [(size.cpu, size.memory_mib) for size in sizes] == [(2048, 4096), (4096, 8192)]
    assert (prod.data.graph, prod.data.search, "workflow_state" in prod.data.dynamodb.tables) == (
        "neptune", "opensearch", True,
    )  # fmt: skip


def test_the_preview_shares_the_network_of_dev_and_ends(blueprint: Blueprint) -> None:
    preview = blueprint("preview-fargate", "preview")
    assert (preview.template, preview.share, str(preview.ttl)) == (True, "dev", "7d")
    assert preview.schedule is not None
    assert (str(preview.schedule.stop), str(preview.schedule.start)) == ("22:00 UTC", "07:00 UTC weekdays")
    assert preview.services["api"].spot
    assert preview.network.acls
    assert preview.delivery.boundary == "DeveloperBoundary"
    assert blueprint("preview-fargate", "prod").delivery.strategy == "blue-green"
