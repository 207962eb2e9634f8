"""Ingestion under `kill -9`, with two workers, with newer code and with everything away for a while.

Each test ends with the same question: is every chunk there exactly once, with its own vector?
"""

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx
import psycopg
import pytest

from slipway.base.callers import Caller, Scope
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedPostgres
from slipway.services.retrieval.wiring import wire
from tests.services.ingestion_stand import (
    EmbeddingServer,
    add,
    app_of,
    assert_whole,
    client_for,
    foundation,
    prose,
    running,
    settled,
    worker_process,
)

pytestmark = pytest.mark.anyio

LEASE_S = 2.0  # of the tests' workers, so that a takeover takes seconds; the product's is 10


@pytest.fixture
def embedding_server() -> Iterator[EmbeddingServer]:
    server = EmbeddingServer()
    yield server
    server.stop()


@pytest.fixture
def caller(new_caller) -> Caller:
    return new_caller()


@pytest.fixture
async def client(
    database: Database, postgres, tmp_path: Path, embedding_server: EmbeddingServer, caller: Caller
) -> AsyncIterator[httpx.AsyncClient]:
    """The API of a process that does not ingest itself."""
    grounds = foundation(database, postgres.app_url, tmp_path, embedding_server.url)
    part = await wire(grounds)
    async with running(part, work=False), client_for(app_of(part, grounds), caller) as client:
        yield client


async def noted(log: Path, step: str, times: int = 1) -> None:
    """Waits until the workers have come to `step` so many times."""
    with anyio.fail_after(30):
        while not log.exists() or log.read_text().split().count(step) < times:
            await anyio.sleep(0.02)


@pytest.mark.parametrize("step", ["extract", "chunk", "embed", "store"])
async def test_a_worker_killed_in_a_step_loses_and_doubles_nothing(
    step, client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    log = tmp_path / "steps"
    document_id = (await add(client, prose(step, 400))).json()["id"]
    with worker_process(
        postgres.app_url, tmp_path, embedding_server.url, lease_s=LEASE_S, slow=f"{step}:60", log=log
    ) as first:
        await noted(log, step)
        first.send_signal(signal.SIGKILL)
        first.wait()
    log.unlink()
    with worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=LEASE_S, log=log):
        document = await settled(client, document_id)
    assert document["status"] == "ready", document
    assert await assert_whole(database, caller, document_id) > 64
    order = ["extract", "chunk", "embed", "store"]
    again = list(dict.fromkeys(log.read_text().split()))
    assert again == order[order.index(step) :], "what was done is not done again"


@pytest.mark.parametrize("step", ["embed", "store"])
async def test_a_short_document_commits_once_and_is_whole_after_a_kill(
    step, client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    log = tmp_path / "steps"
    document_id = (await add(client, prose(step, 10))).json()["id"]
    with worker_process(
        postgres.app_url, tmp_path, embedding_server.url, lease_s=LEASE_S, slow=f"{step}:60", log=log
    ) as first:
        await noted(log, step)
        first.send_signal(signal.SIGKILL)
        first.wait()
    log.unlink()
    with worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=LEASE_S, log=log):
        document = await settled(client, document_id)
    assert document["status"] == "ready", document
    assert [(one["status"], one["done"] == one["total"] > 0) for one in document["steps"]] == [("done", True)] * 4
    assert await assert_whole(database, caller, document_id) > 1
    assert log.read_text().split() == ["extract", "chunk", "embed", "store"], "nothing of the first run was committed"


async def test_the_other_worker_takes_over_within_seconds(
    client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    """With the product's own lease of ten seconds."""
    log = tmp_path / "steps"
    with (
        worker_process(postgres.app_url, tmp_path, embedding_server.url, slow="embed:1", log=log) as first,
        worker_process(postgres.app_url, tmp_path, embedding_server.url, slow="embed:1", log=log) as second,
    ):
        ids = [(await add(client, prose(f"number {n}", 150), f"{n}.txt")).json()["id"] for n in range(4)]
        await noted(log, "embed", 3)
        first.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        for document_id in ids:
            document = await settled(client, document_id, 40)
            assert document["status"] == "ready", document
        assert time.monotonic() - killed < 30
        assert second.poll() is None
    for document_id in ids:
        await assert_whole(database, caller, document_id)


async def test_a_live_step_is_not_run_twice_however_long_it_takes(
    client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    log = tmp_path / "steps"
    document_id = (await add(client, prose("slow", 30))).json()["id"]
    with (
        worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=1.0, slow="chunk:4", log=log),
        worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=1.0, slow="chunk:4", log=log),
    ):
        document = await settled(client, document_id)
    assert document["status"] == "ready"
    assert sorted(log.read_text().split()) == ["chunk", "embed", "extract", "store"]
    await assert_whole(database, caller, document_id)


