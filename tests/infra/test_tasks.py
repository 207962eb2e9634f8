"""Tasks: their sizes, what their containers may not do, their images by digest, logs and probes."""

import re
from typing import Any

import pytest

from slipway.app.foundation import load_manifest
from slipway.infra.app import Resource
from slipway.infra.stacks.workloads import manifest_text
from slipway.runtime.settings import Settings
from tests.infra.platform_stacks import (
    container,
    of_workload,
    platform,
    secrets,
    service,
    site_for,
    stack_of,
    task,
    texts,
    variables,
)
from tests.infra.synthesis import INPUTS, of_type, only

EVERY = [
    ("microservices", "prod"),
    ("rag-assistant", "prod"),
    ("mcp-hybrid", "dev"),
    ("preview-fargate", "preview"),
]


def sizes(resources: dict[str, Resource], workload: str) -> tuple[str, str, int]:
    definition = task(resources, workload)
    return definition["Cpu"], definition["Memory"], service(resources, workload)["DesiredCount"]


@pytest.mark.requirement("CMP-05", "T")
@pytest.mark.parametrize(
    ("workload", "size"),
    [
        ("frontend", ("512", "1024", 2)),
        ("backend", ("512", "1024", 2)),
        ("ai-service", ("1024", "2048", 1)),
        ("redis", ("256", "512", 1)),
        ("qdrant", ("512", "1024", 1)),
    ],
)
def test_sizes_and_copies_of_the_microservices(workload: str, size: tuple[str, str, int]):
    resources = platform("microservices", "prod")
    if "DesiredCount" in service(resources, workload):
        assert sizes(resources, workload) == size
    else:  # scaling decides, from its least number on
        [target] = of_workload(resources, workload, "AWS::ApplicationAutoScaling::ScalableTarget")
        definition = task(resources, workload)
        assert (definition["Cpu"], definition["Memory"], target["MinCapacity"]) == size


@pytest.mark.requirement("CMP-05", "T")
def test_redis_is_on_a_disk_of_its_instance_and_qdrant_on_efs():
    resources = platform("microservices", "prod")
    [disk] = task(resources, "redis")["Volumes"]
    assert disk["Host"] == {"SourcePath": "/var/lib/slipway/redis"}
    assert [each["ContainerPath"] for each in container(resources, "redis")["MountPoints"]] == ["/data"]
    [files] = task(resources, "qdrant")["Volumes"]
    assert files["EFSVolumeConfiguration"] == {
        "FilesystemId": "fs-qdrant",
        "TransitEncryption": "ENABLED",
        "AuthorizationConfig": {"AccessPointId": "fsap-qdrant", "IAM": "ENABLED"},
    }
    assert [each["ContainerPath"] for each in container(resources, "qdrant")["MountPoints"]] == ["/qdrant/storage"]


@pytest.mark.requirement("CMP-05", "T")
def test_another_size_is_another_task():
    changes = {"services": {"backend": {"cpu": 1024, "memory_mib": 2048, "count": 3}}}
    assert sizes(platform("microservices", "prod", changes), "backend") == ("1024", "2048", 3)


