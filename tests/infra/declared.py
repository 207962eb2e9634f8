"""What a manifest says that each part reaches, may do and is handed: the judge's other side.

Written from the manifest and the catalog's needs alone, without `slipway.infra`, so that a mistake there is not made
here again. What it knows of AWS besides: the ports of stores, and what a program must be allowed to use each of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from slipway.manifest.catalog import CATALOG
from slipway.manifest.schema import Manifest
from tests.infra.reachability import INTERNET, WORLD, Reach
from tests.infra.rights import Right

PLATFORM_PORT: Final = 8700
_STORE_PORTS: Final = {"postgres": 5432, "redis": 6379, "neptune": 8182, "opensearch": 443}
_GATEWAY_TABLES: Final = ("usage_plans", "usage_logs")
_OWNERS: Final = ("retrieval",)  # it makes indexes while it runs
_FREE: Final = frozenset({"s3", "dynamodb"})

_BUCKET: Final = ("AbortMultipartUpload", "DeleteObject", "GetObject", "ListMultipartUploadParts", "PutObject")
_GRAPH: Final = ("CancelQuery", "DeleteDataViaQuery", "GetQueryStatus", "ReadDataViaQuery", "WriteDataViaQuery")
_TABLE: Final = (
    "BatchGetItem", "BatchWriteItem", "ConditionCheckItem", "DeleteItem", "DescribeTable", "GetItem", "PutItem",
    "Query", "UpdateItem",
)  # fmt: skip
_TRACES: Final = (
    "GetSamplingRules", "GetSamplingStatisticSummaries", "GetSamplingTargets", "PutTelemetryRecords",
    "PutTraceSegments",
)  # fmt: skip
_AREA: Final = re.compile(r"(global|us|us-gov|eu|apac|jp|au|ca)\.(.+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A component or a service as the manifest says it: its port, its needs, who its route is for."""

    name: str
    own: bool  # the platform's, not the user's
    port: int
    needs: tuple[str, ...]
    route: str | None  # public, internal
    files: bool = False


