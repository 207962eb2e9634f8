"""The home folder of a local platform: who holds it, its secret, and the credentials of the command line.

.slipway/
  lock          held while a platform runs on this home; says where it listens
  credentials   {"url": …, "api_key": …} for the command line, mode 0600
  secret.key    what every key of this platform is derived from, mode 0600
  run/          the unix socket between parts, mode 0700
  postgres/ objects/ models/
"""

import base64
import fcntl
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.base.errors import Conflict, Misconfigured

_MAX_SOCKET_PATH_BYTES: Final = 100  # sun_path holds 108 on Linux and 104 on macOS, with its final NUL


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the command line needs to reach a platform."""

    url: str
    api_key: str


class Home:
    """One home folder. Methods raise Misconfigured when the folder cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def acquire(self) -> None:
        """Makes the folder and holds it; raises Conflict naming the address of the platform that already does."""
        try:
            # Whatever the umask is: who can write here can replace the secret. Others may pass, since started as root
            # PostgreSQL runs as somebody else.
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"The home {self.path} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 4096, 0).decode(errors="replace").strip()
            os.close(self._lock)
            self._lock = None
            where = f" ({holder})" if holder else ""
            raise Conflict(
                f"A platform already runs on {self.path}{where}. Use it, stop it, or choose another --home."
            ) from None
        self.announce(f"pid {os.getpid()}, starting")

    def announce(self, text: str) -> None:
        """Writes into the lock what a second start is told."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, text.encode(), 0)

    def release(self) -> None:
        """Lets the next start have the home."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def secret(self) -> bytes:
        """The platform's secret, made on the first start."""
        path = self.path / "secret.key"
        if not path.exists():
            write_private(path, base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        return base64.b64decode(path.read_text().strip())

    def folder(self, name: str) -> Path:
        """A folder of the home, made when missing, open to its owner only."""
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def socket(self) -> Path:
        """A path for the unix socket between parts, short enough for the operating system."""
        path = self.folder("run") / "parts.sock"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            path = Path(tempfile.mkdtemp(prefix="slipway-")) / "parts.sock"
        return path

    def save_credentials(self, credentials: Credentials) -> None:
        """Keeps them for the command line."""
        body = json.dumps({"url": credentials.url, "api_key": credentials.api_key}, indent=2)
        write_private(self.path / "credentials", body + "\n")

    def credentials(self) -> Credentials | None:
        """What was saved, None when nothing was."""
        path = self.path / "credentials"
        try:
            body = json.loads(path.read_text())
            return Credentials(url=body["url"], api_key=body["api_key"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Misconfigured(f"{path} cannot be read: delete it and start the platform again.") from error


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
