"""The embedded server of one home: start, adopt, watch, stop.

The postmaster outlives this process on purpose. If the process is killed, the next `start` on the same home
finds the living server and goes on with it, and `stop` of any later object ends it. It never ends a process
that it cannot prove to be the server of this home.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg

from slipway.base.errors import Misconfigured, StorageFull, Unavailable
from slipway.runtime.postgres.cluster import SUPERUSER, Cluster, Passwords, disk_error, text_error
from slipway.runtime.postgres.identity import ServerUser, launch_as, server_user_new, server_user_of
from slipway.runtime.postgres.installation import Installation, installation_find
from slipway.runtime.postgres.parameters import PORT, parameters
from slipway.runtime.postgres.processes import ServerProcesses, postmaster_file, send
from slipway.runtime.postgres.roles import APP, DATABASE, OWNER, extension_ensure, roles_ensure

# Replaying the 512 MB of max_wal_size after a crash takes some seconds on a solid state disk; the rest is
# patience.
_READY_DEADLINE_S = 120.0
_READY_POLL_S = 0.02
_FAST_S, _IMMEDIATE_S, _KILLED_S = 15.0, 5.0, 5.0  # arbitrary: how long each way to stop may take
_REST_GRACE_S = 1.0  # a child of a killed postmaster notices it within milliseconds unless it is busy
_LOCK_WAIT_S = _READY_DEADLINE_S + 30


# What the server says when a killed predecessor is not all gone yet; it is, a moment later.
_NOT_ALL_GONE = ("pre-existing shared memory block", "lock file")
_NOT_ALL_GONE_TRIES = 20


class _Postmaster(subprocess.Popen[bytes]):
    """A child that may outlive its object and this process, so that dropping it is nothing to warn about."""

    def __del__(self) -> None:
        return


@dataclass(frozen=True)
class EmbeddedAddresses:
    """Connection URLs of the two roles; they carry passwords, so they are neither printed nor logged."""

    app_url: str = field(repr=False)
    owner_url: str = field(repr=False)


class EmbeddedPostgres:
    """One PostgreSQL server for one home folder. Safe to use from several threads and processes."""

    def __init__(self, home: Path) -> None:
        self._cluster = Cluster(home)
        self._turn = threading.Lock()
        self._child: _Postmaster | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the living postmaster of this home, whoever started it."""
        self._child_reap()
        processes = self._processes()
        return processes.postmaster() if processes is not None else None

    def alive(self) -> bool:
        """Whether the postmaster of this home runs; it may still be recovering."""
        return self.pid is not None

    def start(self) -> EmbeddedAddresses:
        """Start or adopt the server, with its roles and database in place. Blocks until it answers.

        Misconfigured: home, programs, user or passwords do not allow a start. StorageFull. Unavailable: it
        does not come up, or another process keeps the home locked.
        """
        installation = installation_find()
        self._cluster.prepare()
        with self._turn, self._cluster.locked(_LOCK_WAIT_S):
            self._cluster.leftovers_remove()
            passwords = self._cluster.passwords()
            if not self._cluster.exists():
                self._cluster.create(installation, server_user_new(self._cluster.data), passwords)
            self._cluster.version_check()
            user = server_user_of(self._cluster.data)
            self._cluster.hand_over(user)
            socket = self._cluster.socket_prepare(user)
            if not self._adopt(user, socket, passwords):
                self._launch_until_alone(installation, user, socket, passwords)
            return EmbeddedAddresses(
                app_url=_url(APP, passwords.app, socket), owner_url=_url(OWNER, passwords.owner, socket)
            )

    def stop(self) -> None:
        """End the server of this home, whoever started it, and wait until it is gone."""
        if not self._cluster.root.is_dir():
            return
        with self._turn, self._cluster.locked(_LOCK_WAIT_S):
            processes = self._processes()
            if processes is not None:
                self._end(processes)
            self._cluster.socket_remove()

    def _processes(self) -> ServerProcesses | None:
        """The processes of this home's server, None when there is no cluster yet."""
        try:
            return ServerProcesses(self._cluster.data, self._cluster.data.stat().st_uid)
        except OSError:
            return None

    def _child_reap(self) -> None:
        child = self._child
        if child is not None and child.poll() is not None and self._child is child:
            self._child = None

    def _adopt(self, user: ServerUser, socket: Path, passwords: Passwords) -> bool:
        """Go on with a living server of this home; False when none answers on its socket."""
        processes = ServerProcesses(self._cluster.data, user.uid)
        pid = processes.postmaster()
        if pid is None:
            return False
        if (socket / f".s.PGSQL.{PORT}").exists() or postmaster_file(self._cluster.data)[1] == "starting":
            try:
                self._ready(lambda: processes.is_postmaster(pid), pid, socket, passwords)
            except Unavailable:
                # It died or hangs: as good as none. A wrong password or a full disk is raised.
                pass
            else:
                return True
        self._end(processes)
        return False

    def _launch_until_alone(
        self, installation: Installation, user: ServerUser, socket: Path, passwords: Passwords
    ) -> None:
        """Launch; again while something of a killed predecessor is in the way."""
        for left in reversed(range(_NOT_ALL_GONE_TRIES)):
            try:
                self._launch(installation, user, socket, passwords)
            except Unavailable as error:
                if not left or not any(reason in error.detail for reason in _NOT_ALL_GONE):
                    raise
            else:
                return
            time.sleep(_READY_POLL_S * 5)

    def _launch(self, installation: Installation, user: ServerUser, socket: Path, passwords: Passwords) -> None:
        processes = ServerProcesses(self._cluster.data, user.uid)
        if self._child is not None:  # nothing was adopted, so it is dead or dying
            self._end(processes)
        processes.rest_end(_REST_GRACE_S)
        processes.stale_file_remove()
        (socket / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        self._cluster.log_prepare(user)
        arguments = [str(installation.postgres), "-D", str(self._cluster.data)]
        arguments += parameters(socket=socket, log=self._cluster.log, cluster_name=processes.cluster_name)
        launch = launch_as(user, arguments, installation, [self._cluster.data, socket])
        try:
            # Until its own log is open, and for setpriv, what is printed goes here.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            output = os.open(self._cluster.log / "start.log", flags, 0o600)
            try:
                child = _Postmaster(
                    launch.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._cluster.data,
                    start_new_session=True,  # Ctrl-C in the terminal ends Slipway, which then ends the server
                    **launch.keywords,
                )
            finally:
                os.close(output)
        except OSError as error:
            raise disk_error(error, "The embedded PostgreSQL could not be started") from error
        self._child = child
        try:
            self._ready(lambda: child.poll() is None, child.pid, socket, passwords)
        except BaseException:
            self._end(processes)
            raise

    def _ready(self, living: Callable[[], bool], pid: int, socket: Path, passwords: Passwords) -> None:
        """Wait until the server `pid` answers, and complete its roles, database and extension."""
        logged = self._cluster.log_sizes()
        deadline = time.monotonic() + _READY_DEADLINE_S
        while time.monotonic() < deadline:
            if not living():
                tail = self._cluster.log_since(logged)
                if isinstance(full := text_error(tail, "The embedded PostgreSQL cannot start"), StorageFull):
                    raise full
                raise Unavailable(
                    f"The embedded PostgreSQL ended while it started. Its log is in {self._cluster.log}.",
                    detail=tail,
                )
            # Asking the file first keeps "the database system is starting up" out of the log.
            if postmaster_file(self._cluster.data) == (pid, "ready") and _complete(socket, passwords):
                return
            time.sleep(_READY_POLL_S)
        raise Unavailable(
            f"The embedded PostgreSQL did not answer within {_READY_DEADLINE_S:.0f} s. Its log is in "
            f"{self._cluster.log}.",
            detail=self._cluster.log_since(logged),
        )

    def _end(self, processes: ServerProcesses) -> None:
        """Fast shutdown, then immediate, then kill; then whatever a dead postmaster has left."""
        child = self._child
        pid = child.pid if child is not None and child.poll() is None else processes.postmaster()
        for number, wait_s in (
            (signal.SIGINT, _FAST_S),
            (signal.SIGQUIT, _IMMEDIATE_S),
            (signal.SIGKILL, _KILLED_S),
        ):
            if pid is None or not self._runs(processes, pid):
                break
            send(pid, number)
            deadline = time.monotonic() + wait_s
            while self._runs(processes, pid) and time.monotonic() < deadline:
                time.sleep(_READY_POLL_S)
        self._child_reap()
        processes.rest_end(_REST_GRACE_S)

    def _runs(self, processes: ServerProcesses, pid: int) -> bool:
        child = self._child  # another thread may reap it meanwhile
        if child is not None and child.pid == pid:
            return child.poll() is None
        return processes.is_postmaster(pid)


def _complete(socket: Path, passwords: Passwords) -> bool:
    """Ensure roles, database and extension; False when the server does not take connections just now."""
    try:
        with contextlib.closing(_connect(socket, passwords, "postgres")) as connection:
            roles_ensure(connection, passwords)
        with contextlib.closing(_connect(socket, passwords, DATABASE)) as connection:
            extension_ensure(connection)
    except psycopg.errors.DiskFull as error:
        raise StorageFull("The database cannot start: no room is left on the device.", detail=str(error)) from error
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise Misconfigured(
                "The passwords in passwords.json are not those of the database beside it. Restore both from "
                "the same backup.",
                detail=str(error),
            ) from error
        return False
    except psycopg.Error as error:
        raise Unavailable("The roles of the embedded PostgreSQL could not be set up.", detail=str(error)) from error
    return True


def _connect(socket: Path, passwords: Passwords, database: str) -> psycopg.Connection:
    return psycopg.connect(
        host=str(socket),
        port=PORT,
        user=SUPERUSER,
        password=passwords.superuser,
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    )


def _url(role: str, password: str, socket: Path) -> str:
    return f"postgresql://{role}:{quote(password, safe='')}@/{DATABASE}?host={quote(str(socket))}&port={PORT}"
