"""Which OS user the server runs as, and how a program is started as that user.

A normal user runs it as itself. PostgreSQL refuses to run as root, so root runs it as a numeric uid that
nobody else has; no user is created. `initdb`, unlike the server, looks its uid up by name, so that one step
runs as `nobody`, in a folder that other processes of `nobody` cannot enter, and its files change hands
afterwards (tried on 18.4, 2026-11-21).

The home or the programs often lie below folders that this uid may not traverse (root's own, a 0700 clone).
Nobody's permissions are changed for that: the server then gets the one capability to pass them,
CAP_DAC_READ_SEARCH.
"""

import grp
import os
import pwd
import shutil
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.base.errors import Misconfigured
from slipway.runtime.postgres.installation import Installation

# uid range that neither Debian, Red Hat nor systemd hands out (systemd's UIDS-GIDS table: 60578-61183
# unused). Below 65536, so that it also exists in a container with its own user namespace.
_UIDS = range(60578, 61184)
_PROGRAM_FOLDERS = "/usr/bin:/bin:/usr/sbin:/sbin"
# The caller's environment stays out: PGDATA, PGOPTIONS or a locale of the person would change the server.
_ENVIRONMENT = {"PATH": _PROGRAM_FOLDERS, "LC_ALL": "C", "TZ": "UTC"}
_CAPABILITY_BITS = {"dac_override": 1, "dac_read_search": 2, "setpcap": 8}  # linux/capability.h


@dataclass(frozen=True)
class ServerUser:
    """The numeric user of a program; `switch` when this process has to become it."""

    uid: int
    gid: int
    switch: bool


@dataclass(frozen=True)
class Launch:
    """What to hand to subprocess: the arguments and the keywords."""

    arguments: list[str]
    keywords: Mapping[str, Any] = field(default_factory=dict)


def server_user_new(data: Path) -> ServerUser:
    """The user for a new cluster at `data`: this one, or for root a uid that nobody has."""
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid(), switch=False)
    start = zlib.crc32(os.fsencode(data)) % len(_UIDS)
    for number in [*_UIDS[start:], *_UIDS[:start]]:
        if not _named(number):
            return ServerUser(number, number, switch=True)
    raise Misconfigured("No free user id is left for the embedded PostgreSQL. Run Slipway as a normal user.")


def server_user_of(data: Path) -> ServerUser:
    """The user of an existing cluster: the owner of its files; Misconfigured when we cannot be that."""
    owner = data.stat()
    mine = os.geteuid()
    if mine == owner.st_uid and mine != 0:
        return ServerUser(owner.st_uid, os.getegid(), switch=False)
    if mine != 0:
        raise Misconfigured(
            f"The database in {data} belongs to another user. Run Slipway as the user who started it first "
            "(root, when it was started with sudo), or choose another home with --home."
        )
    if owner.st_uid == 0:  # a home that root has copied or restored
        return server_user_new(data)
    return ServerUser(owner.st_uid, owner.st_gid, switch=True)


def initdb_user() -> ServerUser:
    """The user that `initdb` runs as: this one, or `nobody` for root, as it insists on a user with a name."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError as error:
            raise Misconfigured(
                f"The user id {os.geteuid()} has no name on this system (no line in /etc/passwd), and PostgreSQL makes "
                "a database only for a user with a name. Give it one, or set the URL of a PostgreSQL of your own."
            ) from error
        return ServerUser(os.geteuid(), os.getegid(), switch=False)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise Misconfigured(
            "Started as root, the embedded PostgreSQL needs the system user `nobody`, and there is none. "
            "Run Slipway as a normal user."
        ) from error
    return ServerUser(nobody.pw_uid, nobody.pw_gid, switch=True)


def launch_as(user: ServerUser, arguments: list[str], installation: Installation, folders: Iterable[Path]) -> Launch:
    """How to start a program that works in `folders` as `user`, with no more rights than it takes."""
    keywords: dict[str, Any] = {"env": _ENVIRONMENT}
    if not user.switch:
        return Launch(arguments, keywords)
    grants = _grants_needed(user, installation, list(folders))
    if not grants:
        return Launch(arguments, {**keywords, "user": user.uid, "group": user.gid, "extra_groups": []})
    setpriv = shutil.which("setpriv", path=_PROGRAM_FOLDERS)
    if setpriv is None:
        raise Misconfigured(
            "Started as root below a folder that only root may enter, the embedded PostgreSQL needs the "
            "program `setpriv` (package util-linux), and there is none. Install it, or run Slipway as a "
            "normal user."
        )
    prefix = [setpriv, f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "--no-new-privs"]
    return Launch([*prefix, *grants, *arguments], keywords)


def _named(number: int) -> bool:
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
        except KeyError:
            continue
        return True
    return False


def _grants_needed(user: ServerUser, installation: Installation, folders: list[Path]) -> list[str]:
    """The arguments of setpriv with which `user` reaches everything and no more; empty when it needs none."""
    programs = (installation.initdb, installation.postgres)
    tree = {parent for sample in installation.samples for parent in sample.parents}
    roads = {parent for folder in folders for parent in folder.parents}
    execute = not all(_allows(program.stat(), user, "x") for program in programs)
    read = not all(_allows(sample.stat(), user, "r") for sample in installation.samples)
    programs_closed = execute or read or not all(_allows(folder.stat(), user, "x") for folder in tree)
    if not programs_closed and all(_allows(road.stat(), user, "x") for road in roads):
        return []
    # Only dac_override may execute what its mode denies (a wheel installed under umask 077). A container with
    # Docker's default set has dac_override alone.
    wanted = ["dac_override"] if execute else ["dac_read_search", "dac_override"]
    held = _capabilities_held()
    capability = next((name for name in wanted if held >> _CAPABILITY_BITS[name] & 1), None)
    if capability is None or (programs_closed and not held >> _CAPABILITY_BITS["setpcap"] & 1):
        raise Misconfigured(
            "Started as root, the embedded PostgreSQL runs as another user, which cannot enter the home folder "
            "or the Python environment, and this process may not grant it that. Run Slipway as a normal user, or put "
            "both below folders that others may enter (mode 0711).",
            detail=f"{wanted} wanted, CapPrm {held:#x}",
        )
    grants = [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
    if programs_closed:
        # PostgreSQL checks its programs with access(2), which leaves capabilities out of account without this bit.
        grants.append("--securebits=+no_setuid_fixup")
    return grants


def _capabilities_held() -> int:
    """The permitted capabilities of this process, 0 where the system has none (not Linux)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapPrm:")), 0)


def _allows(state: os.stat_result, user: ServerUser, what: str) -> bool:
    """Whether the mode bits give `user`, with no further group, the right `what` (r or x)."""
    owner, group, other = {
        "r": (stat.S_IRUSR, stat.S_IRGRP, stat.S_IROTH),
        "x": (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH),
    }[what]
    if state.st_uid == user.uid:
        return bool(state.st_mode & owner)
    if state.st_gid == user.gid:
        return bool(state.st_mode & group)
    return bool(state.st_mode & other)
