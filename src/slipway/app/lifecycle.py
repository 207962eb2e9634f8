"""The life of one process: acquire the home, open the stores, start the parts in order, serve, drain, stop in reverse.

A part that fails stops the process with its cause. SIGTERM and SIGINT drain: no new connection from outside, requests
under way finish within `drain_timeout_s`, then background work ends, parts stop and stores close. The socket between
the parts outlives the port: a request under way still needs it. The embedded PostgreSQL is the last to go.
"""

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket as sockets
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from slipway.app.administrator import administrator_key_keep
from slipway.app.assembly import assemble
from slipway.app.foundation import Grounds, load_manifest, open_foundation
from slipway.app.heads import BoundedHeads
from slipway.app.home import Credentials, Home
from slipway.app.probes import Readiness
from slipway.app.targets import parse_target, wire
from slipway.base.errors import Misconfigured, SlipwayError, Unauthenticated
from slipway.runtime.part import Part, Work
from slipway.runtime.settings import Settings
from slipway.runtime.telemetry import close_traces, configure_traces
from slipway.services.identity.bootstrap import admin_key_new, bootstrap

_COLLECTED_AFTER: Final = 10_000  # objects, not 700: requests leave few circles, each round costs all the same
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """What is told once the process is ready."""

    url: str
    api_key: str | None
    pid: int
    parts: tuple[str, ...]


class PartFailed(Exception):
    """A task that should live as long as the process ended; `__cause__` says why."""


def run(settings: Settings, target: str, on_ready: Callable[[Started], None]) -> None:
    """Runs until a signal comes; raises SlipwayError when the start fails and PartFailed when a part does."""
    import uvloop

    # Nobody else may write what a platform writes, whatever the shell it was started from says.
    os.umask(os.umask(0o022) | 0o022)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, target, on_ready))


