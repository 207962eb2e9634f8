"""Settings of one process, read from the environment once. The only module that reads the environment.

What the platform *is* stands in the manifest; settings say where this process finds its home, stores and peers. Every
field is the variable `SLIPWAY_<NAME>`; `docs/settings.md` lists them and a test compares the two. Secrets are read here
and nowhere else, are never logged, and never reach an error.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from slipway.base.errors import Misconfigured

_PREFIX = "SLIPWAY_"


class Settings(BaseModel):
    """Where this process finds its home, its stores and its peers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(default=Path(".slipway"), description="Folder of the state: database, objects, keys, logs.")
    manifest: Path | None = Field(
        default=None, description="The manifest; `slipway.yaml` of the working folder when it exists."
    )
    manifest_text: str | None = Field(
        default=None, description="The manifest of one environment itself, where no file is at hand (a task on AWS)."
    )
    environment: str | None = Field(default=None, description="Which environment of the manifest to run.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8700, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(
        default=None, description="The address users reach this platform by, for issuer and upload URLs."
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL of the platform; without it the embedded one in the home is started.",
    )
    database_owner_url: SecretStr | None = Field(
        default=None,
        description="The login that owns the tables, for migrations; `database_url` when left out.",
    )
    database_host: str | None = Field(
        default=None,
        description="The server of PostgreSQL, instead of `database_url`: its parts, as AWS hands them out. By TLS.",
    )
    database_port: int = Field(default=5432, ge=1, le=65535, description="The port of `database_host`.")
    database_name: str = Field(default="slipway", description="The database on `database_host`.")
    database_user: str | None = Field(default=None, description="The login of this process on `database_host`.")
    database_password: SecretStr | None = Field(default=None, description="Its password; none with `iam`.")
    database_auth: Literal["password", "iam"] = Field(
        default="password",
        description="How it signs in: by its password, or as its AWS role with a token for each connection.",
    )
    database_owner_user: str | None = Field(
        default=None,
        description="The login on `database_host` that owns the tables; who has none leaves migrations to others.",
    )
    database_owner_password: SecretStr | None = Field(default=None, description="The owner's password.")
    database_pool_size: int = Field(default=10, ge=2, le=500, description="Connections this process keeps at most.")
    objects_url: str | None = Field(
        default=None,
        description="Where objects are kept: `file:///folder` or `s3://bucket/prefix`; the home by default.",
    )
    s3_endpoint_url: str | None = Field(default=None, description="Another S3 than AWS's, like http://127.0.0.1:9000.")
    secret_key: SecretStr | None = Field(
        default=None,
        description="32 bytes or more that processes of one platform share; several separated by commas, newest first.",
    )
    administrator_secret_arn: str | None = Field(
        default=None,
        description="A secret of AWS, by its ARN, for the first administrator's key, which then nobody is told.",
    )
    user_pool_issuer: str | None = Field(
        default=None, description="The issuer of the platform's own user pool, whose tokens are accepted (Cognito)."
    )
    user_pool_audiences: str = Field(default="", description="The ids of the pool's clients, separated by commas.")
    identity_url: str | None = Field(default=None, description="Address of the identity part when it runs elsewhere.")
    gateway_url: str | None = Field(default=None, description="Address of the gateway part when it runs elsewhere.")
    retrieval_url: str | None = Field(default=None, description="Address of the retrieval part when it runs elsewhere.")
    memory_url: str | None = Field(default=None, description="Address of the memory part when it runs elsewhere.")
    chat_url: str | None = Field(default=None, description="Address of the chat part when it runs elsewhere.")
    journal: Path | None = Field(
        default=None,
        description="Folder of the usage journals, which survive this process; `journal` in the home by default.",
    )
    journal_sync: Literal["none", "interval", "always"] = Field(
        default="interval",
        description="What a journal keeps when the machine goes down: no promise, all but a second, everything.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis for shared limits and budget leases; each process keeps its own limits without it.",
    )
    redis_host: str | None = Field(
        default=None,
        description="The server of Redis, instead of `redis_url`: its parts, as AWS hands them out. By TLS.",
    )
    redis_port: int = Field(default=6379, ge=1, le=65535, description="The port of `redis_host`.")
    redis_token: SecretStr | None = Field(default=None, description="The token that `redis_host` asks for.")
    drain_timeout_s: float = Field(default=20.0, gt=0, description="How long requests may finish after SIGTERM.")
    ingestion_workers: int = Field(
        default=20, ge=0, le=64, description="Documents this process ingests at a time, three quarters for one tenant."
    )
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="Least level that is logged."
    )
    otlp_endpoint: str | None = Field(
        default=None, description="OTLP/HTTP address for traces; `OTEL_EXPORTER_OTLP_ENDPOINT` does the same."
    )

    @classmethod
    def from_environment(
        cls, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Settings from `SLIPWAY_*` with `overrides` (the command line) on top.

        Raises Misconfigured naming every variable that is unknown or wrong.
        """
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {
            name.removeprefix(_PREFIX).lower(): text
            for name, text in source.items()
            if name.startswith(_PREFIX) and text
        }
        if "OTEL_EXPORTER_OTLP_ENDPOINT" in source:
            values.setdefault("otlp_endpoint", source["OTEL_EXPORTER_OTLP_ENDPOINT"])
        values.pop("api_key", None)  # the command line's credential, not a server's setting
        values.pop("url", None)
        values.update({name: value for name, value in (overrides or {}).items() if value is not None})
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(
                f"{_PREFIX}{'_'.join(str(part) for part in item['loc']).upper()}: "
                f"{'there is no such setting' if item['type'] == 'extra_forbidden' else item['msg']}"
                for item in error.errors()
            )
            raise Misconfigured(f"The environment is not right: {problems}. See docs/settings.md.") from error

    def redis_address(self) -> str | None:
        """Redis's URL, credentials included: as it stands, or put together from its parts."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        if self.redis_host is None:
            return None
        token = "" if self.redis_token is None else f":{quote(self.redis_token.get_secret_value(), safe='')}@"
        return f"rediss://{token}{self.redis_host}:{self.redis_port}"

    def peer_url(self, part: str) -> str | None:
        """The address of a part that runs in another process, when one is set."""
        value: str | None = getattr(self, f"{part}_url", None)
        return value


def client_settings(environ: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """The command line's own `SLIPWAY_URL` and `SLIPWAY_API_KEY`, when set."""
    source = os.environ if environ is None else environ
    return source.get(f"{_PREFIX}URL") or None, source.get(f"{_PREFIX}API_KEY") or None


def secret_from_environment(variable: str, environ: Mapping[str, str] | None = None) -> str | None:
    """A secret that the manifest names by its variable, such as a provider's key."""
    return (os.environ if environ is None else environ).get(variable) or None


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where the command line keeps what it can find out again: `slipway` in `XDG_CACHE_HOME`, which is `~/.cache`.

    Source: the XDG Base Directory Specification, by which a relative path there counts as none.
    """
    chosen = Path((os.environ if environ is None else environ).get("XDG_CACHE_HOME", ""))
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "slipway"
