"""`data`: the stores behind the components. On a laptop the embedded ones stand in for all of them."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.models import BaseUrl, SecretVariable
from slipway.manifest.sections.section import (
    BUCKET_PATTERN,
    CACHE_NODE_PATTERN,
    DB_INSTANCE_PATTERN,
    SEARCH_INSTANCE_PATTERN,
    Section,
)
from slipway.manifest.sections.tables import DynamoDB
from slipway.manifest.units import Duration, Size

_SAMPLED = tuple(Duration(1000 * seconds) for seconds in (0, 1, 5, 10, 15, 30, 60))


def in_days(key: str, value: Duration, least: int, most: int, why: str) -> None:
    """Refuses a duration outside the days that AWS takes, or one that is no whole number of them."""
    if value.milliseconds % Duration.of(days=1).milliseconds or not least <= value.days <= most:
        raise PydanticCustomError(
            "days", "{key} is {least}d to {most}d: {why}", {"key": key, "least": least, "most": most, "why": why}
        )


class Postgres(Section):
    """The relational store: rows, vectors and text search."""

    engine: Literal["aurora", "external"] = Field(
        default="aurora",
        description="aurora: Aurora Serverless v2 on AWS, the embedded server on a laptop. "
        "external: a PostgreSQL of yours (15 or newer, with pgvector 0.8 or newer).",
    )
    url_env: SecretVariable | None = Field(
        default=None, description="The NAME of the variable that holds an external server's URL."
    )
    min_acu: float = Field(default=0.5, ge=0, le=256, multiple_of=0.5, description="Smallest Aurora capacity.")
    max_acu: float = Field(default=4, ge=1, le=256, multiple_of=0.5, description="Largest Aurora capacity.")
    readers: int = Field(
        default=0,
        ge=0,
        le=15,
        description="Read replicas in other zones; one of them takes over when the writer fails.",
    )
    point_in_time: Duration = Field(
        default=Duration.of(days=7), description="How far back the store can be restored to any second (1d to 35d)."
    )
    iam_auth: bool = Field(
        default=True, description="Components sign in with their role, for minutes, instead of a password."
    )
    monitoring_every: Duration = Field(
        default=Duration(60_000), description="How often the instance's system is sampled (0s: not at all; up to 60s)."
    )
    performance_insights: bool = Field(default=True, description="Keep which statements took how long, for 7 days.")
    copy_to_recovery_region: bool = Field(
        default=False,
        description="Copy the volume to recovery.region all the time (Aurora global database, no instance there).",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.engine == "external" and self.url_env is None:
            raise PydanticCustomError(
                "postgres", "an external server needs url_env: the name of the variable with its URL"
            )
        if self.min_acu > self.max_acu:
            raise PydanticCustomError("postgres", "min_acu is above max_acu: write a max_acu of at least min_acu")
        if self.monitoring_every not in _SAMPLED:
            raise PydanticCustomError("postgres", "monitoring_every is one of 0s, 1s, 5s, 10s, 15s, 30s and 60s")
        in_days("point_in_time", self.point_in_time, 1, 35, "Aurora keeps no other")
        return self


class Objects(Section):
    """Documents and other files: S3, or a folder on a laptop."""

    bucket: str | None = Field(
        default=None,
        pattern=BUCKET_PATTERN,
        description="A bucket that exists; left out, one is made.",
    )
    endpoint_url: BaseUrl | None = Field(default=None, description="An S3-compatible server other than AWS.")
    versioning: bool = Field(default=True, description="Keep what was overwritten or deleted, as older versions.")
    infrequent_after: Duration | None = Field(
        default=Duration.of(days=30),
        description="When objects move to a cheaper class, still at hand at once (30d on).",
    )
    archive_after: Duration | None = Field(
        default=None, description="When objects move to the archive that still answers at once (90d and 30d later on)."
    )
    versions_kept: Duration = Field(
        default=Duration.of(days=90), description="How long an older version is kept, and so can be brought back."
    )
    copy_to_recovery_region: bool = Field(
        default=True, description="Replicate to recovery.region, if there is one (S3 Replication Time Control)."
    )

    @model_validator(mode="after")
    def _lifecycle(self) -> Self:
        in_days("versions_kept", self.versions_kept, 1, 3650, "S3 counts whole days")
        first = self.infrequent_after
        if first is not None:
            in_days("infrequent_after", first, 30, 3650, "S3 moves no younger object")
        if self.archive_after is not None:
            least = max(90, first.days + 30 if first else 0)
            in_days("archive_after", self.archive_after, least, 3650, "S3 keeps an object 30 days in the class before")
        return self


class Redis(Section):
    """Limits and caches that processes share. It holds nothing that cannot be made again."""

    node: str = Field(default="cache.t4g.micro", pattern=CACHE_NODE_PATTERN, description="Type of each node.")
    multi_az: bool = Field(default=True, description="A replica in a second zone that takes over.")
    url_env: SecretVariable | None = Field(
        default=None, description="The NAME of the variable that holds the URL of a Redis of yours."
    )


class Neptune(Section):
    """The cluster behind `graph: neptune`."""

    instance: str = Field(default="db.t4g.medium", pattern=DB_INSTANCE_PATTERN, description="Type of each instance.")
    readers: int = Field(default=0, ge=0, le=15, description="Read replicas in other zones; one of them takes over.")
    point_in_time: Duration = Field(
        default=Duration.of(days=7), description="How long its daily snapshots and changes are kept (1d to 35d)."
    )

    @model_validator(mode="after")
    def _days(self) -> Self:
        in_days("point_in_time", self.point_in_time, 1, 35, "Neptune keeps no other")
        return self


class OpenSearch(Section):
    """The collection behind `search: opensearch` (OpenSearch Serverless)."""

    standby: bool = Field(
        default=True, description="Run it in a second zone as well; without, half the price and no takeover."
    )


class LogDomain(Section):
    """The OpenSearch domain behind `logs: opensearch`."""

    instance: str = Field(default="t3.small.search", pattern=SEARCH_INSTANCE_PATTERN, description="Type of each node.")
    nodes: int = Field(default=2, ge=1, le=80, description="Data nodes, shared out over the zones.")
    disk: Size = Field(default=Size(20 * 2**30), description="Disk of each node.")

    @model_validator(mode="after")
    def _shared_out(self) -> Self:
        if self.disk < Size(10 * 2**30):
            raise PydanticCustomError("log_domain", "disk is at least 10GiB: OpenSearch takes no smaller one")
        if self.nodes > 1 and self.nodes % 2 and self.nodes % 3:
            raise PydanticCustomError(
                "log_domain", "{nodes} nodes cannot be shared out evenly: write 1, or a multiple of 2 or 3",
                {"nodes": self.nodes},
            )  # fmt: skip
        return self


class Keys(Section):
    """The keys that data at rest is encrypted with; each store has one of its own."""

    rotate_every: Duration = Field(
        default=Duration.of(days=365), description="How often KMS makes new key material (90d to 2560d)."
    )
    per_tenant: bool = Field(
        default=True, description="What stands in the vault is encrypted with a key of the tenant's own."
    )

    @model_validator(mode="after")
    def _days(self) -> Self:
        in_days("rotate_every", self.rotate_every, 90, 2560, "KMS takes no other")
        return self


class Data(Section):
    """Which stores there are. `null` takes one away."""

    postgres: Postgres | None = Field(default=Postgres(), description="The relational store.")
    objects: Objects | None = Field(default=Objects(), description="The store of files.")
    redis: Redis | None = Field(
        default=None, description="Shared limits and cache; left out, each process keeps its own."
    )
    dynamodb: DynamoDB = Field(default=DynamoDB(), description="Tables of DynamoDB.")
    search: Literal["pgvector", "opensearch", "qdrant", "bedrock-kb"] = Field(
        default="pgvector", description="Where vectors are searched; pgvector lives in postgres."
    )
    opensearch: OpenSearch = Field(default=OpenSearch(), description="For `search: opensearch`.")
    graph: Literal["postgres", "neptune"] = Field(default="postgres", description="Where the knowledge graph lives.")
    neptune: Neptune = Field(default=Neptune(), description="For `graph: neptune`.")
    logs: Literal["cloudwatch", "opensearch"] = Field(
        default="cloudwatch", description="Where logs are searched; opensearch: a domain that CloudWatch feeds."
    )
    log_domain: LogDomain = Field(default=LogDomain(), description="For `logs: opensearch`.")
    keys: Keys = Field(default=Keys(), description="Keys of data at rest.")
