"""The embedded PostgreSQL when its postmaster is killed: nothing acknowledged is lost, and it comes back."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from slipway.base.errors import Misconfigured, Unavailable
from slipway.runtime.postgres import EmbeddedAddresses, EmbeddedPostgres, supervise, supervision
from slipway.runtime.postgres.cluster import Cluster
from slipway.runtime.postgres.processes import ServerProcesses


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server is ended afterwards, whoever started it."""
    folder = tmp_path / ".slipway"
    yield folder
    EmbeddedPostgres(folder).stop()


def kill(postgres: EmbeddedPostgres) -> int:
    pid = postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


class Writer(threading.Thread):
    """Inserts one row a transaction and remembers which commits were acknowledged."""

    def __init__(self, number: int, url: str, done: threading.Event) -> None:
        super().__init__()
        self.number, self.url, self.done = number, url, done
        self.acknowledged: list[int] = []
        self.broken = 0

    def run(self) -> None:
        step = 0
        while not self.done.is_set():
            try:
                with contextlib.closing(psycopg.connect(self.url, autocommit=True)) as connection:
                    while not self.done.is_set():
                        step += 1
                        connection.execute("INSERT INTO written VALUES (%s, %s)", [self.number, step])
                        self.acknowledged.append(step)
            except psycopg.OperationalError:
                self.broken += 1
                time.sleep(0.02)


def test_every_acknowledged_commit_survives_kills_under_load(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    addresses = postgres.start()
    with psycopg.connect(addresses.owner_url) as owner:
        owner.execute("CREATE TABLE written (writer int, step int, PRIMARY KEY (writer, step))")
    done = threading.Event()
    writers = [Writer(number, addresses.owner_url, done) for number in range(4)]
    restarts: list[EmbeddedAddresses] = []

    async def kill_twice() -> list[float]:
        watching = asyncio.create_task(supervise(postgres, restarts.append))
        away_s = []
        for kills in (1, 2):
            await asyncio.sleep(0.7)
            killed_at = time.monotonic()
            pid = kill(postgres)
            while len(restarts) < kills:
                assert not watching.done()
                await asyncio.sleep(0.01)
            away_s.append(time.monotonic() - killed_at)
            assert postgres.alive() and postgres.pid != pid
        await asyncio.sleep(0.5)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        return away_s

    for writer in writers:
        writer.start()
    try:
        away_s = asyncio.run(kill_twice())
    finally:
        done.set()
        for writer in writers:
            writer.join()
    with psycopg.connect(addresses.owner_url) as owner:
        found = set(owner.execute("SELECT writer, step FROM written").fetchall())
    acknowledged = {(writer.number, step) for writer in writers for step in writer.acknowledged}
    assert acknowledged <= found
    assert len(acknowledged) > 40  # 2,600 to 7,300 on 2 cores, 2026-11-21
    # Each writer was cut off by both kills and wrote again after the second.
    assert all(writer.broken >= 2 for writer in writers)
    assert restarts == [addresses, addresses]
    assert max(away_s) < 10


def test_a_death_is_noticed_within_half_a_second(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres = EmbeddedPostgres(home)
    postgres.start()
    noticed: list[float] = []
    original = postgres.start

    def start() -> EmbeddedAddresses:
        noticed.append(time.monotonic())
        return original()

    monkeypatch.setattr(postgres, "start", start)

    async def kill_once() -> float:
        watching = asyncio.create_task(supervise(postgres))
        await asyncio.sleep(0.15)
        killed_at = time.monotonic()
        kill(postgres)
        while not noticed:
            await asyncio.sleep(0.01)
        # Cancelled in the middle of the start, it ends only with it, so that this stop is the last word.
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        assert postgres.alive()
        return noticed[0] - killed_at

    assert asyncio.run(kill_once()) < 0.5
    postgres.stop()
    assert not postgres.alive()


def test_a_backend_that_outlives_its_postmaster_does_not_keep_the_next_one_from_starting(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    addresses = postgres.start()
    with contextlib.closing(psycopg.connect(addresses.app_url)) as connection:
        stuck = connection.info.backend_pid
        os.kill(stuck, signal.SIGSTOP)
        kill(postgres)
        data = Cluster(home).data
        assert stuck in ServerProcesses(data, data.stat().st_uid).rest()
        assert postgres.start() == addresses
        assert stuck not in ServerProcesses(data, data.stat().st_uid).rest()


def test_a_server_that_cannot_come_back_ends_the_supervision_with_the_cause(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    postgres.start()
    (home / "postgres" / "passwords.json").unlink()
    kill(postgres)
    with pytest.raises(Misconfigured, match="is missing"):
        asyncio.run(asyncio.wait_for(supervise(postgres), 20))


def test_a_server_that_keeps_dying_ends_the_supervision(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_BACKOFF_S", (0.0,) * 5)
    postgres = EmbeddedPostgres(home)
    postgres.start()
    kill(postgres)
    kills: list[int] = []
    with pytest.raises(Unavailable, match="died 5 times"):
        asyncio.run(asyncio.wait_for(supervise(postgres, lambda _: kills.append(kill(postgres))), 60))
    assert len(kills) == 5
