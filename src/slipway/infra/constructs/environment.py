"""What a task finds in its environment: variables and secrets, from what it needs.

The counterpart of `grants`: the same needs, read for addresses instead of rights. Parts of the platform get the
settings that `runtime/settings` reads; services of the user's get names that clients know by themselves (`PGHOST`) or
that are made of the need's own (`BACKEND_URL`). Secrets are references to Secrets Manager, never values.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from slipway.infra.constructs.grants import ADMINISTRATOR_KEY, APP_LOGIN, BOOTSTRAPS, tables_for
from slipway.infra.constructs.stores import Stores
from slipway.infra.topology import Workload
from slipway.manifest.sections.services import OBJECTS_PREFIX

HOME: Final = "/var/lib/slipway"  # a volume of the image
SECRET_KEY: Final = "SLIPWAY_SECRET_KEY"
# Retrieval makes indexes of vectors while it runs, which only the owner of a table may.
_OWNS_TABLES: Final = frozenset({"retrieval"})


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by its ARN; `key` is the one that is meant where the secret is JSON with several."""

    arn: str
    key: str | None = None

    @property
    def value_from(self) -> str:
        """As ECS names it: ARN, key, stage, version."""
        return self.arn if self.key is None else f"{self.arn}:{self.key}::"


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables in plain text, and secrets by variable."""

    plain: Mapping[str, str]
    secrets: Mapping[str, Secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What there is around a task. `discovery` are host names by workload, `dependencies` and `provider_keys`
    variables whose value is a secret. `platform` is what every part of the platform is told, `common` what every task
    is; `declared` is what a service's own section says, by workload."""

    region: str
    workloads: Mapping[str, Workload]
    discovery: Mapping[str, str]
    stores: Stores
    dependencies: Mapping[str, str]
    provider_keys: tuple[str, ...]
    platform: Mapping[str, str]
    common: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, Environment] = field(default_factory=dict)


def environment_of(workload: Workload, around: Surroundings) -> Environment:
    """Everything that a task is told."""
    plain = {"AWS_REGION": around.region, "AWS_DEFAULT_REGION": around.region, **around.common}
    secrets: dict[str, Secret] = {}
    if workload.kind == "component":
        plain |= {"SLIPWAY_HOME": HOME, "SLIPWAY_HOST": "0.0.0.0", "SLIPWAY_PORT": str(workload.port)}
        plain |= around.platform
        secrets[SECRET_KEY] = Secret(around.stores.secrets[SECRET_KEY])
        if workload.name == BOOTSTRAPS:  # by its address: the part itself puts the key in
            plain["SLIPWAY_ADMINISTRATOR_SECRET_ARN"] = around.stores.secrets[ADMINISTRATOR_KEY]
    else:
        plain["PORT"] = str(workload.port)
    for need in workload.needs:
        plain.update(_plain(need, workload, around))
        secrets.update(_secret(need, workload, around))
    declared = around.declared.get(workload.name)
    if declared is not None:
        plain |= declared.plain
        secrets |= declared.secrets
    return Environment(plain, secrets)


def migrator(workloads: Iterable[Workload]) -> str | None:
    """The part that brings the database's schema up to date: the first in start order that needs the database. The
    others start after it."""
    for workload in workloads:
        if workload.kind == "component" and "postgres" in workload.needs:
            return workload.name
    return None


def _plain(need: str, workload: Workload, around: Surroundings) -> Iterator[tuple[str, str]]:
    if need in around.workloads:
        yield from _peer(around.workloads[need], workload, around.discovery[need])
    elif need in around.stores.tables:
        yield _table_variable(need), around.stores.tables[need].name
    elif need in _STORES:
        yield from _STORES[need](workload, around.stores)


def _peer(peer: Workload, workload: Workload, host: str) -> Iterator[tuple[str, str]]:
    address = f"http://{host}:{peer.port}"
    if workload.kind == "component":
        yield f"SLIPWAY_{_variable(peer.name)}_URL", address
        return
    yield f"{_variable(peer.name)}_HOST", host
    yield f"{_variable(peer.name)}_PORT", str(peer.port)
    if peer.health is not None:
        yield f"{_variable(peer.name)}_URL", address


