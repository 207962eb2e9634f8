"""Signing in to the database on AWS: addresses from parts, tokens, who is admitted, and who waits for the schema."""

import json
import re
from urllib.parse import parse_qs, quote, unquote, urlsplit

import psycopg
import pytest

from slipway.base.errors import Misconfigured, Unavailable
from slipway.runtime.database import Database
from slipway.runtime.database_login import address_url, admit, app_address, owner_url
from slipway.runtime.migrations import migrate, require_current
from slipway.runtime.postgres import EmbeddedPostgres
from slipway.runtime.settings import Settings

pytestmark = pytest.mark.anyio
PARTS = {"SLIPWAY_DATABASE_HOST": "db.example", "SLIPWAY_DATABASE_USER": "slipway"}


def settings(**more: str) -> Settings:
    return Settings.from_environment(environ=PARTS | {f"SLIPWAY_{name.upper()}": value for name, value in more.items()})


async def test_a_password_goes_into_an_address_by_tls():
    address = app_address(settings(database_password="p@ss/word", database_port="5433"))
    assert address == "postgresql://slipway:p%40ss%2Fword@db.example:5433/slipway?sslmode=require"
    assert await address_url(address) == address


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({"SLIPWAY_DATABASE_HOST": "db.example"}, "SLIPWAY_DATABASE_USER"),
        (PARTS, "SLIPWAY_DATABASE_PASSWORD"),
    ],
)
def test_half_an_address_is_refused(environ: dict[str, str], missing: str):
    with pytest.raises(Misconfigured, match=missing):
        app_address(Settings.from_environment(environ=environ))


async def test_a_role_signs_in_with_a_token_of_its_own_for_each_connection(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    address = app_address(settings(database_auth="iam"))
    url = await address_url(address)
    token = unquote(urlsplit(url).password or "")
    assert token.startswith("db.example:5432/?")
    asked = parse_qs(token.partition("?")[2])
    assert (asked["Action"], asked["DBUser"]) == (["connect"], ["slipway"])
    assert "hush" not in url


def test_a_token_needs_a_region(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Misconfigured, match="AWS_DEFAULT_REGION"):
        app_address(settings(database_auth="iam"))


def test_the_owner_is_another_login_or_none():
    assert owner_url(settings(database_auth="iam")) is None
    owner = owner_url(settings(database_owner_user="owner", database_owner_password="p"))
    assert owner == "postgresql://owner:p@db.example:5432/slipway?sslmode=require"
    whole = Settings.from_environment(environ={"SLIPWAY_DATABASE_URL": "postgresql://u:p@h/d"})
    assert owner_url(whole) == "postgresql://u:p@h/d"


def test_a_login_is_made_admitted_and_told_to_use_tokens(tmp_path_factory: pytest.TempPathFactory):
    """By an owner that made the roles itself, as Aurora's does; the embedded server's finds them made."""
    home = tmp_path_factory.mktemp("aurora")
    server = EmbeddedPostgres(home)
    addresses = server.start()
    login = "slipway_task"
    try:
        migrate(addresses.owner_url)
        password = json.loads((home / "postgres" / "passwords.json").read_text())["superuser"]
        superuser = re.sub(r"//.*@", f"//postgres:{quote(password, safe='')}@", addresses.owner_url)
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("CREATE ROLE rds_iam NOLOGIN")
            connection.execute("GRANT slipway_app, rds_iam TO slipway_owner WITH ADMIN OPTION")
        admit(addresses.owner_url, login)
        admit(addresses.owner_url, login)
        with psycopg.connect(addresses.owner_url) as owner:
            rights = "SELECT rolcanlogin, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = %s"
            assert owner.execute(rights, (login,)).fetchone() == (True, False, False, False)
            member_of = "SELECT DISTINCT roleid::regrole::text FROM pg_auth_members WHERE member = %s::regrole"
            assert sorted(name for (name,) in owner.execute(member_of, (login,))) == ["rds_iam", "slipway_app"]
    finally:
        server.stop()


def test_who_may_not_migrate_waits_for_who_may(postgres):
    with psycopg.connect(postgres.owner_url, autocommit=True) as owner:
        owner.execute("GRANT SELECT ON alembic_version TO slipway_app")
        require_current(postgres.app_url)
        [(head,)] = owner.execute("SELECT version_num FROM alembic_version").fetchall()
        try:
            owner.execute("UPDATE alembic_version SET version_num = '0001'")
            with pytest.raises(Unavailable, match="older"):
                require_current(postgres.app_url)
            owner.execute("UPDATE alembic_version SET version_num = 'of-the-next-version'")
            require_current(postgres.app_url)
        finally:
            owner.execute("UPDATE alembic_version SET version_num = %s", (head,))
    with pytest.raises(Unavailable, match="no schema yet"):
        require_current("postgresql://u:p@127.0.0.1:1/none")


async def test_a_pool_asks_for_an_address_with_each_connection(postgres):
    asked = []

    async def address() -> str:
        asked.append(1)
        return postgres.app_url

    database = await Database.open(address, max_connections=2)
    try:
        await database.check()
    finally:
        await database.close()
    assert len(asked) >= 2