class Declared:
    """A manifest, read for what each part needs."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.parts = {part.name: part for part in (*self._components(), *self._services())}

    # over the network

    def reaches(self) -> frozenset[Reach]:
        """Everything that is reached within the network, and from the internet."""
        return frozenset((*self._of_parts(), *self._of_entrances(), *self._of_functions()))

    def ways_out(self, name: str) -> frozenset[Reach]:
        """What outside a part calls: dependencies, models, AWS."""
        part = self.parts[name]
        found = {Reach(name, cidr, str(port)) for cidr, port in self._outside(part)}
        if self._calls_aws(part):
            found.add(Reach(name, WORLD, "443"))
        return frozenset(found)

    def inside(self, name: str) -> tuple[str, ...]:
        """The stores that a part needs and that stand in the network."""
        return tuple(need for need in self.parts[name].needs if need in self._stores())

    def _of_parts(self) -> Iterator[Reach]:
        interfaces = self._manifest.network.vpc is None and not _FREE.issuperset(self._manifest.network.endpoints)
        for part in self.parts.values():
            for need in part.needs:
                if need in self.parts:
                    yield Reach(part.name, need, str(self.parts[need].port))
                elif need in self._stores():
                    yield Reach(part.name, need, str(_STORE_PORTS[need]))
            if part.files:
                yield Reach(part.name, f"{part.name}-files", "2049")
            if interfaces and self._calls_aws(part):
                yield Reach(part.name, "endpoints", "443")
        if interfaces:
            yield from (Reach(other, "endpoints", "443") for other in ("functions", "instances", "bastion"))

    def _of_entrances(self) -> Iterator[Reach]:
        if self._manifest.edge.api_gateway:
            yield Reach("vpc-link", "load-balancer", self._front)
        else:
            yield from (Reach(INTERNET, "load-balancer", port) for port in {"80", self._front})
        for part in self.parts.values():
            if part.route is not None:
                source = "load-balancer" if part.route == "public" else "internal-load-balancer"
                yield Reach(source, part.name, str(part.port))

    def _of_functions(self) -> Iterator[Reach]:
        """Functions ask the front doors and bring logs; operators reach the same from the bastion."""
        for source in ("functions", "bastion"):
            yield Reach(source, "load-balancer", self._front)
            yield Reach(source, "internal-load-balancer", self._front)
            if self._manifest.data.logs == "opensearch":
                yield Reach(source, "log-domain", "443")

    @property
    def _front(self) -> str:
        return "443" if self._manifest.edge.domain is not None else "80"

    def _outside(self, part: Part) -> Iterator[tuple[str, int]]:
        manifest = self._manifest
        for need in part.needs:
            if need in manifest.dependencies:
                dependency = manifest.dependencies[need]
                yield from ((cidr, dependency.port) for cidr in dependency.cidrs or (WORLD,))
            elif need in _STORE_PORTS and need in self._all_stores() and need not in self._stores():
                yield WORLD, _STORE_PORTS[need]  # a server of the user's
        if "models" in part.needs:
            for model in manifest.models.available.values():
                if model.provider in ("anthropic", "openai", "azure"):
                    yield WORLD, 443

    def _calls_aws(self, part: Part) -> bool:
        """Whether a part's own interface carries calls of AWS. On instances it is the instance that starts a task."""
        manifest = self._manifest
        if manifest.compute != "ec2" or manifest.monitoring.tracing:
            return True
        at_aws = {"objects", "dynamodb", "knowledge-base", *manifest.data.dynamodb.tables}
        bedrock = any(model.provider == "bedrock" for model in manifest.models.available.values())
        issuers = manifest.identity.user_pool is not None or bool(manifest.identity.issuers)
        return (
            bool(at_aws.intersection(part.needs))
            or ("models" in part.needs and bedrock)
            or (part.own and (issuers or bool(manifest.features)))
        )

    # by IAM

    def rights(self, name: str) -> frozenset[Right]:
        """What a part may do. What AWS gives no name beforehand (flags) stands as its service's name alone."""
        part = self.parts[name]
        return frozenset((*self._data_rights(part), *self._other_rights(part)))

    def _data_rights(self, part: Part) -> Iterator[Right]:
        data = self._manifest.data
        for need in part.needs:
            if need == "postgres" and part.own and need in self._stores() and data.postgres and data.postgres.iam_auth:
                yield Right("rds-db:connect", "rds-db:dbuser:<postgres>/slipway")
            elif need == "objects":
                yield from self._bucket_rights(part)
            elif need == "dynamodb":
                for table in data.dynamodb.tables:
                    if not part.own or (part.name == "gateway" and table in _GATEWAY_TABLES):
                        yield from self._table_rights(table)
            elif need in data.dynamodb.tables:
                yield from self._table_rights(need)
            elif need == "neptune":
                yield from (Right(f"neptune-db:{action}", "neptune-db:<neptune>/*") for action in _GRAPH)
            elif need == "opensearch":
                yield Right("aoss:APIAccessAll", "<opensearch>")
            elif need == "knowledge-base":
                yield Right("bedrock:Retrieve", "<knowledge-base>")
            elif need == "models":
                yield from self._model_rights()

    def _bucket_rights(self, part: Part) -> Iterator[Right]:
        """A service keeps its objects apart from the platform's."""
        section = self._manifest.data.objects
        if section is None or section.endpoint_url is not None:
            return
        bucket = "<objects>" if section.bucket is None else f"arn:s3:::{section.bucket}"
        prefix = "" if part.own else "services/"
        yield from (Right(f"s3:{action}", f"{bucket}/{prefix}*") for action in _BUCKET)
        yield Right("s3:ListBucket", bucket, f"s3:prefix is {prefix}*" if prefix else "")
        if section.bucket is None:
            yield from _key("objects", "s3", "Decrypt", "GenerateDataKey")

    def _table_rights(self, name: str) -> Iterator[Right]:
        table = self._manifest.data.dynamodb.tables[name]
        on = (f"<table {name}>", *(f"<table {name}>/index/{index}" for index in table.indexes))
        yield from (Right(f"dynamodb:{action}", each) for action in _TABLE for each in on)
        yield from _key("dynamodb", "dynamodb", "Decrypt", "GenerateDataKey")

    def _model_rights(self) -> Iterator[Right]:
        for model in self._manifest.models.available.values():
            if model.provider != "bedrock" or model.id is None:
                continue
            region = model.region or self._manifest.region
            on = [f"arn:bedrock:{region}::foundation-model/{model.id}"]
            area = _AREA.fullmatch(model.id)
            if area:  # a profile calls its model in any region of an area
                on = [f"arn:bedrock:{region}:{{AWS::AccountId}}:inference-profile/{model.id}",
                      f"arn:bedrock:*::foundation-model/{area[2]}"]  # fmt: skip
                on += [f"arn:bedrock:::foundation-model/{area[2]}"] if area[1] == "global" else []
            for action in ("InvokeModel", "InvokeModelWithResponseStream"):
                yield from (Right(f"bedrock:{action}", each) for each in on)

    def _other_rights(self, part: Part) -> Iterator[Right]:
        manifest = self._manifest
        if part.name == "identity" and part.own:  # it makes the first administrator's key
            for action in ("GetSecretValue", "PutSecretValue"):
                yield Right(f"secretsmanager:{action}", "<secret SLIPWAY_ADMINISTRATOR_KEY>")
            yield from _key("secrets", "secretsmanager", "Decrypt", "GenerateDataKey")
        if part.files:
            for action in ("ClientMount", "ClientWrite"):
                yield Right(
                    f"elasticfilesystem:{action}",
                    f"<{part.name}-files>",
                    f"elasticfilesystem:AccessPointArn is <entrance of {part.name}-files>",
                )
        if manifest.monitoring.tracing:
            yield from (Right(f"xray:{action}", "*") for action in _TRACES)
            for action in ("CreateLogStream", "PutLogEvents"):
                for on in ("logs:log-group:<logs metrics>", "logs:log-group:<logs metrics>:log-stream:*"):
                    yield Right(f"logs:{action}", on)
        if manifest.features and part.own:
            for action in ("StartConfigurationSession", "GetLatestConfiguration"):
                yield Right(f"appconfig:{action}", "appconfig")
        if manifest.compute == "eks":  # a pod fetches its own secrets
            secrets = self.secrets(part.name)
            yield from (Right("secretsmanager:GetSecretValue", f"<secret {each}>") for each in secrets)
            yield from _key("secrets", "secretsmanager", "Decrypt") if secrets else ()

    def secrets(self, name: str) -> frozenset[str]:
        """The secrets that a part is handed."""
        part, manifest = self.parts[name], self._manifest
        found = {"SLIPWAY_SECRET_KEY"} if part.own else set(manifest.services[name].secrets)
        for need in part.needs:
            if need in manifest.dependencies:
                found.add(manifest.dependencies[need].secret)
            elif need == "models" and part.own:
                found |= {m.api_key_env for m in manifest.models.available.values() if m.api_key_env}
            elif need == "redis" and manifest.data.redis is not None:
                found.add(manifest.data.redis.url_env or "redis-token")
            elif need == "postgres" and manifest.data.postgres is not None:
                url, iam = manifest.data.postgres.url_env, manifest.data.postgres.iam_auth
                external = manifest.data.postgres.engine == "external"
                if external or not part.own or not iam or name in _OWNERS or name == self._migrator():
                    found.add(str(url) if external else "postgres-owner")
        return frozenset(found)

    def entitled(self) -> frozenset[str]:
        """Who may read and write the collection's documents."""
        return frozenset(part.name for part in self.parts.values() if "opensearch" in part.needs)

    def _migrator(self) -> str | None:
        return next((name for name in self._manifest.component_order() if "postgres" in self.parts[name].needs), None)

    # what there is

    def _components(self) -> Iterator[Part]:
        order = self._manifest.component_order()
        there = {*order, *self._all_stores()}
        for name in order:
            component = CATALOG[name]
            needs = [need.value for need in component.needs] + [n.value for n in component.uses if n.value in there]
            if name != "identity" and "identity" in order:
                needs.append("identity")  # who checks tokens asks their issuer
            yield Part(name, True, PLATFORM_PORT, tuple(dict.fromkeys(needs)), "public")

    def _services(self) -> Iterator[Part]:
        for name, service in self._manifest.services.items():
            yield Part(
                name,
                False,
                service.port,
                service.needs,
                None if service.route is None else service.exposure,
                service.volume is not None and service.volume.kind == "efs",
            )

    def _all_stores(self) -> frozenset[str]:
        data = self._manifest.data
        there = {
            "postgres": data.postgres is not None,
            "objects": data.objects is not None,
            "redis": data.redis is not None,
            "dynamodb": bool(data.dynamodb.tables),
            "neptune": data.graph == "neptune",
            "opensearch": data.search == "opensearch",
            "qdrant": data.search == "qdrant",
            "knowledge-base": self._manifest.agents.knowledge_base is not None or data.search == "bedrock-kb",
        }
        return frozenset(name for name, present in there.items() if present)

    def _stores(self) -> frozenset[str]:
        """Stores that stand in the network: not those of the user's elsewhere, nor those that AWS serves as a whole."""
        data = self._manifest.data
        elsewhere = set()
        if data.postgres is not None and data.postgres.engine == "external":
            elsewhere.add("postgres")
        if data.redis is not None and data.redis.url_env is not None:
            elsewhere.add("redis")
        return frozenset(name for name in self._all_stores() if name in _STORE_PORTS and name not in elsewhere)


def _key(of: str, via: str, *actions: str) -> Iterator[Right]:
    """The use of a store's key, through that store's service alone."""
    return (Right(f"kms:{action}", f"<key of {of}>", f"kms:ViaService is {via}") for action in actions)
