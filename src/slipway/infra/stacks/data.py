"""The data stack: every store of a site, its secrets, and its backups. Protected from deletion in production.

Each store is made by its construct from the manifest's numbers; what others must know of it stands in `stores`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aws_cdk import App, Aws, Fn

from slipway.infra.constructs import aurora as pg
from slipway.infra.constructs.aurora import Aurora, AuroraProps
from slipway.infra.constructs.bucket import Bucket, BucketProps, Lifecycle
from slipway.infra.constructs.parameter import Parameter
from slipway.infra.constructs.redis import Redis, RedisProps
from slipway.infra.constructs.replication import Replication
from slipway.infra.constructs.secret import Copied, Generated, Secret, SecretProps
from slipway.infra.constructs.stores import Bucket as BucketHandle
from slipway.infra.constructs.stores import Cache, Database, Stores
from slipway.infra.constructs.stores import Table as TableHandle
from slipway.infra.constructs.table import Index, Replica, Table, TableProps
from slipway.infra.naming import tags_of
from slipway.infra.site import Site
from slipway.infra.stacks.stack import SiteStack
from slipway.manifest.sections.data import Objects, Postgres
from slipway.manifest.sections.data import Redis as RedisSection
from slipway.manifest.sections.monitoring import channel_of
from slipway.manifest.sections.tables import Table as TableSection

OWNER: Final = "slipway_owner"
OWNER_SECRET: Final = "postgres-owner"
TOKEN_SECRET: Final = "redis-token"
SECRET_KEY: Final = "SLIPWAY_SECRET_KEY"
_IDENTIFIER: Final = 63  # characters that RDS takes
_PASSWORD_LENGTH: Final = 48
_KEY_LENGTH: Final = 64  # of letters and digits: 380 bits


class Ground(Protocol):
    """What the stores stand on: the foundation's network and keys."""

    data_subnet_ids: Sequence[str]
    log_bucket: str

    def security_group(self, name: str) -> str:
        """The id of the group of a store, by its name."""

    def key(self, store: str) -> str:
        """The ARN of the key of a store, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What stands in the recovery region for this one's stores to be copied to: ARNs, as parameters of this stack."""

    region: str
    vault_arn: str
    key_arn: str
    bucket_arn: str | None


class Targets(Protocol):
    """The stack in the recovery region that copies are sent to."""

    def known_to(self, stack: SiteStack) -> Elsewhere:
        """What it has, as `stack` may refer to it."""


