"""Who may reach the embedded PostgreSQL, as whom it runs, and what it leaves alone: everything outside its home."""

import os
import pickle
import pwd
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from slipway.base.errors import Misconfigured
from slipway.runtime.postgres import EmbeddedPostgres, identity, server
from slipway.runtime.postgres.installation import Installation, installation_find

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another local user")

_DAEMON = pwd.getpwnam("daemon").pw_uid
_T = TypeVar("_T")


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose server is ended afterwards, whoever started it, below a 0700 folder of pytest's.

    Its path is short enough to hold the socket.
    """
    folder = tmp_path_factory.mktemp("i") / ".slipway"
    yield folder
    EmbeddedPostgres(folder).stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every local user may enter, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="open-"))
    folder.chmod(0o755)
    yield folder
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


def run_as(uid: int, action: Callable[[], _T]) -> _T:
    """The result of `action` in a process of another local user; what it raises is raised here."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads; here is one thread
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                result = (True, action())
            except Exception as error:
                result = (False, f"{type(error).__name__}: {error}")
            with os.fdopen(writer, "wb") as stream:
                pickle.dump(result, stream)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        fine, value = pickle.load(stream)
    os.waitpid(child, 0)
    if not fine:
        raise AssertionError(value)
    return value


def refusal(uid: int, conninfo: str) -> str:
    """What `uid` is told when it tries to connect; empty when it is let in."""

    def connect() -> str:
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError as error:
            return str(error)
        return ""

    return run_as(uid, connect)


