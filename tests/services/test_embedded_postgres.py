"""The embedded PostgreSQL of one home: what a new cluster holds, and how it starts, is adopted and ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from slipway.base.errors import Misconfigured
from slipway.runtime.postgres import EmbeddedPostgres
from slipway.runtime.postgres.cluster import Cluster
from slipway.runtime.postgres.identity import server_user_new
from slipway.runtime.postgres.installation import installation_find
from slipway.runtime.postgres.processes import ServerProcesses

_START_AND_WAIT = """
import sys, time
from pathlib import Path
from slipway.runtime.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]))
print("starting", flush=True)
addresses = postgres.start()
print(postgres.pid, addresses.app_url, flush=True)
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose server is ended afterwards, whoever started it; its path is short enough to hold the socket."""
    folder = tmp_path_factory.mktemp("p") / ".slipway"
    yield folder
    EmbeddedPostgres(folder).stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, EmbeddedPostgres]]:
    """A server for the tests that only look."""
    folder = tmp_path_factory.mktemp("looked-at") / ".slipway"
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    yield folder, postgres
    postgres.stop()


def starter(home: Path) -> "subprocess.Popen[str]":
    """Another process that starts the server of `home` and stays."""
    return subprocess.Popen([sys.executable, "-c", _START_AND_WAIT, str(home)], stdout=subprocess.PIPE, text=True)


def lines_of(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout)


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def processes_of(home: Path) -> ServerProcesses:
    data = Cluster(home).data
    return ServerProcesses(data, data.stat().st_uid)


def test_the_roles_have_no_more_rights_than_they_need(running: tuple[Path, EmbeddedPostgres]) -> None:
    with psycopg.connect(running[1].start().owner_url) as owner:
        rows = owner.execute(
            "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolreplication, rolcreaterole,"
            " rolinherit FROM pg_roles WHERE rolname LIKE 'slipway%' ORDER BY rolname"
        ).fetchall()
        assert rows == [
            ("slipway_app", True, False, False, False, False, False, False),
            ("slipway_owner", True, False, False, False, False, True, True),
        ]
        whose = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'slipway'"
        assert owner.execute(whose).fetchone() == ("slipway_owner",)


def test_the_owner_prepares_the_platform_role_which_the_app_takes_on_purpose(home: Path) -> None:
    addresses = EmbeddedPostgres(home).start()
    with psycopg.connect(addresses.owner_url) as owner:
        owner.execute("CREATE ROLE slipway_platform NOLOGIN")
        owner.execute("GRANT slipway_platform TO slipway_app")
        owner.execute("CREATE TABLE note (id int)")
        owner.execute("GRANT SELECT ON note TO slipway_platform")
    with psycopg.connect(addresses.app_url, autocommit=True) as app:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("SELECT * FROM note")
        app.execute("SET ROLE slipway_platform")
        assert app.execute("SELECT * FROM note").fetchall() == []
    # A second start finds the role set up and changes nothing.
    assert EmbeddedPostgres(home).start() == addresses


def test_the_database_is_utf8_with_pgvector_and_our_parameters(running: tuple[Path, EmbeddedPostgres]) -> None:
    with psycopg.connect(running[1].start().app_url) as app:
        names = "server_encoding listen_addresses fsync synchronous_commit jit plan_cache_mode shared_buffers"
        values = [app.execute(f"SHOW {name}").fetchone() for name in names.split()]
        assert values == [("UTF8",), ("",), ("on",), ("on",), ("off",), ("force_custom_plan",), ("512MB",)]
        assert app.info.server_version // 10000 == 18
        version = app.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        assert version is not None and tuple(map(int, version[0].split("."))) >= (0, 8)
        assert app.execute("SELECT '[3,4]'::vector <-> '[0,0]'").fetchone() == (5.0,)
        assert app.execute("SELECT lower('ÀÉ'), 'a' > 'B'").fetchone() == ("àé", True)


def test_a_passwords_file_of_another_database_is_named(home: Path) -> None:
    EmbeddedPostgres(home).start()
    stored = home / "postgres" / "passwords.json"
    original = stored.read_text()
    stored.write_text(json.dumps(dict.fromkeys(json.loads(original), "wrong")))
    with pytest.raises(Misconfigured, match="same backup"):
        EmbeddedPostgres(home).start()
    stored.unlink()
    with pytest.raises(Misconfigured, match=r"passwords\.json is missing"):
        EmbeddedPostgres(home).start()


def test_a_cluster_of_another_major_version_is_refused_and_kept(home: Path) -> None:
    data = home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    (home / "postgres" / "passwords.json").write_text('{"superuser": "a", "owner": "b", "app": "c"}')
    with pytest.raises(Misconfigured, match="made by PostgreSQL 17"):
        EmbeddedPostgres(home).start()
    assert (data / "PG_VERSION").read_text() == "17\n"


def test_stop_leaves_no_process_and_the_next_start_has_the_data(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    assert postgres.pid is None and not postgres.alive()
    postgres.stop()  # nothing there yet
    assert not home.exists()
    addresses = postgres.start()
    assert postgres.alive()
    with psycopg.connect(addresses.owner_url) as owner:
        owner.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert len(processes_of(home).rest()) > 3
    lingering = psycopg.connect(addresses.app_url)  # a client that does not hang up must not hold the stop
    postgres.stop()
    assert processes_of(home).rest() == []
    assert postgres.pid is None and not postgres.alive()
    lingering.close()
    assert EmbeddedPostgres(home).start() == addresses
    with psycopg.connect(addresses.owner_url) as owner:
        assert owner.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_two_processes_starting_at_once_share_one_server(home: Path) -> None:
    starters = [starter(home) for _ in range(2)]
    try:
        told = [[next(lines_of(process)) for _ in range(2)][1] for process in starters]
        assert told[0] == told[1]
        assert int(told[0].split()[0]) == EmbeddedPostgres(home).pid
        assert list((home / "postgres").glob("new-*")) == []
    finally:
        for process in starters:
            end(process)


def test_a_server_whose_parent_was_killed_is_adopted(home: Path) -> None:
    parent = starter(home)
    try:
        lines = lines_of(parent)
        assert next(lines) == "starting\n"
        pid, url = next(lines).split()
    finally:
        end(parent)
    postgres = EmbeddedPostgres(home)
    assert postgres.alive() and postgres.pid == int(pid)
    assert postgres.start().app_url == url
    assert postgres.pid == int(pid)
    EmbeddedPostgres(home).stop()  # any later object may end it
    assert not postgres.alive() and processes_of(home).rest() == []


def test_a_start_killed_inside_initdb_leaves_no_half_cluster(home: Path) -> None:
    parent = starter(home)
    try:
        assert next(lines_of(parent)) == "starting\n"
        while not list((home / "postgres").glob("new-*/data/base")):
            assert parent.poll() is None
    finally:
        end(parent)
    assert not (home / "postgres" / "data").exists()
    with psycopg.connect(EmbeddedPostgres(home).start().app_url) as app:
        assert app.execute("SELECT 1").fetchone() == (1,)
    EmbeddedPostgres(home).stop()
    EmbeddedPostgres(home).start()
    assert list((home / "postgres").glob("new-*")) == []


def test_a_start_killed_before_the_roles_exist_is_completed(home: Path) -> None:
    cluster = Cluster(home)
    cluster.prepare()
    cluster.create(installation_find(), server_user_new(cluster.data), cluster.passwords())
    with psycopg.connect(EmbeddedPostgres(home).start().app_url) as app:
        assert app.execute("SELECT '[1]'::vector").fetchone() == ("[1]",)


@pytest.mark.parametrize("name", ["x" * 120, "with, comma and 'quotes' \" %41 ü"], ids=["long", "odd"])
def test_a_home_that_no_socket_path_can_hold(tmp_path: Path, name: str) -> None:
    home = tmp_path / name / ".slipway"
    postgres = EmbeddedPostgres(home)
    addresses = postgres.start()
    try:
        socket = Path(str(conninfo_to_dict(addresses.app_url)["host"]))
        assert socket.is_relative_to(tempfile.gettempdir())
        assert socket.stat().st_mode & 0o777 == 0o700
        with psycopg.connect(addresses.app_url) as app:
            assert app.execute("SELECT 1").fetchone() == (1,)
        assert EmbeddedPostgres(home).start() == addresses
    finally:
        postgres.stop()
    assert not socket.exists()


def test_a_pid_file_whose_number_belongs_to_another_program_does_not_stop_a_start(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    postgres.start()
    data = home / "postgres" / "data"
    left = (data / "postmaster.pid").read_text().splitlines()
    postgres.stop()
    owner = data.stat().st_uid
    switched = {"user": owner, "group": owner, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **switched) as stranger:
        try:
            (data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *left[1:]]) + "\n")
            assert not postgres.alive()
            postgres.start()
            assert postgres.pid not in (None, stranger.pid)
            postgres.stop()
            assert stranger.poll() is None
        finally:
            stranger.send_signal(signal.SIGKILL)
