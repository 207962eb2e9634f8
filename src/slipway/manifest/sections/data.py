"""`data`: the stores behind the components. On a laptop the embedded ones stand in for all of them."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.models import BaseUrl, SecretVariable
from slipway.manifest.sections.section import BUCKET_PATTERN, Section
from slipway.manifest.units import Duration


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
    readers: int = Field(default=0, ge=0, le=15, description="Read replicas.")
    point_in_time: Duration = Field(
        default=Duration.of(days=7), description="How far back the store can be restored to any second (1d to 35d)."
    )
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
        if not Duration.of(days=1) <= self.point_in_time <= Duration.of(days=35):
            raise PydanticCustomError("postgres", "point_in_time is 1d to 35d: Aurora keeps no other")
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
    copy_to_recovery_region: bool = Field(
        default=True, description="Replicate to recovery.region, if there is one (S3 Replication Time Control)."
    )


class Redis(Section):
    """Limits and caches that processes share. It holds nothing that cannot be made again."""

    multi_az: bool = Field(default=True, description="A replica in a second zone that takes over.")
    url_env: SecretVariable | None = Field(
        default=None, description="The NAME of the variable that holds the URL of a Redis of yours."
    )


class Data(Section):
    """Which stores there are. `null` takes one away."""

    postgres: Postgres | None = Field(default=Postgres(), description="The relational store.")
    objects: Objects | None = Field(default=Objects(), description="The store of files.")
    redis: Redis | None = Field(
        default=None, description="Shared limits and cache; left out, each process keeps its own."
    )
    search: Literal["pgvector", "opensearch", "qdrant", "bedrock-kb"] = Field(
        default="pgvector", description="Where vectors are searched; pgvector lives in postgres."
    )
    graph: Literal["postgres", "neptune"] = Field(default="postgres", description="Where the knowledge graph lives.")