def _postgres(workload: Workload, stores: Stores) -> Iterator[tuple[str, str]]:
    database = stores.postgres
    if database is None or database.url_secret_arn is not None:
        return
    if workload.kind == "component":
        yield "SLIPWAY_DATABASE_HOST", database.endpoint
        yield "SLIPWAY_DATABASE_PORT", database.port
        yield "SLIPWAY_DATABASE_NAME", database.name
        if database.signs_in:
            yield "SLIPWAY_DATABASE_USER", APP_LOGIN
            yield "SLIPWAY_DATABASE_AUTH", "iam"
        return
    yield "PGHOST", database.endpoint
    yield "PGPORT", database.port
    yield "PGDATABASE", database.name
    yield "PGSSLMODE", "require"


def _objects(workload: Workload, stores: Stores) -> Iterator[tuple[str, str]]:
    bucket = stores.objects
    if bucket is None:
        return
    if workload.kind == "service":
        yield "OBJECTS_BUCKET", bucket.name
        yield "OBJECTS_PREFIX", OBJECTS_PREFIX
        return
    yield "SLIPWAY_OBJECTS_URL", f"s3://{bucket.name}"
    if bucket.endpoint_url is not None:
        yield "SLIPWAY_S3_ENDPOINT_URL", bucket.endpoint_url


def _redis(workload: Workload, stores: Stores) -> Iterator[tuple[str, str]]:
    cache = stores.redis
    if cache is None or cache.url_secret_arn is not None:
        return
    prefix = "SLIPWAY_" if workload.kind == "component" else ""
    yield f"{prefix}REDIS_HOST", cache.endpoint
    yield f"{prefix}REDIS_PORT", cache.port


def _dynamodb(workload: Workload, stores: Stores) -> Iterator[tuple[str, str]]:
    for name in tables_for(workload, stores):
        yield _table_variable(name), stores.tables[name].name


def _neptune(_: Workload, stores: Stores) -> Iterator[tuple[str, str]]:
    if stores.neptune is not None:
        yield "NEPTUNE_HOST", stores.neptune.endpoint
        yield "NEPTUNE_PORT", stores.neptune.port


def _opensearch(_: Workload, stores: Stores) -> Iterator[tuple[str, str]]:
    if stores.opensearch is not None:
        yield "OPENSEARCH_URL", stores.opensearch.endpoint


def _knowledge_base(_: Workload, stores: Stores) -> Iterator[tuple[str, str]]:
    if stores.knowledge_base is not None:
        yield "KNOWLEDGE_BASE_ID", stores.knowledge_base.id


def _secret(need: str, workload: Workload, around: Surroundings) -> Iterator[tuple[str, Secret]]:
    stores = around.stores
    if need in around.dependencies:
        yield around.dependencies[need], Secret(stores.secrets[around.dependencies[need]])
    elif need == "models" and workload.kind == "component":
        for name in around.provider_keys:
            yield name, Secret(stores.secrets[name])
    elif need == "postgres" and stores.postgres is not None:
        yield from _postgres_secrets(workload, around)
    elif need == "redis" and need not in around.workloads and stores.redis is not None:
        prefix = "SLIPWAY_" if workload.kind == "component" else ""
        if stores.redis.url_secret_arn is not None:
            yield f"{prefix}REDIS_URL", Secret(stores.redis.url_secret_arn)
        else:
            yield f"{prefix}REDIS_TOKEN", Secret(stores.redis.token_secret_arn)


def _postgres_secrets(workload: Workload, around: Surroundings) -> Iterator[tuple[str, Secret]]:
    """Parts sign in without rights; who migrates or makes indexes has the owner's login besides."""
    database = around.stores.postgres
    if database is None:
        return
    component = workload.kind == "component"
    if database.url_secret_arn is not None:
        yield "SLIPWAY_DATABASE_URL" if component else "DATABASE_URL", Secret(database.url_secret_arn)
        return
    user, password = (Secret(database.owner_secret_arn, key) for key in ("username", "password"))
    if not component:
        yield from (("PGUSER", user), ("PGPASSWORD", password))
        return
    if not database.signs_in:
        yield from (("SLIPWAY_DATABASE_USER", user), ("SLIPWAY_DATABASE_PASSWORD", password))
    if workload.name in _OWNS_TABLES or workload.name == migrator(around.workloads.values()):
        yield from (("SLIPWAY_DATABASE_OWNER_USER", user), ("SLIPWAY_DATABASE_OWNER_PASSWORD", password))


def _table_variable(name: str) -> str:
    return f"TABLE_{_variable(name)}"


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


_STORES: Final[Mapping[str, Callable[[Workload, Stores], Iterator[tuple[str, str]]]]] = {
    "postgres": _postgres,
    "objects": _objects,
    "redis": _redis,
    "dynamodb": _dynamodb,
    "neptune": _neptune,
    "opensearch": _opensearch,
    "knowledge-base": _knowledge_base,
}
