"""The platform stack alone, on a network and stores that are names: for tests of what runs."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from slipway.infra.app import Resource, new_app
from slipway.infra.constructs.schedule import DatabaseCluster
from slipway.infra.constructs.stores import Bucket, Cache, Collection, Database, Graph, Stores, Table, Volume
from slipway.infra.site import Site, site_of
from slipway.infra.stacks.entrance import Entrance
from slipway.infra.stacks.handed import Handed
from slipway.infra.stacks.platform import PlatformStack
from tests.infra.alterations import seen
from tests.infra.synthesis import INPUTS, PREVIEW_INPUTS, manifest_of

OWN = "arn:aws:x:us-east-1:111122223333:"
ENTRANCE = Entrance(
    arn=f"{OWN}balancer",
    full_name="app/front/1",
    dns_name="front.example",
    zone_id="Z1",
    listener_arn=f"{OWN}public-listener",
    internal_listener_arn=f"{OWN}internal-listener",
    internal_full_name="app/inside/2",
)
DATABASES = (
    DatabaseCluster(name="postgres", service="rds", identifier="pg", arn=f"{OWN}cluster:pg"),
    DatabaseCluster(name="neptune", service="neptune", identifier="graph", arn=f"{OWN}cluster:graph"),
)


class Ground:
    """A network of three zones."""

    vpc_id = "vpc-1"
    private_subnet_ids = ("subnet-a", "subnet-b", "subnet-c")
    namespace_id = "ns-1"

    def security_group(self, name: str) -> str:
        return f"sg-{name}"


class Named(dict[str, str]):
    """Every secret has an ARN."""

    def __missing__(self, name: str) -> str:
        return f"{OWN}secret:{name}"


def stores_of(site: Site) -> Stores:
    """The stores that a manifest asks for."""
    data, services = site.manifest.data, site.manifest.services
    return Stores(
        postgres=Database(
            endpoint="pg.example",
            name="slipway",
            resource_id="cluster-PG",
            owner_secret_arn=f"{OWN}secret:owner",
            iam_auth=data.postgres.iam_auth,
        )
        if data.postgres
        else None,
        objects=Bucket(name="objects", arn=f"{OWN}bucket", key_arn=f"{OWN}key:objects") if data.objects else None,
        redis=Cache(endpoint="redis.example", token_secret_arn=f"{OWN}secret:token") if data.redis else None,
        tables={
            name: Table(name=name, arn=f"{OWN}table/{name}", indexes=tuple(table.indexes))
            for name, table in data.dynamodb.tables.items()
        },
        tables_key_arn=f"{OWN}key:tables",
        neptune=Graph(endpoint="graph.example", port="8182", resource_id="cluster-N")
        if data.graph == "neptune"
        else None,
        opensearch=Collection(name="vectors", arn=f"{OWN}collection", endpoint="https://vectors.example")
        if data.search == "opensearch"
        else None,
        volumes={
            name: Volume(
                file_system_id=f"fs-{name}",
                file_system_arn=f"{OWN}file-system/{name}",
                access_point_id=f"fsap-{name}",
                access_point_arn=f"{OWN}access-point/{name}",
            )
            for name, service in services.items()
            if service.volume is not None and service.volume.kind == "efs"
        },
        secrets=Named(),
        secrets_key_arns=(f"{OWN}key:secrets",),
    )


def site_for(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> Site:
    """A site of a blueprint, changed."""
    manifest = manifest_of(blueprint, environment, changes)
    return site_of(manifest, environment, PREVIEW_INPUTS if manifest.template else INPUTS)


def stack_of(site: Site) -> dict[str, Any]:
    """The template of its platform stack."""
    template = _template_of(site)
    return {**template, "Resources": seen(template["Resources"])}


def _template_of(site: Site) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        app = new_app(folder)
        handed = Handed(ground=Ground(), stores=stores_of(site), entrance=ENTRANCE, databases=DATABASES)
        stack = PlatformStack(app, site, handed)
        text = app.synth().get_stack_by_name(stack.stack_name).template
        template: dict[str, Any] = json.loads(json.dumps(text))
    return template


def platform(blueprint: str, environment: str, changes: Mapping[str, Any] | None = None) -> dict[str, Resource]:
    """The resources of a platform stack."""
    return seen(_platform(blueprint, environment, json.dumps(changes)))


@cache
def _platform(blueprint: str, environment: str, changes: str) -> dict[str, Resource]:
    resources: dict[str, Resource] = _template_of(site_for(blueprint, environment, json.loads(changes)))["Resources"]
    return resources


def of_workload(resources: Mapping[str, Resource], workload: str, kind: str) -> list[Any]:
    """The properties of a workload's resources of one type."""
    prefix = "".join(word.capitalize() for word in workload.split("-"))
    return [each["Properties"] for name, each in resources.items() if each["Type"] == kind and name.startswith(prefix)]


def task(resources: Mapping[str, Resource], workload: str) -> Any:
    """The task definition of a workload."""
    [found] = of_workload(resources, workload, "AWS::ECS::TaskDefinition")
    return found


def container(resources: Mapping[str, Resource], workload: str) -> Any:
    """The container of a workload, not its collector."""
    [found] = [each for each in task(resources, workload)["ContainerDefinitions"] if each["Name"] == workload]
    return found


def service(resources: Mapping[str, Resource], workload: str) -> Any:
    """The service of a workload."""
    [found] = of_workload(resources, workload, "AWS::ECS::Service")
    return found


def texts(value: Any) -> str:
    """A value of a template as text, with references by their names."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        [(name, inner)] = value.items()
        if name == "Fn::Join":
            return "".join(texts(part) for part in inner[1])
        return str(inner) if name == "Ref" else ".".join(inner) if isinstance(inner, list) else str(inner)
    return str(value)


def variables(found: Any) -> dict[str, str]:
    """The environment of a container, by name."""
    return {each["Name"]: texts(each["Value"]) for each in found.get("Environment", [])}


def secrets(found: Any) -> dict[str, str]:
    """Where the secrets of a container come from, by name."""
    return {each["Name"]: texts(each["ValueFrom"]) for each in found.get("Secrets", [])}


def statements(role: Any) -> Iterator[dict[str, Any]]:
    """The statements of a role."""
    for policy in role["Properties"].get("Policies", []):
        yield from policy["PolicyDocument"]["Statement"]
