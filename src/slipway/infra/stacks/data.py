"""The data stack: every store of a site, its secrets, and its backups. Protected from deletion in production.

What each store is asked for stands in `store_props`; what others must know of it in `stores`.
"""

from collections.abc import Iterator
from typing import Protocol

from aws_cdk import App, Aws, Fn, aws_events

from slipway.infra.constructs import aurora as pg
from slipway.infra.constructs import stores as handles
from slipway.infra.constructs.aurora import Aurora
from slipway.infra.constructs.backup_plan import BackupPlan, BackupPlanProps
from slipway.infra.constructs.backup_vault import BackupVault, BackupVaultProps
from slipway.infra.constructs.bucket import Bucket
from slipway.infra.constructs.file_system import FileSystem
from slipway.infra.constructs.function import Function, FunctionHome, FunctionProps
from slipway.infra.constructs.global_cluster import GlobalCluster
from slipway.infra.constructs.grants import ADMINISTRATOR_KEY
from slipway.infra.constructs.keys import Key, KeyProps
from slipway.infra.constructs.knowledge_base import KnowledgeBase
from slipway.infra.constructs.neptune import Neptune
from slipway.infra.constructs.parameter import Parameter
from slipway.infra.constructs.redis import Redis
from slipway.infra.constructs.search_domain import SearchDomain
from slipway.infra.constructs.secret import Copied, Generated, Secret, SecretProps
from slipway.infra.constructs.table import Table
from slipway.infra.constructs.vector_collection import VectorCollection
from slipway.infra.site import Site
from slipway.infra.stacks import store_props as wanted
from slipway.infra.stacks.functions import place_of
from slipway.infra.stacks.stack import SiteStack
from slipway.infra.stacks.store_props import OWNER_SECRET, TOKEN_SECRET, Elsewhere, Ground


class Targets(Protocol):
    """The stack in the recovery region that copies are sent to."""

    def known_to(self, stack: SiteStack) -> Elsewhere:
        """What it has, as `stack` may refer to it."""


