"""What a task must know of each store to reach it: addresses and ARNs, as values of CloudFormation.

The data stack makes one `Stores`; `grants` and `environment` read it. A store that the manifest lacks is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """PostgreSQL. `resource_id` names the cluster in an IAM sign-in; the owner's secret is JSON with `username` and
    `password`. Where there is `url_secret_arn`, it is a server of the user's, and its URL is that secret."""

    endpoint: str = ""
    port: str = "5432"
    name: str = ""
    resource_id: str = ""
    owner_secret_arn: str = ""
    iam_auth: bool = True
    url_secret_arn: str | None = None

    @property
    def signs_in(self) -> bool:
        """Whether the platform's parts sign in with their role."""
        return self.iam_auth and self.url_secret_arn is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Objects. `key_arn` is the key that they are encrypted with; `endpoint_url` another S3 than AWS's."""

    name: str
    arn: str
    key_arn: str | None
    endpoint_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Redis by TLS, with a token; or a server of the user's, whose URL is the secret at `url_secret_arn`."""

    endpoint: str = ""
    port: str = "6379"
    token_secret_arn: str = ""
    url_secret_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of DynamoDB and the names of its indexes."""

    name: str
    arn: str
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Neptune; `resource_id` names the cluster in what IAM allows."""

    endpoint: str
    port: str
    resource_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection of OpenSearch Serverless."""

    name: str
    arn: str
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeBase:
    """A knowledge base of Bedrock."""

    id: str
    arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A file system on EFS, entered at an access point that belongs to one service."""

    file_system_id: str
    file_system_arn: str
    access_point_id: str
    access_point_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Every store of a site. `secrets` are ARNs by the name of the variable, `volumes` by service."""

    postgres: Database | None = None
    objects: Bucket | None = None
    redis: Cache | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)
    tables_key_arn: str | None = None
    neptune: Graph | None = None
    opensearch: Collection | None = None
    knowledge_base: KnowledgeBase | None = None
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    secrets_key_arns: tuple[str, ...] = ()