async def test_a_worker_that_was_stopped_and_wakes_up_doubles_nothing(
    client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    """SIGSTOP is a machine that hangs: the lease runs out, another works, then the first one goes on."""
    log = tmp_path / "steps"
    document_id = (await add(client, prose("paused", 400))).json()["id"]
    with worker_process(
        postgres.app_url, tmp_path, embedding_server.url, lease_s=1.0, slow="embed:1", log=log
    ) as first:
        await noted(log, "embed")
        os.kill(first.pid, signal.SIGSTOP)
        with worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=1.0, log=log):
            document = await settled(client, document_id)
            assert document["status"] == "ready", document
            os.kill(first.pid, signal.SIGCONT)
            await anyio.sleep(2.0)
            assert first.poll() is None, "it goes on with other work"
    await assert_whole(database, caller, document_id)


async def test_newer_code_with_a_step_more_finishes_what_older_code_began(
    client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    log, newer = tmp_path / "steps", tmp_path / "newer"
    document_id = (await add(client, prose("older", 100))).json()["id"]
    with worker_process(
        postgres.app_url, tmp_path, embedding_server.url, lease_s=LEASE_S, slow="embed:60", log=log
    ) as first:
        await noted(log, "embed")
        first.send_signal(signal.SIGKILL)
        first.wait()
    with worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=LEASE_S, slow="newer:0", log=newer):
        document = await settled(client, document_id)
    assert document["status"] == "ready"
    assert newer.read_text().split() == ["look", "embed", "store"]
    assert [step["name"] for step in document["steps"]] == ["extract", "chunk", "look", "embed", "store"]
    await assert_whole(database, caller, document_id)


@pytest.mark.parametrize("paragraphs", [5, 30], ids=["short", "long"])
async def test_a_gateway_that_is_away_is_waited_for(
    paragraphs, client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    embedding_server.down = True
    document_id = (await add(client, prose("patient", paragraphs))).json()["id"]
    with worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=LEASE_S):
        with anyio.fail_after(20):
            while await retries(database, caller) < 4:  # more than a poisonous file gets
                await anyio.sleep(0.1)
        waiting = (await client.get(f"/v1/documents/{document_id}")).json()
        assert [one["status"] for one in waiting["steps"]] == ["done", "done", "running", "pending"]
        embedding_server.down = False
        document = await settled(client, document_id)
    assert document["status"] == "ready"
    await assert_whole(database, caller, document_id)


async def retries(database: Database, caller: Caller) -> int:
    async with database.transaction(caller) as connection:
        row = await (await connection.execute("SELECT max(retries) AS n FROM workflow")).fetchone()
    return row["n"]


async def test_a_file_that_kills_its_worker_each_time_fails_alone(
    client, database, postgres, caller, embedding_server, tmp_path
) -> None:
    log = tmp_path / "steps"
    poison = (await add(client, prose("poison", 20))).json()["id"]
    for times in range(1, 4):
        with worker_process(
            postgres.app_url, tmp_path, embedding_server.url, lease_s=0.5, slow="chunk:60", log=log
        ) as victim:
            await noted(log, "chunk", times)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
    with worker_process(postgres.app_url, tmp_path, embedding_server.url, lease_s=0.5):
        good = (await add(client, prose("good", 20))).json()["id"]
        failed, ready = await settled(client, poison), await settled(client, good)
    assert failed["status"] == "failed"
    assert "given up" in failed["error"]["message"]
    assert ready["status"] == "ready"
    await assert_whole(database, caller, good)


async def test_postgresql_killed_under_ingestion_and_back_loses_nothing(tmp_path, embedding_server) -> None:
    """The worker lives on, so nothing that it believes to be done may be undone by the crash."""
    server = EmbeddedPostgres(tmp_path / "own")
    (tmp_path / "own").mkdir()
    addresses = server.start()
    try:
        migrate(addresses.owner_url)
        caller = Caller(new_id("ten"), new_id("usr"), frozenset(Scope))
        with psycopg.connect(addresses.owner_url) as connection:
            connection.execute("INSERT INTO tenant (id, name) VALUES (%s, 'Own')", (caller.tenant_id,))
        database = await Database.open(addresses.app_url, max_connections=5)
        grounds = foundation(database, addresses.app_url, tmp_path, embedding_server.url)
        part = await wire(grounds)
        embedding_server.delay_s = 0.3
        async with running(part), client_for(app_of(part, grounds), caller) as client:
            ids = [(await add(client, prose(f"{n}", 400), f"{n}.txt")).json()["id"] for n in range(3)]
            with anyio.fail_after(20):
                while len(embedding_server.texts) < 128:
                    await anyio.sleep(0.02)
            postmaster = int((next(Path(tmp_path / "own").rglob("postmaster.pid"))).read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            await anyio.sleep(1.0)
            await anyio.to_thread.run_sync(server.start)
            embedding_server.delay_s = 0.0
            for document_id in ids:
                with anyio.fail_after(60):
                    while (document := (await client.get(f"/v1/documents/{document_id}")).json())["status"] != "ready":
                        assert document["status"] in {"queued", "processing", 503}, document
                        await anyio.sleep(0.2)
                await assert_whole(database, caller, document_id)
        await database.close()
    finally:
        server.stop()
