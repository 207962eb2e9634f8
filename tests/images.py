"""Lays out an image's root file system by the steps of a Dockerfile, and runs it, where there is no container engine.

The base is Debian's own packages, as the official Python images have them, with this machine's Python in /usr/local.
`RUN` steps run under bubblewrap as root in that root; containers run as the image's user, with the root
file system read-only and only the declared volumes to write, without capabilities and without a network.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.debian import program

# What python:slim adds to Debian: what its Python is linked to.
_PACKAGES = (
    "ca-certificates", "netbase", "tzdata", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libnsl2",
    "libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g",
)  # fmt: skip
_RELEASE = "bookworm"
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: `COPY`, its flags, and the rest of the line."""

    name: str
    flags: Mapping[str, str]
    rest: str

    def words(self) -> list[str]:
        """The words of the rest, whether written plainly or as a JSON array."""
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)


def steps_of(dockerfile: str) -> Iterator[Step]:
    """The instructions of a Dockerfile, comments left out and continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        flags = {}
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest.lstrip()):
            flags[match[1]] = match[2]
            rest = rest.lstrip()[match.end() :]
        yield Step(name.upper(), flags, rest.strip())


@dataclass
class Image:
    """A root file system and what its Dockerfile says of it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.root / (path if path.startswith("/") else f"{self.folder}/{path}").lstrip("/")


def base_root(folder: Path) -> Path:
    """A minimal Debian with what Python needs; made once and copied from then on."""
    if not (folder / "etc").exists():
        bootstrap = program("debootstrap", package="debootstrap")
        packages = ",".join(_PACKAGES)
        command = [bootstrap, "--variant=minbase", f"--include={packages}", _RELEASE, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        shutil.rmtree(folder / "dev")  # device files are for whoever runs it; to copy one is to read it without end
        (folder / "dev").mkdir()
        _put_python(folder)
    return folder


def lay_out(dockerfile: Path, base: Path, folder: Path) -> Image:
    """The image of a Dockerfile, whose folder is the context; stages stand in `folder`."""
    context, ignored = dockerfile.parent, _ignore(dockerfile.parent / ".dockerignore")
    arguments: dict[str, str] = {}
    stages: dict[str, Image] = {}
    image: Image | None = None
    for step in steps_of(dockerfile.read_text()):
        if step.name == "ARG":
            name, _, value = step.rest.partition("=")
            arguments[name] = value
        elif step.name == "FROM":
            name = step.rest.partition(" AS ")[2] or "final"
            assert _replaced(step.rest, arguments).startswith("python:"), "the base here stands for python:slim alone"
            root = folder / name
            root.parent.mkdir(parents=True, exist_ok=True)
            _start_from(base, root)
            image = stages[name] = Image(root, {"PATH": _PATH})
        else:
            assert image is not None, "FROM comes first"
            _apply(step, image, stages, context, ignored)
    assert image is not None
    return image


def _start_from(base: Path, root: Path) -> None:
    """The base as a new root: by hard links, but copies of what steps write into in place, as into logs and /etc."""
    copy = ["cp", "--archive", "--one-file-system"]
    subprocess.run([*copy, "--link", base, root], check=True, timeout=120)
    for name in ("etc", "var"):
        shutil.rmtree(root / name)
        subprocess.run([*copy, base / name, root], check=True, timeout=120)


def _apply(step: Step, image: Image, stages: Mapping[str, Image], context: Path, ignored: Sequence[str]) -> None:
    match step.name:
        case "ENV":
            image.environment |= dict(word.split("=", 1) for word in step.words())
        case "WORKDIR":
            image.folder = step.rest
            image.inside(step.rest).mkdir(parents=True, exist_ok=True)
        case "RUN":
            _run(image, step.rest)
        case "COPY":
            source = stages[step.flags["from"]].root if "from" in step.flags else context
            _copy(step.words(), source, image, () if "from" in step.flags else ignored)
        case "USER":
            image.user = step.rest
        case "VOLUME":
            image.volumes = step.words()
        case "ENTRYPOINT":
            image.entrypoint = step.words()
        case "CMD":
            image.command = step.words()
        case "HEALTHCHECK":
            image.health = Step("CMD", {}, step.rest.partition("CMD ")[2]).words()
        case "EXPOSE" | "STOPSIGNAL" | "LABEL":
            pass
        case other:
            raise AssertionError(f"{other} is not known here")


def _copy(words: list[str], source: Path, image: Image, ignored: Sequence[str]) -> None:
    *patterns, target = words
    found = [path for pattern in patterns for path in sorted(source.glob(pattern.lstrip("/")))]
    found = [path for path in found if not _left_out(path.relative_to(source).as_posix(), ignored) or path.is_dir()]
    assert found, f"COPY finds nothing at {patterns}"
    into = image.inside(target)
    for path in found:
        if path.is_dir():

            def skipped(folder: str, names: list[str]) -> set[str]:
                inside = Path(folder).relative_to(source)
                return {name for name in names if _left_out((inside / name).as_posix(), ignored)}

            shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True, ignore=skipped)
        else:
            to = into / path.name if target.endswith("/") or into.is_dir() else into
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)