@pytest.mark.requirement("CMP-09", "T")
@pytest.mark.parametrize(("blueprint", "environment"), EVERY)
def test_no_container_is_root_or_writes_its_root(blueprint: str, environment: str):
    for definition in of_type(platform(blueprint, environment), "AWS::ECS::TaskDefinition"):
        for each in definition["Properties"]["ContainerDefinitions"]:
            assert int(each["User"]) > 0, each["Name"]
            assert each["ReadonlyRootFilesystem"] is True
            assert each["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
            assert each.get("Privileged", False) is False
            assert each["Memory"] > 0
            assert each["Cpu"] > 0
        properties = definition["Properties"]
        containers = properties["ContainerDefinitions"]
        assert sum(each["Cpu"] for each in containers) <= int(properties["Cpu"])
        assert sum(each["Memory"] for each in containers) <= int(properties["Memory"])
        assert properties["NetworkMode"] == "awsvpc"


@pytest.mark.requirement("CMP-09", "T")
def test_the_user_and_the_folders_to_write_are_the_manifests():
    changes = {"services": {"backend": {"user": 12345, "scratch": ["/tmp", "/var/cache/app"]}}}
    found = container(platform("microservices", "prod", changes), "backend")
    assert found["User"] == "12345"
    assert [each["ContainerPath"] for each in found["LinuxParameters"]["Tmpfs"]] == ["/tmp", "/var/cache/app"]
    component = container(platform("rag-assistant", "prod"), "chat")
    assert component["User"] == "10001"
    assert [each["ContainerPath"] for each in component["MountPoints"]] == ["/var/lib/slipway", "/tmp"]


@pytest.mark.requirement("DLV-04", "T")
@pytest.mark.parametrize(("blueprint", "environment"), EVERY)
def test_every_image_is_named_by_its_digest(blueprint: str, environment: str):
    for definition in of_type(platform(blueprint, environment), "AWS::ECS::TaskDefinition"):
        for each in definition["Properties"]["ContainerDefinitions"]:
            assert re.search(r"@sha256:[0-9a-f]{64}$", texts(each["Image"])), each["Name"]


@pytest.mark.requirement("DLV-04", "T")
def test_another_digest_is_another_task_and_is_told_to_who_checks_what_runs():
    site = site_for("rag-assistant", "prod")
    template = stack_of(site)
    image = texts(container(template["Resources"], "chat")["Image"])
    assert image.endswith(f"rag-assistant/platform@{INPUTS.image_digest}")
    assert template["Outputs"]["DigestChat"]["Value"] == INPUTS.image_digest
    assert template["Outputs"]["DigestMindsdb"]["Value"].startswith("sha256:5248b7f9")


@pytest.mark.requirement("SVC-09", "T")
def test_a_service_of_the_users_runs_its_own_image_with_what_it_needs():
    resources = platform("microservices", "prod")
    found = container(resources, "backend")
    assert texts(found["Image"]).split("/", 1)[1].startswith("microservices/backend@")
    assert [each["ContainerPort"] for each in found["PortMappings"]] == [5001]
    said = variables(found)
    assert said["REDIS_HOST"] == "redis.microservices-prod.local"
    assert said["AI_SERVICE_URL"] == "http://ai-service.microservices-prod.local:8000"
    assert set(secrets(found)) == {"MONGODB_URL", "PARTNERS_API_KEY", "SESSION_SECRET", "WEBHOOK_SECRET"}
    assert not any(name.startswith("SLIPWAY_") for name in said)
    frontend = variables(container(resources, "frontend"))
    assert frontend["BACKEND_URL"] == "http://backend.microservices-prod.local:5001"


@pytest.mark.requirement("SVC-09", "T")
def test_another_port_and_variable_of_a_service():
    changes = {"services": {"backend": {"port": 5002, "environment": {"MODE": "quiet"}, "command": ["node", "x.js"]}}}
    resources = platform("microservices", "prod", changes)
    found = container(resources, "backend")
    assert found["PortMappings"][0]["ContainerPort"] == 5002
    assert (variables(found)["MODE"], found["Command"]) == ("quiet", ["node", "x.js"])
    assert variables(container(resources, "frontend"))["BACKEND_PORT"] == "5002"


@pytest.mark.requirement("CMP-10", "T")
def test_mindsdb_is_a_private_service_with_data_of_its_own():
    resources = platform("rag-assistant", "prod")
    found = container(resources, "mindsdb")
    assert found["Image"].startswith("mindsdb/mindsdb:")
    assert found["PortMappings"][0]["ContainerPort"] == 47334
    assert not of_workload(resources, "mindsdb", "AWS::ElasticLoadBalancingV2::ListenerRule")
    assert "LoadBalancers" not in service(resources, "mindsdb")
    network = service(resources, "mindsdb")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert (network["AssignPublicIp"], network["SecurityGroups"]) == ("DISABLED", ["sg-mindsdb"])
    [files] = task(resources, "mindsdb")["Volumes"]
    assert files["EFSVolumeConfiguration"]["FilesystemId"] == "fs-mindsdb"
    assert set(secrets(found)) == {"MINDSDB_PASSWORD"}
    changes = {"services": {"mindsdb": {"port": 47335, "cpu": 2048, "memory_mib": 4096}}}
    changed = platform("rag-assistant", "prod", changes)
    assert container(changed, "mindsdb")["PortMappings"][0]["ContainerPort"] == 47335
    assert task(changed, "mindsdb")["Cpu"] == "2048"


@pytest.mark.parametrize("days", [7, 30])
def test_logs_are_kept_as_long_as_the_manifest_says(days: int):
    resources = platform("microservices", "prod", {"monitoring": {"log_retention": f"{days}d"}})
    groups = of_type(resources, "AWS::Logs::LogGroup")
    assert len(groups) == 6
    assert {each["Properties"]["RetentionInDays"] for each in groups} == {days}
    options = container(resources, "backend")["LogConfiguration"]["Options"]
    assert options["awslogs-group"] == "/slipway/prod/microservices/logs/backend"


@pytest.mark.parametrize("tracing", [True, False])
def test_a_collector_stands_beside_each_task_that_is_traced(tracing: bool):
    resources = platform("rag-assistant", "prod", {"monitoring": {"tracing": tracing}})
    names = [each["Name"] for each in task(resources, "chat")["ContainerDefinitions"]]
    assert names == (["chat", "collector"] if tracing else ["chat"])
    assert ("SLIPWAY_OTLP_ENDPOINT" in variables(container(resources, "chat"))) is tracing
    if tracing:
        beside = task(resources, "chat")["ContainerDefinitions"][1]
        configuration = variables(beside)["AOT_CONFIG_CONTENT"]
        assert '"127.0.0.1:8700"' in configuration
        assert '"Slipway/rag-assistant-prod"' in configuration
        assert beside["Essential"] is False


def test_a_task_is_asked_whether_it_is_well():
    resources = platform("microservices", "prod")
    assert "HealthCheck" not in container(resources, "backend")  # the load balancer asks
    asked = container(resources, "ai-service")["HealthCheck"]["Command"]
    assert asked[0] == "CMD-SHELL"
    assert "http://127.0.0.1:8000/health" in asked[1]
    assert "/dev/tcp/127.0.0.1/6379" in container(resources, "redis")["HealthCheck"]["Command"][1]
    component = container(platform("rag-assistant", "prod"), "chat")["HealthCheck"]["Command"]
    assert component[:3] == ["CMD", "python", "-c"]


@pytest.mark.requirement("SEC-07", "T")
@pytest.mark.parametrize(("blueprint", "environment"), EVERY)
def test_secrets_are_named_and_never_told(blueprint: str, environment: str):
    resources = platform(blueprint, environment)
    for definition in of_type(resources, "AWS::ECS::TaskDefinition"):
        for each in definition["Properties"]["ContainerDefinitions"]:
            for name, source in secrets(each).items():
                assert source.startswith("arn:aws:x:"), name
            for name in variables(each):
                assert not name.endswith(("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "PGPASSWORD")), name


@pytest.mark.parametrize(("blueprint", "environment"), [*EVERY, ("agent-gateways", "prod"), ("rag-assistant", "dev")])
def test_a_process_reads_the_same_manifest_from_its_environment(blueprint: str, environment: str):
    manifest = site_for(blueprint, environment).manifest
    read = load_manifest(Settings(manifest_text=manifest_text(manifest)))
    gone = {"template": False, "ttl": None, "share": None}
    assert read == manifest.model_copy(update=gone)


def test_components_start_with_settings_that_there_are():
    resources = platform("rag-assistant", "prod")
    for workload in ("identity", "gateway", "retrieval", "memory", "chat"):
        found = container(resources, workload)
        names = {**variables(found), **secrets(found)}
        assert found["Command"] == ["serve", "--target", workload, "--json"]
        known: dict[str, Any] = Settings.model_fields
        unknown = [
            name for name in names if name.startswith("SLIPWAY_") and name.removeprefix("SLIPWAY_").lower() not in known
        ]
        assert not unknown


def test_the_metrics_group_is_one():
    group = only(
        {k: v for k, v in platform("microservices", "prod").items() if k.startswith("Metrics")}, "AWS::Logs::LogGroup"
    )
    assert group["Properties"]["LogGroupName"] == "/slipway/prod/microservices/logs/metrics"


def test_every_part_finds_the_database_that_it_opens():
    """`open_foundation` opens one in each process, and starts an embedded server where it finds no address."""
    resources = platform("rag-assistant", "prod")
    for workload in ("identity", "gateway", "retrieval", "memory", "chat"):
        assert "SLIPWAY_DATABASE_HOST" in variables(container(resources, workload)), workload
