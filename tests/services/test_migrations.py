"""Migrations: ten processes at once, one that fails, a database newer than the code, one login for everything."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from psycopg import sql

from slipway.base.callers import Caller
from slipway.base.errors import Misconfigured
from slipway.base.ids import new_id
from slipway.runtime import migrations
from slipway.runtime.database import Database
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedAddresses, EmbeddedPostgres
from tests.platforms import SLIPWAY, clean_environment, platform, run_slipway

VERSIONS = Path(migrations.__file__).parent / "versions"
CHAIN = sorted(path.name[:4] for path in VERSIONS.glob("0*.py"))


@dataclass(frozen=True)
class Server:
    """A PostgreSQL of these tests alone: its roles are every database's, so they must not meet others' tests."""

    addresses: EmbeddedAddresses
    home: Path

    def superuser(self, database: str = "slipway") -> psycopg.Connection:
        password = json.loads((self.home / "postgres" / "passwords.json").read_text())["superuser"]
        return psycopg.connect(self.url("postgres", password, database), autocommit=True)

    def url(self, user: str, password: str, database: str) -> str:
        return (
            f"postgresql://{user}:{quote(password, safe='')}@/{database}?{self.addresses.owner_url.partition('?')[2]}"
        )

    def named(self, database: str) -> EmbeddedAddresses:
        """The addresses of another database of this server."""
        app, owner = (
            re.sub(r"@/\w+\?", f"@/{database}?", url) for url in (self.addresses.app_url, self.addresses.owner_url)
        )
        return EmbeddedAddresses(app_url=app, owner_url=owner)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("migrations")
    embedded = EmbeddedPostgres(home)
    try:
        yield Server(embedded.start(), home)
    finally:
        embedded.stop()


@pytest.fixture
def fresh(server: Server) -> Iterator[EmbeddedAddresses]:
    """An empty database, the owner's."""
    name = new_id("db")
    with server.superuser() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER slipway_owner").format(sql.Identifier(name)))
    with server.superuser(name) as connection:
        connection.execute("CREATE EXTENSION vector")
    yield server.named(name)
    with server.superuser() as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def schema(url: str) -> list[tuple]:
    """Every table with its columns, and the revision."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2"
        ).fetchall()
        if not columns:
            return []
        return columns + connection.execute("SELECT version_num FROM alembic_version").fetchall()


def test_ten_processes_at_once_make_the_schema_once(fresh: EmbeddedAddresses, tmp_path: Path):
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [SLIPWAY, "migrate"],
                    cwd=tmp_path,
                    env=clean_environment(SLIPWAY_DATABASE_URL=fresh.owner_url),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(10)
        ]
        ended = [(*process.communicate(timeout=120), process.returncode) for process in processes]
    assert [(errors, code) for _, errors, code in ended] == [("", 0)] * 10
    said = sorted(output for output, _, _ in ended)
    assert said == [f"Applied {', '.join(CHAIN)}.\n"] + ["Nothing to apply: the schema is current.\n"] * 9
    assert schema(fresh.owner_url)[-1] == (CHAIN[-1],)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ('op.execute("CREATE TABLE half (id int)"); op.execute("SELECT no_such_function()")', "no_such_function"),
        ('op.execute("CREATE TABLE half (id int)"); raise ValueError("not today")', "not today"),
    ],
)
def test_a_migration_that_fails_leaves_the_old_schema_and_stops_the_start(
    fresh: EmbeddedAddresses, tmp_path: Path, statement: str, sentence: str
):
    migrate(fresh.owner_url)
    before = schema(fresh.owner_url)
    # The package again, with one revision more: what a release with a broken migration is.
    source = tmp_path / "source"
    package = source / "slipway"
    shutil.copytree(VERSIONS.parents[2], package, ignore=shutil.ignore_patterns("__pycache__"))
    broken = package / "runtime" / "migrations" / "versions" / "0099_broken.py"
    broken.write_text(
        f'from alembic import op\nrevision = "0099"\ndown_revision = "{CHAIN[-1]}"\n'
        f"branch_labels = depends_on = None\n\n\ndef upgrade():\n    {statement}\n"
    )
    variables = {
        "PYTHONPATH": str(source),
        "SLIPWAY_DATABASE_URL": fresh.app_url,
        "SLIPWAY_DATABASE_OWNER_URL": fresh.owner_url,
    }
    for arguments in (["migrate"], ["up", "--port", "0", "--json"]):
        ended = run_slipway(*arguments, cwd=tmp_path, **variables)
        assert (ended.returncode, ended.stdout) == (1, "")
        said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
        assert said[0].startswith("slipway: A database migration failed and nothing was changed: ")
        assert sentence in said[0]
        assert schema(fresh.owner_url) == before


def test_a_database_newer_than_the_code_is_refused(fresh: EmbeddedAddresses):
    migrate(fresh.owner_url)
    with psycopg.connect(fresh.owner_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    before = schema(fresh.owner_url)
    with pytest.raises(Misconfigured, match=f"schema is 0999, and this version knows {CHAIN[-1]} at most"):
        migrate(fresh.owner_url)
    assert schema(fresh.owner_url) == before


def test_a_chain_has_no_forks_and_goes_on_from_any_point(fresh: EmbeddedAddresses):
    assert migrate(fresh.owner_url, target=CHAIN[0]) == CHAIN[:1]
    assert migrate(fresh.owner_url, target=CHAIN[2]) == CHAIN[1:3]
    assert migrate(fresh.owner_url) == CHAIN[3:]
    assert migrate(fresh.owner_url) == []


def test_revisions_keep_to_what_postgresql_15_understands():
    """The suite has the embedded version only. On 2026-11-21 a PostgreSQL 15.18 refused STORAGE in CREATE TABLE."""
    newer = re.compile(r"(?<!SET )\bSTORAGE\b|\bANY_VALUE\b|\bWITHOUT OVERLAPS\b|\bVIRTUAL\b|\bMAINTAIN\b")
    found = {path.name: newer.findall(re.sub(r"#.*", "", path.read_text())) for path in VERSIONS.glob("*.py")}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.fixture
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database as a hosting company hands it out: one login, which may make roles, and nothing else there."""
    home = tmp_path_factory.mktemp("single")
    embedded = EmbeddedPostgres(home)
    try:
        server = Server(embedded.start(), home)
        with server.superuser("postgres") as connection:
            connection.execute("DROP DATABASE slipway")
            connection.execute("DROP ROLE slipway_app")
            connection.execute("CREATE ROLE customer LOGIN CREATEROLE NOSUPERUSER PASSWORD 'of-the-customer'")
            connection.execute("CREATE DATABASE customer OWNER customer")
        with server.superuser("customer") as connection:
            connection.execute("CREATE EXTENSION vector")
        yield server.url("customer", "of-the-customer", "customer")
    finally:
        embedded.stop()


