"""What each store of a site is asked for: the manifest's numbers, translated for the constructs. Used by `data`."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from slipway.infra.constructs import (
    aurora,
    backup_plan,
    bucket,
    knowledge_base,
    neptune,
    redis,
    search_domain,
    secret,
    stores,
    table,
)
from slipway.infra.constructs.backup_vault import Lock
from slipway.infra.constructs.file_system import FileSystemProps
from slipway.infra.constructs.grants import ADMINISTRATOR_KEY, Statement
from slipway.infra.constructs.replication import Replication
from slipway.infra.constructs.vector_collection import VectorCollectionProps
from slipway.infra.naming import tags_of
from slipway.infra.site import Site
from slipway.infra.topology import LOG_DOMAIN, files_of
from slipway.manifest.catalog import Need
from slipway.manifest.sections import data, tables
from slipway.manifest.sections.agents import EMBEDDERS, KnowledgeBase
from slipway.manifest.sections.monitoring import channel_of
from slipway.manifest.sections.recovery import Backups, Retention
from slipway.manifest.sections.services import Service

OWNER: Final = "slipway_owner"
OWNER_SECRET: Final = "postgres-owner"
TOKEN_SECRET: Final = "redis-token"
SECRET_KEY: Final = "SLIPWAY_SECRET_KEY"
_PASSWORD_LENGTH: Final = 48
_KEY_LENGTH: Final = 64  # of letters and digits: 380 bits
# How many characters a name may have.
_CLUSTER: Final = 63
_COLLECTION: Final = 32
_DOMAIN: Final = 28
_VAULT: Final = 50
_KNOWLEDGE_BASE: Final = 50  # Scheduler's groups have 64, and a word of their own behind it
_GIB: Final = 2**30


class Ground(Protocol):
    """What the stores stand on: the foundation's network and keys."""

    vpc_id: str
    data_subnet_ids: Sequence[str]
    private_subnet_ids: Sequence[str]
    log_bucket: str

    def security_group(self, name: str) -> str:
        """The id of the group of a store, by its name."""

    def key(self, store: str) -> str:
        """The ARN of the key of a store, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What stands in the recovery region for stores to be copied to: ARNs. `keys` are by store."""

    region: str
    vault_arn: str
    keys: dict[str, str]
    bucket_arn: str | None


def cluster_identifier(site: Site, store: str) -> str:
    """The name of a database cluster: log groups are called after it, and a failover finds it by it."""
    return bounded(site.names.stack(store), _CLUSTER)


def vault_name(site: Site) -> str:
    """The name of the site's vaults, the same in both regions."""
    return bounded(site.names.stack("backups"), _VAULT)


def aurora_props(site: Site, ground: Ground, section: data.Postgres, owner: secret.Secret) -> aurora.AuroraProps:
    """PostgreSQL."""
    return aurora.AuroraProps(
        identifier=cluster_identifier(site, "postgres"),
        capacity=aurora.Capacity(min_acu=section.min_acu, max_acu=section.max_acu, readers=section.readers),
        subnet_ids=ground.data_subnet_ids,
        security_group_id=ground.security_group("postgres"),
        key_arn=ground.key("postgres"),
        owner=owner,
        owner_name=OWNER,
        iam_auth=section.iam_auth,
        point_in_time_days=section.point_in_time.days,
        watching=aurora.Watching(
            every_s=section.monitoring_every.seconds,
            insights=section.performance_insights,
            log_days=_log_days(site),
            log_key_arn=ground.key("logs"),
        ),
        lasting=site.lasting,
    )


def redis_props(site: Site, ground: Ground, section: data.Redis, token: secret.Secret) -> redis.RedisProps:
    """Redis."""
    return redis.RedisProps(
        node=section.node,
        multi_az=section.multi_az,
        subnet_ids=ground.data_subnet_ids,
        security_group_id=ground.security_group("redis"),
        key_arn=ground.key("redis"),
        token=token,
        log_group=site.names.log_group("redis"),
        log_days=_log_days(site),
        log_key_arn=ground.key("logs"),
    )


