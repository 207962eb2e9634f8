"""The files of the embedded PostgreSQL in the home, and how a new cluster comes to be.

    home/postgres/data            the cluster, 0700, owned by the server's user
    home/postgres/log             the server's log, likewise
    home/postgres/socket          the unix socket, likewise; elsewhere when this path is too long for one
    home/postgres/socket-folder   where it is then
    home/postgres/passwords.json  0600, of the three login roles
    home/postgres/lock            held while somebody starts or stops this server
    home/postgres/new-*           a cluster that is not finished: thrown away by the next start

A cluster is made in `new-*` and renamed to `data` when it is complete and on disk, so that there is never
half a one.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from slipway.base.errors import Misconfigured, SlipwayError, StorageFull, Unavailable
from slipway.runtime.postgres.identity import ServerUser, initdb_user, launch_as
from slipway.runtime.postgres.installation import MAJOR_VERSION, Installation
from slipway.runtime.postgres.parameters import PORT

SUPERUSER = "postgres"
_INITDB_DEADLINE_S = 120.0  # arbitrary: it takes 0.5 s on a solid state disk
# sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero.
_SOCKET_PATH_BYTES = 103
_LOCK_POLL_S = 0.02


@dataclass(frozen=True)
class Passwords:
    """The generated passwords of the login roles."""

    superuser: str = field(repr=False)
    owner: str = field(repr=False)
    app: str = field(repr=False)


class Cluster:
    """The folder `postgres` of one home. Nothing is created before `prepare`."""

    def __init__(self, home: Path) -> None:
        # Resolved, since the server's command line, by which it is found again, has to be the same from
        # everywhere.
        self.root = home.resolve() / "postgres"
        self.data = self.root / "data"
        self.log = self.root / "log"
        self._socket_record = self.root / "socket-folder"
        self._passwords = self.root / "passwords.json"

    def exists(self) -> bool:
        return (self.data / "PG_VERSION").is_file()

    def prepare(self) -> None:
        """Create the folder, and the home with mode 0700 when it is new; an existing home keeps its mode."""
        try:
            self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.root.is_dir():
                self.root.mkdir(mode=0o700)
                # Root's server is another user: it may pass through here to its own folders, and list
                # nothing.
                self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        except OSError as error:
            raise disk_error(error, f"The folder {self.root} could not be made") from error

    @contextlib.contextmanager
    def locked(self, wait_s: float) -> Iterator[None]:
        """Hold the lock of this home against other processes and threads; Unavailable when it stays taken."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, f"The folder {self.root} cannot be used") from error
        try:
            deadline = time.monotonic() + wait_s
            while not _lock_taken(descriptor):
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Another process has been starting or stopping the database in {self.root} for "
                        f"{wait_s:.0f} s. End it and try again."
                    )
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def passwords(self) -> Passwords:
        """The passwords of this home, made when there is no cluster yet; Misconfigured when lost."""
        try:
            return Passwords(**json.loads(self._passwords.read_text()))
        except FileNotFoundError as error:
            if self.exists():
                raise Misconfigured(
                    f"{self._passwords} is missing, so the database beside it cannot be opened. Restore the "
                    "file from a backup of the home, or move the folder away to start with an empty database."
                ) from error
        except (OSError, ValueError, TypeError) as error:
            raise Misconfigured(
                f"{self._passwords} cannot be read. Restore it from a backup of the home.", detail=repr(error)
            ) from error
        made = Passwords(*(secrets.token_urlsafe(32) for _ in range(3)))
        _write_private(self._passwords, json.dumps(asdict(made), indent=2) + "\n")
        return made

    def create(self, installation: Installation, owner: ServerUser, passwords: Passwords) -> None:
        """Make a new cluster for `owner`: complete, synced, and only then in its place."""
        try:
            # 0700 and ours: no other process of the user that runs `initdb` gets in.
            staging = Path(tempfile.mkdtemp(prefix="new-", dir=self.root))
            try:
                self._initdb(installation, staging, passwords)
                _give(staging / "data", owner)
                (staging / "data").rename(self.data)
                _sync_folder(self.root)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        except OSError as error:
            raise disk_error(error, "The database could not be created") from error

    def hand_over(self, user: ServerUser) -> None:
        """Give the cluster to the server's user when root has copied the home and so owns it."""
        if self.data.stat().st_uid != user.uid:
            if self.log.is_dir():
                _give(self.log, user)
            _give(self.data, user)

    def leftovers_remove(self) -> None:
        """Throw away what an interrupted `create` left; what resists is left to the next start."""
        for leftover in self.root.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def version_check(self) -> None:
        """Misconfigured when the cluster is of another major version than the programs."""
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != MAJOR_VERSION:
            raise Misconfigured(
                f"The database in {self.data} was made by PostgreSQL {version}, and this Slipway brings "
                f"{MAJOR_VERSION}. Export it with the release that made it, move the folder away, and import "
                "it again."
            )

    def log_prepare(self, user: ServerUser) -> None:
        _own_folder(self.log, user)

    def socket_prepare(self, user: ServerUser) -> Path:
        """The folder of the socket, 0700 and owned by the server's user."""
        near = self.root / "socket"
        if _socket_fits(near):
            _own_folder(near, user)
            return near
        recorded = self._socket_recorded()
        if recorded is not None and _is_private(recorded, user):
            return recorded
        for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 (mkdtemp makes it ours, mode 0700)
            with contextlib.suppress(OSError):
                made = Path(tempfile.mkdtemp(prefix="slipway-", dir=parent))
                if _socket_fits(made):
                    _write_private(self._socket_record, f"{made}\n")
                    _own_folder(made, user)
                    return made
                made.rmdir()
        raise Misconfigured(
            f"The path {self.root} is too long for a unix socket, and no shorter temporary folder can be "
            "made. Choose a shorter home with --home."
        )

    def socket_remove(self) -> None:
        """Remove the socket's folder if it lies outside the home."""
        recorded = self._socket_recorded()
        if recorded is None:
            return
        with contextlib.suppress(OSError):
            if recorded.name.startswith("slipway-") and not recorded.is_symlink():
                for entry in recorded.glob(".s.PGSQL.*"):
                    entry.unlink()
                recorded.rmdir()
        self._socket_record.unlink(missing_ok=True)

    def log_sizes(self) -> dict[Path, int]:
        """How long the log files are now, for `log_since`; `start.log` begins anew with each start."""
        return {path: path.stat().st_size for path in self.log.glob("postgresql-*.log")}

    def log_since(self, sizes: dict[Path, int], limit: int = 4000) -> str:
        """The end of what was logged since `sizes` were taken, for the detail of an error."""
        parts = []
        for path in sorted(self.log.glob("*.log")):
            text = path.read_bytes()
            start = sizes.get(path, 0)
            parts.append(text[start if start <= len(text) else 0 :].decode(errors="replace").strip())
        return "\n".join(part for part in parts if part)[-limit:]

    def _socket_recorded(self) -> Path | None:
        try:
            return Path(self._socket_record.read_text().rstrip("\n"))
        except OSError:
            return None

    def _initdb(self, installation: Installation, staging: Path, passwords: Passwords) -> None:
        maker = initdb_user()
        data, password_file = staging / "data", staging / "password"
        _write_private(password_file, passwords.superuser + "\n")
        _own_folder(data, maker)
        _chown(password_file, maker)
        arguments = [
            str(installation.initdb),
            "-D",
            str(data),
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
        ]
        arguments += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]
        # PostgreSQL's own C.UTF-8: the same order on every machine, whatever its libc.
        arguments += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        launch = launch_as(maker, arguments, installation, [data])
        try:
            done = subprocess.run(  # noqa: S603 (our own programs and arguments)
                launch.arguments,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=data,
                timeout=_INITDB_DEADLINE_S,
                check=False,
                **launch.keywords,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"Creating the database in {self.root} took longer than {_INITDB_DEADLINE_S:.0f} s. The disk "
                "is too slow."
            ) from error
        password_file.unlink()
        if done.returncode != 0:
            raise text_error(done.stderr, f"The database in {self.root} could not be created")


