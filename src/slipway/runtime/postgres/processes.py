"""The processes of one server: which they are, and how they end.

A process counts as ours by three things together: its uid, that it is no zombie, and its command line (the
postmaster was started on our data folder; its children carry our cluster name as their title). These can be
read of processes of another user too, which /proc/<pid>/cwd and exe cannot in a container without
CAP_SYS_PTRACE.
"""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_S = 0.01
_DYING_S = 2.0  # arbitrary


@dataclass(frozen=True)
class ServerProcesses:
    """The processes of the server on `data` (resolved), running as `uid`."""

    data: Path
    uid: int

    @property
    def cluster_name(self) -> str:
        """What the server calls itself in the titles of its processes: one name for one data folder."""
        return "slipway-" + hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]

    def postmaster(self) -> int | None:
        """The pid of the living postmaster, None when there is none."""
        pid = postmaster_file(self.data)[0]
        return pid if pid is not None and self.is_postmaster(pid) else None

    def is_postmaster(self, pid: int) -> bool:
        process = _process(pid)
        return process is not None and self._is_postmaster(process)

    def rest(self) -> list[int]:
        """Every living process of this server: what a killed postmaster has left behind."""
        return [process.pid for process in _processes() if self._is_ours(process)]

    def rest_end(self, grace_s: float) -> None:
        """Wait until the processes without a postmaster have noticed it and ended, then kill the others.

        Only called when there is no postmaster. Crash recovery follows in any case, so a kill costs nothing,
        while one survivor would keep the shared memory and with it every new server from starting.
        """
        deadline = time.monotonic() + grace_s
        while self.rest() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        killed = self.rest()
        for pid in killed:
            send(pid, signal.SIGKILL)
        deadline = time.monotonic() + grace_s
        while killed and self.rest() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def stale_file_remove(self) -> None:
        """Remove a postmaster.pid whose number now belongs to a zombie or to a program of another kind.

        PostgreSQL takes any living process of its own user for its predecessor and would never start again:
        in a container the same small numbers come back at each start. A number that nobody has, it clears
        away itself.
        """
        pid = postmaster_file(self.data)[0]
        deadline = time.monotonic() + _DYING_S
        while (process := _process(pid) if pid is not None else None) is not None and process.dying:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        if process is not None and not self._is_ours(process):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _is_postmaster(self, process: "_Process") -> bool:
        words = process.command
        if process.ended or process.uid != self.uid:
            return False
        if len(words) == 1:  # a line of `ps`, which does not say where an argument ends
            return words[0].startswith("/") and f"/postgres -D {self.data} -c " in words[0]
        return Path(words[0]).name == "postgres" and words[1:3] == ["-D", str(self.data)]

    def _is_ours(self, process: "_Process") -> bool:
        title = f"postgres: {self.cluster_name}:"
        titled = not process.ended and process.uid == self.uid and process.command[0].startswith(title)
        return titled or self._is_postmaster(process)


@dataclass(frozen=True)
class _Process:
    pid: int
    uid: int
    ended: bool  # a zombie: nobody has asked for its end yet
    command: list[str]

    @property
    def dying(self) -> bool:
        """Killed and without memory already, but not a zombie yet: this takes milliseconds."""
        return not self.ended and self.command == [""]


def postmaster_file(data: Path) -> tuple[int | None, str]:
    """The pid and the status (`starting`, `ready`, `stopping` or empty) in postmaster.pid."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None, ""
    return (pid if pid > 0 else None), (lines[7].strip() if len(lines) > 7 else "")


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may just have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _processes() -> Iterator[_Process]:
    if not _PROC.joinpath("self").exists():
        yield from _listed("-ax")
        return
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (process := _process(int(entry.name))) is not None:
            yield process


def _process(pid: int) -> _Process | None:
    """The process, None when there is none with this number."""
    if not _PROC.joinpath("self").exists():
        return next(_listed("-p", str(pid)), None)
    try:
        status = (_PROC / str(pid) / "status").read_text(errors="replace")
        command = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    ended = facts["State"].split()[0] in "ZX"
    return _Process(pid, int(facts["Uid"].split()[1]), ended, os.fsdecode(command).rstrip("\0").split("\0"))


def _listed(*selection: str) -> Iterator[_Process]:
    """Systems without /proc (macOS): ask `ps`, which gives the command as one line."""
    listing = subprocess.run(  # noqa: S603 (fixed program, our own arguments)
        ["/bin/ps", *selection, "-ww", "-o", "pid=,uid=,state=,command="],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    for line in listing.stdout.splitlines():
        pid, uid, state, command = line.split(None, 3)
        yield _Process(int(pid), int(uid), state.startswith("Z"), [command])