class DataStack(SiteStack):
    """Every store. None or empty is what the manifest does not ask for.

    `stores` is what tasks need: addresses, ARNs, secrets. `aurora`, `redis` and `tables` are the constructs, for
    alarms and backups.
    """

    def __init__(self, scope: App, site: Site, *, foundation: Ground, targets: Targets | None = None) -> None:
        super().__init__(
            scope, site, "data", description=f"Stores, secrets and backups of {site.names.prefix}.", stateful=True
        )
        self._ground = foundation
        self._elsewhere = None if targets is None else targets.known_to(self)
        self.secrets = {name: self._secret(name, generated) for name, generated in _secrets(site)}
        data = site.manifest.data
        own_postgres = data.postgres is not None and data.postgres.engine == "aurora"
        self.aurora = self._aurora(data.postgres) if data.postgres and own_postgres else None
        self.redis = self._redis(data.redis) if data.redis and data.redis.url_env is None else None
        self.bucket = self._bucket(data.objects) if data.objects and _makes_bucket(data.objects) else None
        self.tables = {name: self._table(name, table) for name, table in data.dynamodb.tables.items()}
        self.stores = self._stores()
        self._publish_parameters()

    def _secret(self, name: str, generated: Generated | None) -> Secret:
        return Secret(
            self,
            f"Secret{self.site.names.construct(name)}",
            SecretProps(
                name=self.site.names.parameter("secrets", name),
                description=f"{name} of {self.site.names.prefix}"
                + ("" if generated else ": fill it in before what needs it starts"),
                key_arn=self._ground.key("secrets"),
                generated=generated,
                lasting=self.site.lasting,
                copied=None
                if self._elsewhere is None
                else Copied(region=self._elsewhere.region, key_arn=self._elsewhere.key_arn),
            ),
        )

    def _aurora(self, postgres: Postgres) -> Aurora:
        return Aurora(
            self,
            "Postgres",
            AuroraProps(
                identifier=bounded(self.site.names.stack("postgres"), _IDENTIFIER),
                capacity=pg.Capacity(min_acu=postgres.min_acu, max_acu=postgres.max_acu, readers=postgres.readers),
                subnet_ids=self._ground.data_subnet_ids,
                security_group_id=self._ground.security_group("postgres"),
                key_arn=self._ground.key("postgres"),
                owner=self.secrets[OWNER_SECRET],
                owner_name=OWNER,
                iam_auth=postgres.iam_auth,
                point_in_time_days=postgres.point_in_time.days,
                watching=pg.Watching(
                    every_s=postgres.monitoring_every.seconds,
                    insights=postgres.performance_insights,
                    log_days=self._log_days,
                    log_key_arn=self._ground.key("logs"),
                ),
                lasting=self.site.lasting,
            ),
        )

    def _redis(self, redis: RedisSection) -> Redis:
        return Redis(
            self,
            "Redis",
            RedisProps(
                node=redis.node,
                multi_az=redis.multi_az,
                subnet_ids=self._ground.data_subnet_ids,
                security_group_id=self._ground.security_group("redis"),
                key_arn=self._ground.key("redis"),
                token=self.secrets[TOKEN_SECRET],
                log_group=self.site.names.log_group("redis"),
                log_days=self._log_days,
                log_key_arn=self._ground.key("logs"),
            ),
        )

    def _bucket(self, objects: Objects) -> Bucket:
        elsewhere = self._elsewhere
        replication = None
        if elsewhere is not None and elsewhere.bucket_arn is not None:
            replication = Replication(
                region=elsewhere.region, bucket_arn=elsewhere.bucket_arn, key_arn=elsewhere.key_arn
            )
        return Bucket(
            self,
            "Objects",
            BucketProps(
                key_arn=self._ground.key("objects"),
                versioning=objects.versioning,
                lifecycle=lifecycle_of(objects),
                log_bucket=self._ground.log_bucket,
                log_prefix="objects/",
                lasting=self.site.lasting,
                origins=self.site.manifest.edge.cors,
                events=self.site.manifest.workflows.engine == "step-functions",
                replication=replication,
            ),
        )

    def _table(self, name: str, table: TableSection) -> Table:
        dynamodb = self.site.manifest.data.dynamodb
        replicas = [Replica(region=self.site.region, key_arn=self._ground.key("dynamodb"))]
        if self._elsewhere is not None and dynamodb.copy_to_recovery_region:
            replicas.append(Replica(region=self._elsewhere.region, key_arn=self._elsewhere.key_arn))
        return Table(
            self,
            f"Table{self.site.names.construct(name)}",
            TableProps(
                key=Index(hash=table.hash, range=table.range),
                indexes={key: Index(hash=index.hash, range=index.range) for key, index in table.indexes.items()},
                numbers=table.numbers,
                ttl=table.ttl,
                point_in_time_days=dynamodb.point_in_time.days,
                replicas=replicas,
                lasting=self.site.lasting,
                tags=tags_of(self.site.manifest, self.site.names, self.site.inputs),
            ),
        )

    @property
    def _log_days(self) -> int:
        return self.site.manifest.monitoring.log_retention.days

    def _stores(self) -> Stores:
        return Stores(
            postgres=self._database(),
            objects=self._objects(),
            redis=self._cache(),
            tables={
                name: TableHandle(name=table.name, arn=table.arn, indexes=table.indexes)
                for name, table in self.tables.items()
            },
            tables_key_arn=self._ground.key("dynamodb") if self.tables else None,
            secrets={name: secret.arn for name, secret in self.secrets.items()},
            secrets_key_arns=(self._ground.key("secrets"),),
        )

    def _database(self) -> Database | None:
        postgres = self.site.manifest.data.postgres
        if self.aurora is None:
            url = postgres.url_env if postgres else None
            return Database(url_secret_arn=self.secrets[url].arn) if url else None
        return Database(
            endpoint=self.aurora.endpoint,
            port=str(pg.PORT),
            name=pg.DATABASE,
            resource_id=self.aurora.resource_id,
            owner_secret_arn=self.secrets[OWNER_SECRET].arn,
            iam_auth=postgres is not None and postgres.iam_auth,
        )

    def _objects(self) -> BucketHandle | None:
        objects = self.site.manifest.data.objects
        if self.bucket is not None:
            return BucketHandle(name=self.bucket.name, arn=self.bucket.arn, key_arn=self._ground.key("objects"))
        if objects is None or objects.bucket is None:
            return None
        arn = Fn.join("", ["arn:", Aws.PARTITION, ":s3:::", objects.bucket])
        return BucketHandle(name=objects.bucket, arn=arn, key_arn=None, endpoint_url=objects.endpoint_url)

    def _cache(self) -> Cache | None:
        redis = self.site.manifest.data.redis
        if self.redis is None:
            url = redis.url_env if redis else None
            return Cache(url_secret_arn=self.secrets[url].arn) if url else None
        return Cache(
            endpoint=self.redis.endpoint, port=self.redis.port, token_secret_arn=self.secrets[TOKEN_SECRET].arn
        )

    def _publish_parameters(self) -> None:
        for path, value in self._addresses():
            Parameter(
                self,
                f"Parameter{self.site.names.construct(path)}",
                name=self.site.names.parameter(*path.split("/")),
                value=value,
                description=f"Where {path.split('/')[0]} of {self.site.names.prefix} is",
            )

    def _addresses(self) -> Iterator[tuple[str, str]]:
        """What people and commands look up, by its path."""
        if self.aurora is not None:
            yield "postgres/endpoint", self.aurora.endpoint
            yield "postgres/reader", self.aurora.reader_endpoint
        if self.redis is not None:
            yield "redis/endpoint", self.redis.endpoint
        if self.stores.objects is not None:
            yield "objects/bucket", self.stores.objects.name
        for name, table in self.tables.items():
            yield f"dynamodb/{name}", table.name


