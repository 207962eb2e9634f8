"""One need, four consequences: rights, edges, addresses and secrets. What each implies is written down here once more,
and every workload of every blueprint on ECS has all of it and nothing else."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from slipway.infra.app import Resource
from slipway.infra.constructs.grants import BedrockModel, grants_of
from slipway.infra.passages import passages_of
from slipway.infra.site import Site
from slipway.infra.topology import Workload, files_of
from slipway.infra.wildcards import unreasoned, wildcards
from tests.infra.platform_stacks import (
    container,
    platform,
    secrets,
    site_for,
    statements,
    stores_of,
    variables,
)
from tests.infra.synthesis import of_type

ON_ECS = [
    (blueprint, environment)
    for blueprint in ("microservices", "rag-assistant", "mcp-hybrid", "preview-fargate")
    for environment in ("dev", "staging", "prod")
] + [("preview-fargate", "preview")]


@dataclass
class Implied:
    """What follows from needs: rights by Sid, edges by target and port, variables, secrets."""

    sids: set[str] = field(default_factory=set)
    edges: set[tuple[str, int]] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)


def implied(site: Site, workload: Workload) -> Implied:
    """Everything that the needs of a workload imply, and what each task has whatever it needs."""
    manifest, found = site.manifest, Implied()
    component = workload.kind == "component"
    found.plain |= {"AWS_REGION", "AWS_DEFAULT_REGION"}
    if component:
        found.plain |= {"SLIPWAY_HOME", "SLIPWAY_HOST", "SLIPWAY_PORT", "SLIPWAY_PUBLIC_URL", "SLIPWAY_MANIFEST_TEXT"}
        found.secrets |= {"SLIPWAY_SECRET_KEY"}
        if workload.name == "identity":
            found.sids |= {"AdministratorKey", "AdministratorKeyKey"}
            found.plain |= {"SLIPWAY_ADMINISTRATOR_SECRET_ARN"}
    else:
        found.plain |= {"PORT", *manifest.services[workload.name].environment}
        found.secrets |= set(manifest.services[workload.name].secrets)
    if manifest.monitoring.tracing:
        found.sids |= {"TracesWrite", "MetricsWrite"}
        found.plain |= {"SLIPWAY_OTLP_ENDPOINT" if component else "OTEL_EXPORTER_OTLP_ENDPOINT"}
    if manifest.features:
        found.sids |= {"FeaturesRead"}
        found.plain |= {"APPCONFIG_APPLICATION", "APPCONFIG_ENVIRONMENT", "APPCONFIG_PROFILE"}
    if workload.files:
        found.sids |= {"VolumeMount"}
        found.edges |= {(files_of(workload.name), 2049)}
    for need in workload.needs:
        _add(found, need, site, workload)
    return found


def _add(found: Implied, need: str, site: Site, workload: Workload) -> None:
    manifest, component = site.manifest, workload.kind == "component"
    peers = {each.name: each for each in site.topology.workloads}
    if need in peers:
        found.edges |= {(need, peers[need].port)}
        name = need.upper().replace("-", "_")
        http = {f"{name}_URL"} if peers[need].health else set()
        found.plain |= {f"SLIPWAY_{name}_URL"} if component else {f"{name}_HOST", f"{name}_PORT", *http}
    elif need == "postgres":
        _add_postgres(found, workload)
    elif need == "redis":
        found.edges |= {("redis", 6379)}
        prefix = "SLIPWAY_" if component else ""
        found.plain |= {f"{prefix}REDIS_HOST", f"{prefix}REDIS_PORT"}
        found.secrets |= {f"{prefix}REDIS_TOKEN"}
    elif need == "objects":
        found.sids |= {"ObjectsList", "ObjectsReadWrite", "ObjectsKey"}
        found.plain |= {"SLIPWAY_OBJECTS_URL"} if component else {"OBJECTS_BUCKET", "OBJECTS_PREFIX"}
    elif need == "neptune":
        found.sids |= {"NeptuneQuery"}
        found.edges |= {("neptune", 8182)}
        found.plain |= {"NEPTUNE_HOST", "NEPTUNE_PORT"}
    elif need == "opensearch":
        found.sids |= {"OpensearchAccess"}
        found.edges |= {("opensearch", 443)}
        found.plain |= {"OPENSEARCH_URL"}
    elif need == "models":
        found.sids |= {"ModelsInvoke"}
    elif need in manifest.data.dynamodb.tables:
        word = "".join(part.capitalize() for part in need.split("_"))
        found.sids |= {f"Table{word}", "TablesKey"}
        found.plain |= {f"TABLE_{need.upper()}"}
    elif need == "dynamodb":  # the gateway knows two tables of its own, which only agent-gateways has
        assert component
        assert not {"usage_plans", "usage_logs"} & set(manifest.data.dynamodb.tables)
    elif need in manifest.dependencies:
        found.edges |= {(need, manifest.dependencies[need].port)}
        found.secrets |= {manifest.dependencies[need].secret}
    else:
        raise AssertionError(f"nobody has said what {need} implies")


def _add_postgres(found: Implied, workload: Workload) -> None:
    found.edges |= {("postgres", 5432)}
    if workload.kind == "component":
        found.sids |= {"PostgresSignIn"}
        found.plain |= {f"SLIPWAY_DATABASE_{name}" for name in ("HOST", "PORT", "NAME", "USER", "AUTH")}
        if workload.name in ("identity", "retrieval"):
            found.secrets |= {"SLIPWAY_DATABASE_OWNER_USER", "SLIPWAY_DATABASE_OWNER_PASSWORD"}
    else:
        found.plain |= {"PGHOST", "PGPORT", "PGDATABASE", "PGSSLMODE"}
        found.secrets |= {"PGUSER", "PGPASSWORD"}


def task_role(resources: dict[str, Resource], workload: str) -> Resource:
    prefix = "".join(word.capitalize() for word in workload.split("-"))
    [found] = [each for name, each in resources.items() if name.startswith(f"{prefix}TaskRole")]
    return found


@pytest.mark.requirement("SEC-06", "T")
@pytest.mark.parametrize(("blueprint", "environment"), ON_ECS)
def test_each_need_has_all_that_it_implies_and_nothing_else(blueprint: str, environment: str):
    site, resources = site_for(blueprint, environment), platform(blueprint, environment)
    for workload in site.topology.workloads:
        expected = implied(site, workload)
        sids = {statement["Sid"] for statement in statements(task_role(resources, workload.name))}
        found = container(resources, workload.name)
        assert sids == expected.sids, workload.name
        assert set(variables(found)) == expected.plain, workload.name
        assert set(secrets(found)) == expected.secrets, workload.name
        edges = {(edge.target, edge.port) for edge in site.topology.edges if edge.source == workload.name}
        assert edges == expected.edges, workload.name


@pytest.mark.parametrize(("blueprint", "environment"), ON_ECS)
def test_passages_between_groups_are_the_edges(blueprint: str, environment: str):
    """Beside AWS's own addresses and models elsewhere, at 443, a task's group opens what an edge says."""
    site = site_for(blueprint, environment)
    passages = passages_of(site)
    for workload in site.topology.workloads:
        opened = {
            (passage.target, passage.port)
            for passage in passages.passages
            if passage.source == workload.name and passage.port != 443
        }
        declared = {
            (edge.target if edge.target not in site.manifest.dependencies else "outside", edge.port)
            for edge in site.topology.edges
            if edge.source == workload.name and edge.port != 443
        }
        assert {(target if target in passages.groups else "outside", port) for target, port in opened} == declared


@pytest.mark.requirement("SEC-06", "T")
@pytest.mark.parametrize(("blueprint", "environment"), ON_ECS)
def test_a_wildcard_has_its_reason_beside_it(blueprint: str, environment: str):
    resources = platform(blueprint, environment)
    roles = of_type(resources, "AWS::IAM::Role")
    assert roles
    for role in roles:
        assert not list(unreasoned(role)), role
        assert "ManagedPolicyArns" not in role["Properties"]
        for statement in statements(role):
            assert statement["Sid"]
            assert all("*" not in action for action in statement["Action"])
    assert any(list(wildcards(role)) for role in roles)


@pytest.mark.requirement("SEC-06", "T")
def test_the_roles_of_ecs_and_of_the_task_are_apart():
    resources = platform("rag-assistant", "prod")
    for name, each in resources.items():
        if each["Type"] != "AWS::ECS::TaskDefinition":
            continue
        own, execution = (each["Properties"][key]["Fn::GetAtt"][0] for key in ("TaskRoleArn", "ExecutionRoleArn"))
        assert own != execution, name
        executed = {action for statement in statements(resources[execution]) for action in statement["Action"]}
        did = {action for statement in statements(resources[own]) for action in statement["Action"]}
        assert executed <= {
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
            "ecr:BatchGetImage",
            "ecr:GetAuthorizationToken",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "secretsmanager:GetSecretValue",
            "kms:Decrypt",
        }
        assert "ecr:BatchGetImage" not in did
        assert ("secretsmanager:GetSecretValue" in did) is name.startswith("Identity")


@pytest.mark.requirement("SEC-06", "T")
def test_a_task_reads_its_own_secrets_alone():
    resources = platform("microservices", "prod")
    [role] = [each for name, each in resources.items() if name.startswith("FrontendTaskExecutionRole")]
    assert "SecretsRead" not in {statement["Sid"] for statement in statements(role)}
    [role] = [each for name, each in resources.items() if name.startswith("AiServiceTaskExecutionRole")]
    [read] = [statement for statement in statements(role) if statement["Sid"] == "SecretsRead"]
    assert sorted(arn.rpartition(":")[2] for arn in read["Resource"]) == [
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "WEBHOOK_SECRET",
    ]


@pytest.mark.requirement("SEC-06", "T")
def test_a_need_taken_away_takes_its_rights_along():
    changes = {"services": {"mcp-tools": {"needs": ["neptune"]}}}
    sids = {each["Sid"] for each in statements(task_role(platform("mcp-hybrid", "prod", changes), "mcp-tools"))}
    assert sids == {"NeptuneQuery", "TracesWrite", "MetricsWrite"}


def asked(site: Site, name: str, models: Sequence[BedrockModel] = ()) -> Iterator[dict[str, object]]:
    """The statements of a workload."""
    for statement in grants_of(site.topology.workload(name), stores_of(site), models):
        yield statement.document()


def test_models_are_named():
    site = site_for("rag-assistant", "prod")
    models = (
        BedrockModel("amazon.nova-lite-v1:0", "us-east-1"),
        BedrockModel("eu.anthropic.claude", "eu-west-1"),
        BedrockModel("global.anthropic.claude", "us-east-1"),
    )
    [statement] = [each for each in asked(site, "gateway", models) if each["Sid"] == "ModelsInvoke"]
    arns = [re.sub(r"\$\{[^}]*\}", "", str(arn)) for arn in statement["Resource"]]  # type: ignore[attr-defined]
    assert [arn.partition(":bedrock:")[2] for arn in arns] == [
        "us-east-1::foundation-model/amazon.nova-lite-v1:0",
        "eu-west-1::inference-profile/eu.anthropic.claude",
        "*::foundation-model/anthropic.claude",
        "us-east-1::inference-profile/global.anthropic.claude",
        "::foundation-model/anthropic.claude",
    ]


def test_a_service_keeps_its_objects_apart_from_the_platforms():
    site = site_for("mcp-hybrid", "prod")
    by_sid = {str(each["Sid"]): each for each in asked(site, "mcp-tools")}
    assert str(by_sid["ObjectsReadWrite"]["Resource"]).endswith("bucket/services/*']")
    assert by_sid["ObjectsList"]["Condition"] == {"StringLike": {"s3:prefix": ["services/*"]}}


def test_a_table_is_granted_with_its_indexes_by_name():
    site = site_for("mcp-hybrid", "prod")
    by_sid = {str(each["Sid"]): each for each in asked(site, "agents")}
    assert [str(arn).rpartition("table/")[2] for arn in by_sid["TableWorkflowState"]["Resource"]] == [  # type: ignore[attr-defined]
        "workflow_state",
        "workflow_state/index/by_status",
    ]


def test_a_login_by_role_is_that_of_no_rights():
    site = site_for("rag-assistant", "prod")
    [statement] = [each for each in asked(site, "memory") if each["Sid"] == "PostgresSignIn"]
    assert str(statement["Resource"]).endswith("dbuser:cluster-PG/slipway']")