async def _run(settings: Settings, target: str, on_ready: Callable[[Started], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    home = Home(settings.home)
    home.acquire()
    try:
        manifest = load_manifest(settings)
        names = parse_target(target, manifest)
        with _listening(settings.host, settings.port) as tcp, _unix_listening(home) as (unix, path):
            port = tcp.getsockname()[1]
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = settings.public_url or f"http://{host}:{port}"
            home.announce(f"pid {os.getpid()}, {url}")
            if settings.otlp_endpoint is not None:
                configure_traces(settings.otlp_endpoint, manifest.name)
            async with open_foundation(settings, manifest, home, names, path, url) as grounds:
                api_key = await _administrator_key(grounds, home, url) if "identity" in names else None
                parts = await wire(names, grounds.foundation)
                started = Started(url, api_key, os.getpid(), names)
                await _serve(grounds, parts, tcp, unix, stop, lambda: on_ready(started))
    finally:
        close_traces()
        home.release()


async def _serve(
    grounds: Grounds,
    parts: Sequence[Part],
    tcp: sockets.socket,
    unix: sockets.socket,
    stop: asyncio.Event,
    on_ready: Callable[[], None],
) -> None:
    foundation = grounds.foundation
    readiness = Readiness(parts, {"postgres": foundation.database.check, "objects": foundation.objects.check})
    origins = foundation.manifest.edge.origins
    app = assemble(parts, foundation.authenticator, readiness, origins)
    drain_timeout_s = math.ceil(foundation.settings.drain_timeout_s)
    outside, between = _Server(_config(app, drain_timeout_s)), _Server(_config(app, drain_timeout_s))
    serving = [
        asyncio.create_task(outside.serve(sockets=[tcp]), name="http"),
        asyncio.create_task(between.serve(sockets=[unix]), name="http between parts"),
    ]
    running: dict[str, asyncio.Task[None]] = {}
    try:
        async with _started(parts):
            running = _run_tasks(parts, _beside(grounds))
            for server, task in zip((outside, between), serving, strict=True):
                await _until_answering(server, task)
            readiness.started = True
            # What was made by now stays for good: the collector need not look at it for each request's rubbish.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_COLLECTED_AFTER, 20, 50)
            if not stop.is_set():  # a signal during the start: nobody is told of a platform that is about to end
                on_ready()
            await _until_stopped(stop, [*serving, *running.values()])
            readiness.started = False
            await _drained(outside, between, serving, running)
    finally:
        await _drained(outside, between, serving, running)


async def _drained(
    outside: uvicorn.Server,
    between: uvicorn.Server,
    serving: Sequence[asyncio.Task[None]],
    running: Mapping[str, asyncio.Task[None]],
) -> None:
    """Requests from outside finish first; then background work ends, and with it the calls that it has open."""
    outside.should_exit = True
    await asyncio.gather(serving[0], return_exceptions=True)
    await _cancel(running.values())
    between.should_exit = True
    await asyncio.gather(serving[1], return_exceptions=True)


def _config(app: ASGIApp, drain_timeout_s: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHeads,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=drain_timeout_s,
        backlog=2048,
    )


def _beside(grounds: Grounds) -> Mapping[str, Work]:
    work: dict[str, Work] = {"credentials": grounds.authenticator.run}
    if grounds.keep_alive is not None:
        work["postgres"] = grounds.keep_alive
    return work


def _run_tasks(parts: Sequence[Part], beside: Mapping[str, Work]) -> dict[str, asyncio.Task[None]]:
    work = dict(beside) | {f"{part.name}.{name}": run for part in parts for name, run in part.run.items()}
    return {name: asyncio.create_task(_as_task(run), name=name) for name, run in work.items()}


async def _as_task(run: Work) -> None:
    await run()


@contextlib.asynccontextmanager
async def _started(parts: Sequence[Part]) -> AsyncIterator[None]:
    """Starts parts in the order given; stops those that started in reverse, whatever happens."""
    async with contextlib.AsyncExitStack() as stack:
        for part in parts:
            for stop in part.stop:
                stack.push_async_callback(_stopped, part.name, stop)
            for start in part.start:
                await start()
        yield


async def _stopped(name: str, stop: Work) -> None:
    try:
        await stop()
    except Exception:  # noqa: BLE001 - the other parts must still stop
        _log.exception("the part %s did not stop cleanly", name)


async def _until_answering(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            serving.result()
            raise Misconfigured("The HTTP server ended before it answered.")
        await asyncio.sleep(0.005)


async def _until_stopped(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in done - {waiting}:
        cause = task.exception()
        raise PartFailed(f"{task.get_name()} {'failed' if cause else 'ended'}: the process stops") from cause


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


async def _administrator_key(grounds: Grounds, home: Home, url: str) -> str | None:
    """The key to tell; None where it goes into a secret, since what a task prints is kept in a log."""
    secret = grounds.foundation.settings.administrator_secret_arn
    if secret is None:
        return await _credentials(grounds, home, url)
    await administrator_key_keep(grounds.foundation.database, secret)
    return None


async def _credentials(grounds: Grounds, home: Home, url: str) -> str:
    """The command line's key: made with the first tenant, and again when its file was lost or no longer holds."""
    database = grounds.foundation.database
    first, kept = await bootstrap(database), home.credentials()
    if first is not None:
        key = first.key_secret
    elif kept is not None and await _holds(grounds, kept.api_key):
        key = kept.api_key
    else:
        key = (await admin_key_new(database)).key_secret
    home.save_credentials(Credentials(url, key))
    return key


async def _holds(grounds: Grounds, api_key: str) -> bool:
    try:
        await grounds.authenticator.authenticate(api_key)
    except Unauthenticated:
        return False
    return True


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the lifecycle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[sockets.socket]:
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    listener = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise Misconfigured(
                f"Port {port} on {host} cannot be used ({error.strerror}): choose another with --port."
            ) from error
        listener.listen(2048)
        yield listener
    finally:
        listener.close()


@contextlib.contextmanager
def _unix_listening(home: Home) -> Iterator[tuple[sockets.socket, Path]]:
    path: Path = home.socket()
    path.unlink(missing_ok=True)
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(2048)
        yield listener, path
    finally:
        listener.close()
        path.unlink(missing_ok=True)
        if path.parent.parent != home.path:
            path.parent.rmdir()


def describe(error: BaseException) -> str:
    """A sentence for a person about why the process ended."""
    if isinstance(error, SlipwayError):
        return error.public
    cause = error.__cause__ or error
    if isinstance(cause, SlipwayError):
        return f"{error}: {cause.public}"
    return f"{error}: {cause}" if cause is not error else str(error)