def lifecycle_of(objects: Objects) -> Lifecycle:
    """The lifecycle that the manifest asks for, in days."""
    return Lifecycle(
        infrequent_after_days=objects.infrequent_after.days if objects.infrequent_after else None,
        archive_after_days=objects.archive_after.days if objects.archive_after else None,
        versions_kept_days=objects.versions_kept.days,
    )


def bounded(name: str, most: int) -> str:
    """`name`, cut to what a service takes; a cut one ends in a part of its hash and so stays its own."""
    if len(name) <= most:
        return name
    return f"{name[: most - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _makes_bucket(objects: Objects) -> bool:
    return objects.bucket is None and objects.endpoint_url is None


def _secrets(site: Site) -> Iterator[tuple[str, Generated | None]]:
    """Each secret once: those that Slipway makes up, and, sorted, those that somebody fills (None)."""
    manifest = site.manifest
    postgres, redis = manifest.data.postgres, manifest.data.redis
    yield SECRET_KEY, Generated(length=_KEY_LENGTH)
    if postgres is not None and postgres.engine == "aurora":
        yield OWNER_SECRET, Generated(length=_PASSWORD_LENGTH, username=OWNER)
    if redis is not None and redis.url_env is None:
        yield TOKEN_SECRET, Generated(length=_PASSWORD_LENGTH)
    named = {secret for service in manifest.services.values() for secret in service.secrets}
    named |= {dependency.secret for dependency in manifest.dependencies.values()}
    named |= {model.api_key_env for model in manifest.models.available.values() if model.api_key_env}
    named |= {store.url_env for store in (postgres, redis) if store is not None and store.url_env}
    named |= {address for address in manifest.monitoring.notify.critical if channel_of(address) == "pager"}
    for name in sorted(named - {SECRET_KEY}):
        yield name, None