def _ignore(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _left_out(path: str, patterns: Sequence[str]) -> bool:
    """Whether .dockerignore leaves a path out: the last line that fits it, or a folder above it, decides."""
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    left_out = False
    for pattern in patterns:
        wanted = pattern.removeprefix("!")
        fits = any(
            parts[-1] == wanted[3:] or wanted[3:] in parts
            if wanted.startswith("**/")
            else fnmatch.fnmatch(each, wanted) and ("/" in wanted or "/" not in each)
            for each in above
        )
        if fits:
            left_out = not pattern.startswith("!")
    return left_out


def _replaced(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)


def _put_python(root: Path) -> None:
    """This machine's Python where the official images have theirs; without what was installed into it."""
    prefix = Path(sys.base_prefix)
    assert prefix != Path("/usr"), "a Python of Debian's own cannot stand in /usr/local"

    def needless(folder: str, names: list[str]) -> set[str]:
        library = Path(folder).parent == prefix / "lib"
        return {name for name in names if name == "__pycache__" or (library and name in ("site-packages", "test"))}

    shutil.copytree(prefix, root / "usr/local", symlinks=True, dirs_exist_ok=True, ignore=needless)
    _run(Image(root, {"PATH": _PATH}), "ldconfig")


def _run(image: Image, command: str) -> None:
    """One `RUN` step, as root, with the network of this machine and what its pip is told."""
    told = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    certificates = [
        "--ro-bind",
        "/etc/ssl/certs",
        "/etc/ssl/certs",
        "--ro-bind",
        "/etc/resolv.conf",
        "/etc/resolv.conf",
    ]
    done = subprocess.run(
        [
            program("bwrap", package="bubblewrap"),
            *("--bind", str(image.root), "/", *certificates, "--dev", "/dev", "--proc", "/proc"),
            *("--unshare-pid", "--unshare-ipc", "--cap-add", "ALL", "--die-with-parent", "--clearenv"),
            *_variables(told | {"HOME": "/root"} | image.environment),
            *("--chdir", image.folder, "/bin/sh", "-ec", command),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def _variables(values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("--setenv", name, value)]


@dataclass(frozen=True)
class Container:
    """A running image."""

    image: Image
    process: subprocess.Popen[str]
    pid: int
    volumes: Mapping[str, Path]
    environment: Mapping[str, str]

    def run(self, *command: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """A command inside, as the image's user, as `docker exec` would."""
        uid, _, gid = self.image.user.partition(":")
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        inside = ["--user", "--mount", "--net", "--pid", "--ipc", "--uts"]
        enter = ["nsenter", "--target", str(self.pid), *inside, "--setuid", uid, "--setgid", gid, "--wd=/"]
        return subprocess.run(
            [*enter, "/usr/bin/env", "-i", *variables, *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def stop(self) -> tuple[int, str]:
        """Ends it as an orchestrator does: SIGTERM to its first process. Its exit code and what it said."""
        os.kill(self.pid, signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@contextmanager
def container(
    image: Image,
    folder: Path,
    command: Sequence[str] | None = None,
    *,
    entrypoint: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    network: bool = False,
) -> Iterator[Container]:
    """The image, running as its user, its volumes in `folder`; killed at the end with all that it started."""
    uid, gid = (int(part) for part in image.user.split(":"))
    volumes = {path: _volume(image, path, folder) for path in image.volumes}
    variables = {**image.environment, **(environment or {})}
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [
            program("bwrap", package="bubblewrap"),
            *("--ro-bind", str(image.root), "/", "--dev", "/dev", "--proc", "/proc"),
            *(word for path, outside in volumes.items() for word in ("--bind", str(outside), path)),
            *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
            *(() if network else ("--unshare-net",)),
            *("--as-pid-1", "--die-with-parent", "--info-fd", str(writer), "--clearenv", *_variables(variables)),
            *("--chdir", image.folder),
            *(image.entrypoint if entrypoint is None else entrypoint),
            *(image.command if command is None else command),
        ],
        user=uid,
        group=gid,
        extra_groups=[],
        pass_fds=[writer],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(writer)
    with os.fdopen(reader) as told:
        about = told.read()
    try:
        if not about:
            raise AssertionError(f"bubblewrap: {process.communicate(timeout=10)[0]}")
        yield Container(image, process, json.loads(about)["child-pid"], volumes, variables)
    finally:
        process.kill()  # its first process dies with it, and with that one all others of its namespace
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _volume(image: Image, path: str, folder: Path) -> Path:
    """An empty folder with the owner and the mode that the image's has, as an engine makes it."""
    outside, info = folder / path.strip("/").replace("/", "-"), image.inside(path).stat()
    outside.mkdir(parents=True)
    os.chown(outside, info.st_uid, info.st_gid)
    outside.chmod(info.st_mode & 0o7777)
    return outside
