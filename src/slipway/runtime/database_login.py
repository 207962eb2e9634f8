"""How a process signs in to its database: addresses from settings, and a fresh token for each connection on AWS.

On AWS the parts of the platform have no password: they sign in as their task's role (`SLIPWAY_DATABASE_AUTH=iam`), as a
login without rights of its own that the one part with the owner's login has admitted. Called by `app`.
Source of the token: Amazon RDS, "IAM database authentication"; it is good for 15 minutes, and a connection made with it
lives on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from urllib.parse import quote

import psycopg
from psycopg import sql

from slipway.base.errors import Misconfigured, Unavailable
from slipway.runtime.settings import Settings

DatabaseAddress = str | Callable[[], Awaitable[str]]
_AWS_ROLE: Final = "rds_iam"  # who has it signs in with a token, and no longer with a password
_TLS: Final = "sslmode=require"


def app_address(settings: Settings) -> DatabaseAddress | None:
    """The address of this process's login, None without a database of its own; raises Misconfigured for half of one."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if settings.database_host is None:
        return None
    user = settings.database_user
    if user is None:
        raise Misconfigured("SLIPWAY_DATABASE_HOST is set without SLIPWAY_DATABASE_USER: who signs in?")
    if settings.database_auth == "iam":
        return _by_token(settings, user)
    password = settings.database_password
    if password is None:
        raise Misconfigured("SLIPWAY_DATABASE_PASSWORD is missing; with SLIPWAY_DATABASE_AUTH=iam there is none.")
    return _url(settings, user, password.get_secret_value())


def owner_url(settings: Settings) -> str | None:
    """The address of the login that owns the tables; None when this process has none."""
    if settings.database_url is not None:
        return (settings.database_owner_url or settings.database_url).get_secret_value()
    user, password = settings.database_owner_user, settings.database_owner_password
    if settings.database_host is None or user is None or password is None:
        return None
    return _url(settings, user, password.get_secret_value())


def admit(owner: str, login: str) -> None:
    """Lets `login` work as the application, and makes it when it is missing: without a password, since on AWS it signs
    in with tokens. Raises Unavailable when the server does not answer."""
    try:
        with psycopg.connect(owner, connect_timeout=10) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('slipway login'))")
            known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
            name = sql.Identifier(login)
            if login not in known:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
                if _AWS_ROLE in known:
                    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(_AWS_ROLE), name))
            connection.execute(sql.SQL("GRANT slipway_app TO {}").format(name))
            connection.execute(sql.SQL("GRANT SELECT ON alembic_version TO slipway_app"))
    except psycopg.OperationalError as error:
        raise Unavailable("The database does not answer, so nobody could be admitted.", detail=str(error)) from error


async def address_url(address: DatabaseAddress) -> str:
    """The address as a URL that is good now."""
    return address if isinstance(address, str) else await address()


def _by_token(settings: Settings, user: str) -> Callable[[], Awaitable[str]]:
    import boto3

    session = boto3.session.Session()
    if session.region_name is None:
        raise Misconfigured("SLIPWAY_DATABASE_AUTH=iam needs a region: set AWS_DEFAULT_REGION.")
    client = session.client("rds")

    def token() -> str:
        made: Any = client.generate_db_auth_token(
            DBHostname=settings.database_host, Port=settings.database_port, DBUsername=user
        )
        return cast("str", made)

    async def address() -> str:
        return _url(settings, user, await asyncio.to_thread(token))  # it may ask the task's endpoint for credentials

    return address


def _url(settings: Settings, user: str, password: str) -> str:
    where = f"{settings.database_host}:{settings.database_port}/{quote(settings.database_name, safe='')}"
    return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{where}?{_TLS}"