def disk_error(error: OSError, what: str) -> SlipwayError:
    """The error of ours for a failed operation on files."""
    return text_error(str(error), what)


def text_error(text: str, what: str) -> SlipwayError:
    """The error of ours for what the system or a PostgreSQL program printed."""
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return StorageFull(f"{what}: no room is left on the device.", detail=text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if "rror" in line or "FATAL" in line] or lines or ["it ended without a word"]
    return Misconfigured(f"{what}: {said[-1]}", detail=text)


def _lock_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket_fits(folder: Path) -> bool:
    # libpq reads a comma in a host as the start of the next host.
    path = folder / f".s.PGSQL.{PORT}"
    return len(os.fsencode(path)) <= _SOCKET_PATH_BYTES and "," not in str(path)


def _is_private(folder: Path, user: ServerUser) -> bool:
    """Whether it still is the folder that we made: another user could have put one of theirs there."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    return state.st_uid == user.uid and state.st_mode == 0o40700


def _own_folder(folder: Path, user: ServerUser) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    _chown(folder, user)


def _give(tree: Path, user: ServerUser) -> None:
    """Hand a tree over to `user`, the top last: who owns the top owns everything, also after a crash in the middle."""
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in [*folders, *files]:
            _chown(Path(folder) / name, user)
    _chown(tree, user)


def _chown(path: Path, user: ServerUser) -> None:
    """Give one entry to `user`, a link itself and never what it points to; nothing to do when we are that user."""
    if not user.switch:
        return
    try:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL):
            raise
        raise Misconfigured(
            f"Started as root, the embedded PostgreSQL runs as the user id {user.uid}, and this process may not give "
            "that user its files (a container without CAP_CHOWN or with one user). Run Slipway as a normal user.",
            detail=str(error),
        ) from error


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all, and on disk when this returns."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(temporary).rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