def states(paths: list[Path]) -> dict[Path, tuple[int, int, int]]:
    return {path: (path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in paths}


def capabilities(pid: int) -> set[str]:
    status = Path(f"/proc/{pid}/status").read_text()
    lines = [line.split() for line in status.splitlines()]
    held = int(next(line[1] for line in lines if line[0] == "CapEff:"), 16)
    return {name for name, bit in identity._CAPABILITY_BITS.items() if held >> bit & 1} | (
        {"more"} if held & ~sum(1 << bit for bit in identity._CAPABILITY_BITS.values()) else set()
    )


def copied(installation: Installation, folder: Path) -> Installation:
    """The programs in a place that every user may enter, with the libraries that they look for beside it."""
    package = installation.root.parent
    for part in ("bin/initdb", "bin/postgres", "lib/postgresql", "share"):
        source, target = installation.root / part, folder / package.name / installation.root.name / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    libraries = f"{package.name}.libs"
    shutil.copytree(package.parent / libraries, folder / libraries)
    return Installation(folder / package.name / installation.root.name)


@as_root
def test_another_local_user_cannot_connect(open_folder: Path) -> None:
    addresses = EmbeddedPostgres(open_folder).start()
    parts = conninfo_to_dict(addresses.app_url)
    socket = Path(str(parts["host"]))
    assert socket.is_relative_to(open_folder) and socket.stat().st_mode & 0o777 == 0o700
    # Even with the right password: the folder of the socket is closed.
    for uid in (_DAEMON, pwd.getpwnam("nobody").pw_uid):
        assert "Permission denied" in refusal(uid, addresses.app_url)
    for secret in ("passwords.json", "data/PG_VERSION", "log/start.log"):
        with pytest.raises(AssertionError, match="PermissionError"):
            run_as(_DAEMON, (open_folder / "postgres" / secret).read_text)
    # If somebody opened folder and socket, the password would still be asked for, of every role and in every database.
    socket.chmod(0o755)
    (socket / f".s.PGSQL.{parts['port']}").chmod(0o777)
    for role in ("postgres", "slipway_owner", "slipway_app"):
        for database in ("slipway", "postgres", "template1"):
            without = make_conninfo(host=str(socket), port=parts["port"], user=role, dbname=database)
            assert "no password supplied" in refusal(_DAEMON, without)
            assert "password authentication failed" in refusal(_DAEMON, make_conninfo(without, password="guess"))
    assert refusal(_DAEMON, addresses.app_url) == ""  # the attempts above fail for the reason that they name


def test_every_rule_of_the_server_asks_for_a_scram_password(home: Path) -> None:
    EmbeddedPostgres(home).start()
    rules = (home / "postgres" / "data" / "pg_hba.conf").read_text().splitlines()
    methods = {rule.split()[-1] for rule in rules if rule.strip() and not rule.startswith("#")}
    assert methods == {"scram-sha-256"}
    stored = home / "postgres" / "passwords.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert list((home / "postgres").rglob("password")) == []  # the file that initdb read is gone


@as_root
def test_no_port_is_opened(home: Path) -> None:
    EmbeddedPostgres(home).start()
    owner = (home / "postgres" / "data").stat().st_uid  # nobody else's, so each of its sockets is the server's
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    assert tables and [row for row in rows if int(row[7]) == owner] == []


@as_root
def test_nothing_outside_the_home_changes(home: Path) -> None:
    installation = installation_find()
    outside = [*home.parents, *installation.root.parents, installation.root, *installation.samples]
    accounts = [Path("/etc/passwd"), Path("/etc/group"), Path("/etc/shadow")]
    home.mkdir(mode=0o700)
    before = states([*outside, *accounts, home]), [path.read_bytes() for path in accounts]
    temporary = set(Path(tempfile.gettempdir()).glob("slipway-*"))
    postgres = EmbeddedPostgres(home)
    postgres.start()
    postgres.stop()
    postgres.start()
    assert (states([*outside, *accounts, home]), [path.read_bytes() for path in accounts]) == before
    assert set(Path(tempfile.gettempdir()).glob("slipway-*")) <= temporary
    assert {path.name for path in home.iterdir()} == {"postgres"}


@as_root
def test_below_a_closed_folder_root_runs_it_as_a_user_without_name_and_with_one_capability(home: Path) -> None:
    home.mkdir(mode=0o700)
    postgres = EmbeddedPostgres(home)
    postgres.start()
    owner = (home / "postgres" / "data").stat()
    assert owner.st_uid in identity._UIDS
    with pytest.raises(KeyError):
        pwd.getpwuid(owner.st_uid)
    pid = postgres.pid
    assert pid is not None
    assert Path(f"/proc/{pid}").stat().st_uid == owner.st_uid
    assert capabilities(pid) == {"dac_read_search"}


@as_root
def test_below_an_open_folder_it_gets_no_capability(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = copied(installation_find(), open_folder / "programs")
    monkeypatch.setattr(server, "installation_find", lambda: installation)
    postgres = EmbeddedPostgres(open_folder)
    postgres.start()
    assert postgres.pid is not None
    assert capabilities(postgres.pid) == set()


@as_root
def test_programs_below_a_closed_folder_still_run(
    open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = copied(installation_find(), tmp_path / "programs")
    monkeypatch.setattr(server, "installation_find", lambda: installation)
    postgres = EmbeddedPostgres(open_folder)
    with psycopg.connect(postgres.start().app_url) as app:
        assert app.execute("SELECT '[1]'::vector").fetchone() == ("[1]",)
    assert postgres.pid is not None
    assert capabilities(postgres.pid) == {"dac_read_search"}


@as_root
def test_programs_installed_for_root_alone_still_run(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = copied(installation_find(), open_folder / "programs")
    for path in (open_folder / "programs").rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)  # as pip leaves it under umask 077
    monkeypatch.setattr(server, "installation_find", lambda: installation)
    postgres = EmbeddedPostgres(open_folder)
    with psycopg.connect(postgres.start().app_url) as app:
        assert app.execute("SELECT '[1]'::vector").fetchone() == ("[1]",)
    assert postgres.pid is not None
    assert capabilities(postgres.pid) == {"dac_override"}


@as_root
def test_without_the_right_to_grant_it_the_error_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_capabilities_held", lambda: 0)
    with pytest.raises(Misconfigured, match="normal user"):
        EmbeddedPostgres(home).start()
    assert list((home / "postgres").glob("new-*")) == []
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(Misconfigured, match="setpriv"):
        EmbeddedPostgres(home).start()
    monkeypatch.undo()
    EmbeddedPostgres(home).start()


@as_root
def test_a_normal_user_runs_it_as_itself_and_root_goes_on_as_that_user(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = copied(installation_find(), open_folder / "programs")
    monkeypatch.setattr(server, "installation_find", lambda: installation)
    home = open_folder / "theirs" / ".slipway"
    home.parent.mkdir()
    os.chown(home.parent, _DAEMON, _DAEMON)

    def use() -> tuple[int, str]:
        postgres = EmbeddedPostgres(home)
        addresses = postgres.start()
        pid = postgres.pid
        with psycopg.connect(addresses.owner_url) as owner:
            owner.execute("CREATE TABLE theirs AS SELECT 1")
        postgres.stop()
        assert not postgres.alive()
        assert pid is not None
        return pid, addresses.owner_url

    _, url = run_as(_DAEMON, use)
    assert {path.stat().st_uid for path in [home, *home.rglob("*")]} == {_DAEMON}
    assert home.stat().st_mode & 0o777 == (home / "postgres").stat().st_mode & 0o777 == 0o700

    # The home of a user, started by root: it stays that user's.
    postgres = EmbeddedPostgres(home)
    try:
        assert postgres.start().owner_url == url
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == _DAEMON
        with psycopg.connect(url) as owner:
            assert owner.execute("SELECT count(*) FROM theirs").fetchone() == (1,)
    finally:
        postgres.stop()
    run_as(_DAEMON, lambda: EmbeddedPostgres(home).start().app_url and EmbeddedPostgres(home).stop())

    # The home of root, tried by a user: refused, with what to do.
    rooted = open_folder / "roots"
    EmbeddedPostgres(rooted).start()
    EmbeddedPostgres(rooted).stop()
    with pytest.raises(AssertionError, match=r"Misconfigured: .*Permission denied"):
        run_as(_DAEMON, EmbeddedPostgres(rooted).start)


@as_root
def test_a_user_without_a_name_is_told_what_is_missing(open_folder: Path) -> None:
    number = identity._UIDS[-1]
    home = open_folder / "theirs"
    home.mkdir()
    os.chown(home, number, number)
    with pytest.raises(AssertionError, match=f"Misconfigured: The user id {number} has no name"):
        run_as(number, EmbeddedPostgres(home).start)


@as_root
def test_a_home_that_root_has_copied_is_given_to_the_server(home: Path, tmp_path: Path) -> None:
    with psycopg.connect(EmbeddedPostgres(home).start().owner_url) as owner:
        owner.execute("CREATE TABLE copied AS SELECT 7 AS number")
    EmbeddedPostgres(home).stop()
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    assert (copy / "postgres" / "data").stat().st_uid == 0
    postgres = EmbeddedPostgres(copy)
    try:
        with psycopg.connect(postgres.start().owner_url) as owner:
            assert owner.execute("SELECT number FROM copied").fetchone() == (7,)
    finally:
        postgres.stop()