def bucket_props(site: Site, ground: Ground, section: data.Objects, elsewhere: Elsewhere | None) -> bucket.BucketProps:
    """The bucket of objects, with its copy elsewhere where the manifest asks for one."""
    replication = None
    if elsewhere is not None and elsewhere.bucket_arn is not None:
        replication = Replication(
            region=elsewhere.region, bucket_arn=elsewhere.bucket_arn, key_arn=elsewhere.keys["objects"]
        )
    return bucket.BucketProps(
        key_arn=ground.key("objects"),
        versioning=section.versioning,
        lifecycle=lifecycle_of(section),
        log_bucket=ground.log_bucket,
        log_prefix="buckets/objects/",
        lasting=site.lasting,
        origins=site.manifest.edge.cors,
        replication=replication,
    )


def lifecycle_of(section: data.Objects) -> bucket.Lifecycle:
    """The lifecycle that the manifest asks for, in days."""
    return bucket.Lifecycle(
        infrequent_after_days=section.infrequent_after.days if section.infrequent_after else None,
        archive_after_days=section.archive_after.days if section.archive_after else None,
        versions_kept_days=section.versions_kept.days,
    )


def table_props(site: Site, ground: Ground, section: tables.Table, elsewhere: Elsewhere | None) -> table.TableProps:
    """One table of DynamoDB, with a replica elsewhere where the manifest asks for one."""
    dynamodb = site.manifest.data.dynamodb
    replicas = [table.Replica(region=site.region, key_arn=ground.key("dynamodb"))]
    if elsewhere is not None and dynamodb.copy_to_recovery_region:
        replicas.append(table.Replica(region=elsewhere.region, key_arn=elsewhere.keys["dynamodb"]))
    return table.TableProps(
        key=table.Index(hash=section.hash, range=section.range),
        indexes={name: table.Index(hash=each.hash, range=each.range) for name, each in section.indexes.items()},
        numbers=section.numbers,
        ttl=section.ttl,
        point_in_time_days=dynamodb.point_in_time.days,
        replicas=replicas,
        lasting=site.lasting,
        tags=tags_of(site.manifest, site.names, site.inputs),
    )


def neptune_props(site: Site, ground: Ground) -> neptune.NeptuneProps:
    """The graph."""
    section = site.manifest.data.neptune
    return neptune.NeptuneProps(
        identifier=cluster_identifier(site, "neptune"),
        instance=section.instance,
        readers=section.readers,
        subnet_ids=ground.data_subnet_ids,
        security_group_id=ground.security_group("neptune"),
        key_arn=ground.key("neptune"),
        point_in_time_days=section.point_in_time.days,
        log_days=_log_days(site),
        log_key_arn=ground.key("logs"),
        lasting=site.lasting,
    )


def collection_props(site: Site, ground: Ground) -> VectorCollectionProps:
    """Vectors in OpenSearch Serverless."""
    return VectorCollectionProps(
        name=bounded(site.names.stack("vectors"), _COLLECTION),
        standby=site.manifest.data.opensearch.standby,
        key_arn=ground.key("opensearch"),
        vpc_id=ground.vpc_id,
        subnet_ids=ground.data_subnet_ids,
        security_group_id=ground.security_group("opensearch"),
        lasting=site.lasting,
    )


def knowledge_base_props(
    site: Site, ground: Ground, section: KnowledgeBase, documents: stores.Bucket
) -> knowledge_base.KnowledgeBaseProps:
    """The knowledge base over a part of the documents' bucket."""
    model = EMBEDDERS.get(section.embeddings)
    return knowledge_base.KnowledgeBaseProps(
        name=bounded(site.names.prefix, _KNOWLEDGE_BASE),
        documents=knowledge_base.Documents(bucket_arn=documents.arn, key_arn=documents.key_arn, prefix=section.prefix),
        vectors=knowledge_base.Vectors(
            model=section.embeddings,
            dimensions=section.dimensions,
            chosen=model is not None and model.chosen,
            chunk_tokens=section.chunk_tokens,
            overlap_percent=section.overlap.basis_points // 100,
        ),
        key_arn=ground.key(Need.KNOWLEDGE_BASE.value),
        refresh_minutes=section.refresh.seconds // 60,
        lasting=site.lasting,
    )