class DataStack(SiteStack):
    """Every store. None or empty is what the manifest does not ask for.

    `stores` is what tasks need: addresses, ARNs, secrets. `aurora`, `redis`, `bucket`, `tables`, `neptune`,
    `collection`, `knowledge_base`, `log_domain` and `files` (by service) are the constructs, for alarms; `vault` and
    `backups` for the watch over backups; `dependency_check` is the function that asks systems outside.
    """

    def __init__(self, scope: App, site: Site, *, foundation: Ground, targets: Targets | None = None) -> None:
        super().__init__(
            scope, site, "data", description=f"Stores, secrets and backups of {site.names.prefix}.", stateful=True
        )
        self._ground = foundation
        self._elsewhere = None if targets is None else targets.known_to(self)
        self.secrets = {name: self._secret(name, generated) for name, generated in wanted.secrets_of(site)}
        self.aurora = self._aurora()
        self.global_cluster = self._global_cluster()
        self.redis = self._redis()
        self.bucket = self._bucket()
        self.tables = {
            name: Table(
                self,
                f"Table{site.names.construct(name)}",
                wanted.table_props(site, foundation, section, self._elsewhere),
            )
            for name, section in site.manifest.data.dynamodb.tables.items()
        }
        data = site.manifest.data
        self.neptune = (
            Neptune(self, "Neptune", wanted.neptune_props(site, foundation)) if data.graph == "neptune" else None
        )
        self.collection = (
            VectorCollection(self, "Vectors", wanted.collection_props(site, foundation))
            if data.search == "opensearch"
            else None
        )
        self.knowledge_base = self._knowledge_base()
        self.log_domain = (
            SearchDomain(self, "LogDomain", wanted.log_domain_props(site, foundation))
            if data.logs == "opensearch"
            else None
        )
        self.files = {
            name: FileSystem(
                self,
                f"Files{site.names.construct(name)}",
                wanted.file_system_props(site, foundation, name, service),
            )
            for name, service in wanted.volumes_of(site).items()
        }
        self.vault, self.backups = self._backups()
        self.dependency_check = self._ask_dependencies()
        self.stores = self._stores()
        self._publish_parameters()
        self._publish_for_recovery()

    def _secret(self, name: str, generated: Generated | None) -> Secret:
        elsewhere = self._elsewhere
        return Secret(
            self,
            f"Secret{self.site.names.construct(name)}",
            SecretProps(
                name=self.site.names.parameter("secrets", name),
                description=f"{name} of {self.site.names.prefix}"
                + ("" if generated or name == ADMINISTRATOR_KEY else ": fill it in before what needs it starts"),
                key_arn=self._ground.key("secrets"),
                generated=generated,
                lasting=self.site.lasting,
                copied=None
                if elsewhere is None
                else Copied(region=elsewhere.region, key_arn=elsewhere.keys["secrets"]),
            ),
        )

    def _aurora(self) -> Aurora | None:
        section = self.site.manifest.data.postgres
        if section is None or section.engine != "aurora":
            return None
        return Aurora(
            self, "Postgres", wanted.aurora_props(self.site, self._ground, section, self.secrets[OWNER_SECRET])
        )

    def _global_cluster(self) -> GlobalCluster | None:
        section = self.site.manifest.data.postgres
        if self.aurora is None or self._elsewhere is None or section is None or not section.copy_to_recovery_region:
            return None
        return GlobalCluster(
            self,
            "PostgresEverywhere",
            identifier=wanted.cluster_identifier(self.site, "postgres-global"),
            first=self.aurora,
            lasting=self.site.lasting,
        )

    def _redis(self) -> Redis | None:
        section = self.site.manifest.data.redis
        if section is None or section.url_env is not None:
            return None
        return Redis(self, "Redis", wanted.redis_props(self.site, self._ground, section, self.secrets[TOKEN_SECRET]))

    def _bucket(self) -> Bucket | None:
        section = self.site.manifest.data.objects
        if section is None or not wanted.makes_bucket(section):
            return None
        return Bucket(self, "Objects", wanted.bucket_props(self.site, self._ground, section, self._elsewhere))

    def _knowledge_base(self) -> KnowledgeBase | None:
        section, documents = self.site.manifest.knowledge_base, self._objects()
        if section is None or documents is None:
            return None
        return KnowledgeBase(
            self, "Knowledge", wanted.knowledge_base_props(self.site, self._ground, section, documents)
        )

    def _ask_dependencies(self) -> Function | None:
        """Asks systems outside whether they are there, as often as the platform itself is asked."""
        every = self.site.manifest.monitoring.synthetic_every
        asked = {
            name: {"secret": self.secrets[each.secret].arn, "port": each.port, "health": each.health}
            for name, each in sorted(self.site.manifest.dependencies.items())
            if each.health != "none"
        }
        if every is None or not asked:
            return None
        metrics = f"Slipway/{self.site.names.prefix}"
        function = FunctionHome(self, "Functions", place_of(self.site, self._ground)).add(
            "Dependencies",
            FunctionProps(
                handler="dependencies",
                memory_mib=512,
                timeout_s=60,
                retries=0,  # the next question comes by itself
                environment={"SLIPWAY_DEPENDENCIES": self.to_json_string(asked), "SLIPWAY_METRICS": metrics},
                statements=wanted.asking_rights(
                    secrets=tuple(str(each["secret"]) for each in asked.values()),
                    key_arn=self._ground.key("secrets"),
                    metrics=metrics,
                ),
            ),
        )
        minutes = every.seconds // 60
        rule = aws_events.CfnRule(
            self,
            "AskDependencies",
            description=f"Whether what {self.site.names.prefix} depends on is there",
            schedule_expression=f"rate({minutes} minute{'s' if minutes > 1 else ''})",
            targets=[aws_events.CfnRule.TargetProperty(id="function", arn=function.arn, input="{}")],
        )
        function.called_by("Schedule", "events.amazonaws.com", rule.attr_arn)
        return function

    def _backups(self) -> tuple[BackupVault | None, BackupPlan | None]:
        """Nothing is backed up where data goes with its stack, or where the manifest asks for no backup."""
        kept = wanted.kept_of(self.site.manifest.recovery.backups)
        resources = tuple(self._backed_up())
        if not kept or not resources or not self.site.lasting:
            return None, None
        key = Key(
            self,
            "BackupsKey",
            KeyProps(
                alias=f"{self.site.names.prefix}/backups",
                description=f"Backups of {self.site.names.prefix}",
                rotate_days=self.site.manifest.data.keys.rotate_every.days,
                lasting=True,
            ),
        )
        vault = BackupVault(
            self,
            "Backups",
            BackupVaultProps(
                name=wanted.vault_name(self.site),
                key_arn=key.arn,
                lock=wanted.lock_of(self.site),
                lasting=True,
            ),
        )
        plan = BackupPlan(
            self,
            "BackupPlan",
            BackupPlanProps(
                name=vault.name,
                vault=vault,
                kept=kept,
                resources=resources,
                copy_to=self._elsewhere.vault_arn if self._elsewhere else None,
            ),
        )
        return vault, plan

    def _backed_up(self) -> Iterator[str]:
        """The ARNs of what holds data that is made nowhere else. Redis and search indexes are made again."""
        objects = self.site.manifest.data.objects
        if self.aurora is not None:
            yield self.aurora.arn
        if self.neptune is not None:
            yield Fn.join(
                ":", ["arn", Aws.PARTITION, "rds", Aws.REGION, Aws.ACCOUNT_ID, "cluster", self.neptune.identifier]
            )
        for table in self.tables.values():
            yield table.arn
        if self.bucket is not None and objects is not None and objects.versioning:
            yield self.bucket.arn  # AWS Backup takes a bucket with versions only
        for files in self.files.values():
            yield files.arn

    def _stores(self) -> handles.Stores:
        return handles.Stores(
            postgres=self._database(),
            objects=self._objects(),
            redis=self._cache(),
            tables={
                name: handles.Table(name=table.name, arn=table.arn, indexes=table.indexes)
                for name, table in self.tables.items()
            },
            tables_key_arn=self._ground.key("dynamodb") if self.tables else None,
            neptune=self._graph(),
            opensearch=self._vectors(),
            knowledge_base=None
            if self.knowledge_base is None
            else handles.KnowledgeBase(id=self.knowledge_base.id, arn=self.knowledge_base.arn),
            volumes={
                name: handles.Volume(
                    file_system_id=files.id,
                    file_system_arn=files.arn,
                    access_point_id=files.access_point_id,
                    access_point_arn=files.access_point_arn,
                )
                for name, files in self.files.items()
            },
            secrets={name: secret.arn for name, secret in self.secrets.items()},
            secrets_key_arns=(self._ground.key("secrets"),),
        )

    def _database(self) -> handles.Database | None:
        postgres = self.site.manifest.data.postgres
        if self.aurora is None:
            url = postgres.url_env if postgres else None
            return handles.Database(url_secret_arn=self.secrets[url].arn) if url else None
        return handles.Database(
            endpoint=self.aurora.endpoint,
            port=str(pg.PORT),
            name=pg.DATABASE,
            resource_id=self.aurora.resource_id,
            owner_secret_arn=self.secrets[OWNER_SECRET].arn,
            iam_auth=postgres is not None and postgres.iam_auth,
        )

    def _objects(self) -> handles.Bucket | None:
        objects = self.site.manifest.data.objects
        if self.bucket is not None:
            return handles.Bucket(name=self.bucket.name, arn=self.bucket.arn, key_arn=self._ground.key("objects"))
        if objects is None or objects.bucket is None:
            return None
        arn = Fn.join("", ["arn:", Aws.PARTITION, ":s3:::", objects.bucket])
        return handles.Bucket(name=objects.bucket, arn=arn, key_arn=None, endpoint_url=objects.endpoint_url)

    def _cache(self) -> handles.Cache | None:
        redis = self.site.manifest.data.redis
        if self.redis is None:
            url = redis.url_env if redis else None
            return handles.Cache(url_secret_arn=self.secrets[url].arn) if url else None
        return handles.Cache(
            endpoint=self.redis.endpoint, port=self.redis.port, token_secret_arn=self.secrets[TOKEN_SECRET].arn
        )

    def _graph(self) -> handles.Graph | None:
        neptune = self.neptune
        if neptune is None:
            return None
        return handles.Graph(endpoint=neptune.endpoint, port=neptune.port, resource_id=neptune.resource_id)

    def _vectors(self) -> handles.Collection | None:
        collection = self.collection
        if collection is None:
            return None
        return handles.Collection(name=collection.name, arn=collection.arn, endpoint=collection.endpoint)

    def _publish_parameters(self) -> None:
        for path, value in self._addresses():
            Parameter(
                self,
                f"Parameter{self.site.names.construct(path)}",
                name=self.site.names.parameter(*path.split("/")),
                value=value,
                description=f"Where {path.split('/')[0]} of {self.site.names.prefix} is",
            )

    def _publish_for_recovery(self) -> None:
        """What the recovery region has to know, to find and restore backups."""
        if self._elsewhere is None or self.backups is None:
            return
        self.publish("BackupRoleArn", self.backups.role_arn, "The role that restores backups.")
        for name, files in self.files.items():
            self.publish(f"Files{self.site.names.construct(name)}Arn", files.arn, f"The file system of {name}.")

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
        if self.neptune is not None:
            yield "neptune/endpoint", self.neptune.endpoint
        if self.collection is not None:
            yield "opensearch/endpoint", self.collection.endpoint
        if self.knowledge_base is not None:
            yield "knowledge-base/id", self.knowledge_base.id
            yield "knowledge-base/documents", self.knowledge_base.source_id
        if self.log_domain is not None:
            yield "logs/endpoint", self.log_domain.endpoint
        if self.vault is not None:
            yield "backups/vault", self.vault.name
