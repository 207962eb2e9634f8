"""What a cluster has before the migrations: two login roles, the database `slipway`, the extension `vector`.

Called at each start and made to be repeated: a crash in the middle, or a wheel with a newer extension, is
made good by the next start. Schemas, tables and the role `slipway_platform` belong to the migrations.
"""

import psycopg
from psycopg import sql
from psycopg.abc import Query

from slipway.runtime.postgres.cluster import Passwords

DATABASE = "slipway"
OWNER = "slipway_owner"
APP = "slipway_app"
_LOGIN = "LOGIN NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS"


def roles_ensure(connection: psycopg.Connection, passwords: Passwords) -> None:
    """Create the roles and the database if they are missing, as the superuser, outside a transaction."""
    present = {
        name for (name,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [[OWNER, APP]])
    }
    # The owner creates `slipway_platform` in the migrations. The app inherits nothing: it has to take a role
    # on purpose.
    for role, rights, password in (
        (OWNER, f"{_LOGIN} CREATEROLE", passwords.owner),
        (APP, f"{_LOGIN} NOCREATEROLE NOINHERIT", passwords.app),
    ):
        if role not in present:
            connection.execute(_role_create(connection, role, rights, password))
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
        )


def extension_ensure(connection: psycopg.Connection) -> None:
    """Create `vector` in the connected database, or bring it to the version that the wheel carries."""
    row = connection.execute(
        "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'vector'"
    ).fetchone()
    installed, carried = row if row is not None else (None, None)
    if installed is None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    elif installed != carried:
        connection.execute("ALTER EXTENSION vector UPDATE")


def _role_create(connection: psycopg.Connection, role: str, rights: str, password: str) -> Query:
    # Hashed here, so that no statement ever carries a password in clear.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    return sql.SQL("CREATE ROLE {} {} PASSWORD {}").format(sql.Identifier(role), sql.SQL(rights), sql.Literal(verifier))