def log_domain_props(site: Site, ground: Ground) -> search_domain.SearchDomainProps:
    """The domain that logs are searched in."""
    section = site.manifest.data.log_domain
    return search_domain.SearchDomainProps(
        name=bounded(site.names.stack("logs"), _DOMAIN),
        nodes=search_domain.Nodes(
            instance=section.instance, count=section.nodes, disk_gib=-(-section.disk.bytes // _GIB)
        ),
        subnet_ids=ground.data_subnet_ids,
        security_group_id=ground.security_group(LOG_DOMAIN),
        key_arn=ground.key("logs"),
        log_prefix=site.names.log_group(LOG_DOMAIN),
        log_days=_log_days(site),
        log_key_arn=ground.key("logs"),
        lasting=site.lasting,
    )


def volumes_of(site: Site) -> dict[str, Service]:
    """The services that keep files, by name."""
    return {
        name: service
        for name, service in site.manifest.services.items()
        if service.volume is not None and service.volume.kind == "efs"
    }


def file_system_props(site: Site, ground: Ground, name: str, service: Service) -> FileSystemProps:
    """The files of a service."""
    return FileSystemProps(
        folder=f"/{name}",
        user=service.user,
        subnet_ids=ground.data_subnet_ids,
        security_group_id=ground.security_group(files_of(name)),
        key_arn=ground.key("files"),
        backups=site.lasting and bool(kept_of(site.manifest.recovery.backups)),
        lasting=site.lasting,
    )


def kept_of(backups: Backups) -> tuple[backup_plan.Kept, ...]:
    """The cadences that the manifest asks for, the most frequent first."""
    cadences: tuple[tuple[backup_plan.Cadence, Retention | None], ...] = (
        ("daily", backups.daily),
        ("weekly", backups.weekly),
        ("monthly", backups.monthly),
    )
    return tuple(
        backup_plan.Kept(
            cadence=name, days=kept.keep.days, cold_after_days=kept.cold_after.days if kept.cold_after else None
        )
        for name, kept in cadences
        if kept is not None
    )


def lock_of(site: Site) -> Lock | None:
    """In production nobody ends a backup before the shortest time that the manifest keeps one."""
    days = [kept.days for kept in kept_of(site.manifest.recovery.backups)]
    return Lock(least_days=min(days), most_days=max(days)) if days and site.production else None


def secrets_of(site: Site) -> Iterator[tuple[str, secret.Generated | None]]:
    """Each secret once: those that Slipway makes up, and, sorted, those that somebody fills (None)."""
    manifest = site.manifest
    postgres, redis_section = manifest.data.postgres, manifest.data.redis
    yield SECRET_KEY, secret.Generated(length=_KEY_LENGTH)
    if Need.IDENTITY in manifest.component_order():
        yield ADMINISTRATOR_KEY, None  # the identity part fills it in when it makes the first tenant
    if postgres is not None and postgres.engine == "aurora":
        yield OWNER_SECRET, secret.Generated(length=_PASSWORD_LENGTH, username=OWNER)
    if redis_section is not None and redis_section.url_env is None:
        yield TOKEN_SECRET, secret.Generated(length=_PASSWORD_LENGTH)
    named = {name for service in manifest.services.values() for name in service.secrets}
    named |= {dependency.secret for dependency in manifest.dependencies.values()}
    named |= {model.api_key_env for model in manifest.models.available.values() if model.api_key_env}
    named |= {store.url_env for store in (postgres, redis_section) if store is not None and store.url_env}
    named |= {address for address in manifest.monitoring.notify.critical if channel_of(address) == "pager"}
    for name in sorted(named - {SECRET_KEY, ADMINISTRATOR_KEY}):
        yield name, None


def asking_rights(*, secrets: Sequence[str], key_arn: str, metrics: str) -> tuple[Statement, ...]:
    """What it takes to ask dependencies whether they are there: their addresses, which are secrets."""
    return (
        Statement("ReadAddresses", ("secretsmanager:GetSecretValue",), tuple(secrets)),
        Statement("DecryptAddresses", ("kms:Decrypt",), (key_arn,)),
        Statement(
            "Measure",
            ("cloudwatch:PutMetricData",),
            ("*",),
            {"StringEquals": {"cloudwatch:namespace": metrics}},
            reason="CloudWatch has no resource for a metric; the namespace is this platform's own.",
        ),
    )


def makes_bucket(section: data.Objects) -> bool:
    """Whether the bucket is ours to make: none of the user's, and no other server's."""
    return section.bucket is None and section.endpoint_url is None


def bounded(name: str, most: int) -> str:
    """`name`, cut to what a service takes; a cut one ends in a part of its hash and so stays its own."""
    if len(name) <= most:
        return name
    return f"{name[: most - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _log_days(site: Site) -> int:
    return site.manifest.monitoring.log_retention.days