@pytest.mark.anyio
async def test_one_login_migrates_and_serves_and_row_level_security_holds_for_it(single: str, tmp_path: Path):
    with platform(tmp_path / "home", settings={"SLIPWAY_DATABASE_URL": single}) as running:
        assert not (tmp_path / "home" / "postgres").exists(), "no other PostgreSQL is started"
        with httpx.Client(base_url=running.url, headers=running.headers(), timeout=60) as client:
            created = client.post("/v1/sessions", json={"title": "mine"})
            assert created.status_code == 201, created.text
            assert client.get("/ready").status_code == 200
    with psycopg.connect(single) as connection:
        rights = connection.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert rights.fetchone() == (False, False)
        rows = connection.execute("SELECT count(*) FROM session").fetchone()
        assert rows == (0,), "FORCE: not even the owner of the tables sees a tenant's rows"
    database = await Database.open(single, max_connections=2)
    try:
        stranger = Caller(tenant_id=new_id("ten"), subject="usr_1", scopes=frozenset())
        async with database.transaction(stranger) as connection:
            row = await (await connection.execute("SELECT count(*) AS n, current_user::text FROM session")).fetchone()
            assert row == {"n": 0, "current_user": "slipway_app"}
    finally:
        await database.close()


def test_migrate_on_a_home_and_beside_a_running_platform(tmp_path: Path):
    home = tmp_path / "home"
    absent = run_slipway("migrate", "--home", home, cwd=tmp_path)
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "`slipway up` makes one" in absent.stderr
    with platform(home) as running:
        pid = EmbeddedPostgres(home).pid
        beside = run_slipway("migrate", "--home", home, cwd=tmp_path)
        assert (beside.returncode, beside.stdout) == (0, "Nothing to apply: the schema is current.\n"), beside.stderr
        assert EmbeddedPostgres(home).pid == pid
        assert httpx.get(f"{running.url}/ready").status_code == 200
    after = run_slipway("migrate", "--home", home, cwd=tmp_path)
    assert (after.returncode, after.stdout) == (0, "Nothing to apply: the schema is current.\n"), after.stderr
    assert EmbeddedPostgres(home).pid is None, "what it started it ends"
