"""Fixtures that every test may use: one real PostgreSQL for the whole run, migrated, and a tenant of one's own."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from slipway.base.callers import Caller, Scope
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedAddresses, EmbeddedPostgres
from tests.platforms import Platform
from tests.platforms import platform as start_platform


def pytest_sessionstart(session: pytest.Session) -> None:
    """A cache for this run alone; workers also have temporary files of their own: some tests look at all there are."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        folder = Path(tempfile.mkdtemp(prefix=f"{worker}-"))
        folder.chmod(0o755)  # PostgreSQL runs as another user when the tests run as root
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        session.config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    cache = tempfile.mkdtemp(prefix="slipway-cache-")
    os.environ["XDG_CACHE_HOME"] = cache
    session.config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAddresses]:
    """A migrated PostgreSQL of this test run. Tests that harm their server start one of their own."""
    home: Path = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(home)
    addresses = server.start()
    try:
        migrate(addresses.owner_url)
        yield addresses
    finally:
        server.stop()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One whole platform for the run, started as a user starts it. Tests that harm theirs start their own."""
    with start_platform(tmp_path_factory.mktemp("platform") / "home") as running:
        yield running


@pytest.fixture
def new_caller(postgres: EmbeddedAddresses):
    """Makes callers, each in a new tenant of its own unless `tenant_id` says which."""

    def make(*scopes: Scope, tenant_id: str | None = None) -> Caller:
        if tenant_id is None:
            tenant_id = new_id("ten")
            with psycopg.connect(postgres.app_url) as connection:
                connection.execute("SET LOCAL ROLE slipway_platform")
                connection.execute("INSERT INTO tenant (id, name) VALUES (%s, %s)", (tenant_id, f"Tenant {tenant_id}"))
        return Caller(tenant_id=tenant_id, subject=new_id("usr"), scopes=frozenset(scopes or Scope))

    return make


@pytest.fixture
def anyio_backend() -> str:
    """Async tests carry `@pytest.mark.anyio` (or a module's `pytestmark`) and run on asyncio."""
    return "asyncio"


@pytest.fixture
async def database(postgres: EmbeddedAddresses) -> AsyncIterator[Database]:
    """A pool on the run's PostgreSQL."""
    database = await Database.open(postgres.app_url, max_connections=5)
    try:
        yield database
    finally:
        await database.close()
