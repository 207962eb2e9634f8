"""Transactions on a real PostgreSQL: whose they are, what a pooled connection carries on, how failures leave."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.base.callers import Caller
from slipway.base.errors import Conflict, Misconfigured, SlipwayError, Unavailable
from slipway.base.ids import new_id
from slipway.runtime.database import Database, one
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedAddresses, EmbeddedPostgres

pytestmark = pytest.mark.anyio

NewCaller = Callable[..., Caller]
_IDENTITY = "SELECT current_user::text AS name, current_setting('slipway.tenant', true) AS tenant"


async def session_insert(database: Database, caller: Caller) -> str:
    session_id = new_id("ses")
    async with database.transaction(caller) as connection:
        await connection.execute(
            "INSERT INTO session (tenant_id, id, subject, title) VALUES (%s, %s, %s, '')",
            (caller.tenant_id, session_id, caller.subject),
        )
    return session_id


async def test_a_transaction_is_the_tenants_and_leaves_nothing_on_its_connection(
    postgres: EmbeddedAddresses, new_caller: NewCaller
):
    database = await Database.open(postgres.app_url, max_connections=2)
    try:
        for caller in (new_caller(), new_caller()):
            async with database.transaction(caller) as connection:
                row = one(await (await connection.execute(_IDENTITY)).fetchone())
                assert row == {"name": "slipway_app", "tenant": caller.tenant_id}
                mode = one(await (await connection.execute("SHOW plan_cache_mode")).fetchone())
                assert mode == {"plan_cache_mode": "force_custom_plan"}
            async with database.platform_transaction() as connection:
                row = one(await (await connection.execute(_IDENTITY)).fetchone())
                assert row["name"] == "slipway_platform"
                assert not row["tenant"]
            async with database._pool.connection() as connection:
                row = one(await (await connection.execute(_IDENTITY)).fetchone())
                assert row["name"] == "slipway_app"
                assert not row["tenant"]
    finally:
        await database.close()


async def test_a_tenant_neither_sees_nor_writes_anothers_rows(database: Database, new_caller: NewCaller):
    mine, other = new_caller(), new_caller()
    session_id = await session_insert(database, mine)
    async with database.transaction(other) as connection:
        found = await connection.execute("SELECT id FROM session WHERE id = %s", (session_id,))
        assert await found.fetchone() is None
        changed = await connection.execute("UPDATE session SET title = 'taken' WHERE id = %s", (session_id,))
        assert changed.rowcount == 0
    with pytest.raises(Exception, match="row-level security"):
        async with database.transaction(other) as connection:
            await connection.execute(
                "INSERT INTO session (tenant_id, id, subject, title) VALUES (%s, %s, 'usr_1', '')",
                (mine.tenant_id, new_id("ses")),
            )


async def test_an_error_rolls_back(database: Database, new_caller: NewCaller):
    caller = new_caller()
    with pytest.raises(Conflict):
        async with database.transaction(caller) as connection:
            await connection.execute(
                "INSERT INTO session (tenant_id, id, subject, title) VALUES (%s, 'ses_x', 'usr_1', '')",
                (caller.tenant_id,),
            )
            raise Conflict("no")
    async with database.transaction(caller) as connection:
        assert await (await connection.execute("SELECT id FROM session")).fetchall() == []


async def test_a_lost_race_is_a_conflict_that_may_be_tried_again(database: Database, new_caller: NewCaller):
    caller = new_caller()
    session_id = await session_insert(database, caller)
    async with database.transaction(caller) as first:
        await first.execute("UPDATE session SET title = 'a' WHERE id = %s", (session_id,))
        with pytest.raises(Conflict) as caught:
            async with database.transaction(caller) as second:
                await second.execute("SELECT id FROM session WHERE id = %s FOR UPDATE NOWAIT", (session_id,))
        assert caught.value.retryable


async def test_a_cancelled_transaction_gives_its_connection_back(postgres: EmbeddedAddresses, new_caller: NewCaller):
    database = await Database.open(postgres.app_url, max_connections=2)
    caller = new_caller()
    try:

        async def slow() -> None:
            async with database.transaction(caller) as connection:
                await connection.execute("SELECT pg_sleep(30)")

        for _ in range(4):
            task = asyncio.create_task(slow())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 5)
        await asyncio.wait_for(database.check(), 5)
        assert database._pool.get_stats()["requests_waiting"] == 0
    finally:
        await database.close()


async def test_a_server_that_dies_is_unavailable_and_the_pool_finds_it_again(tmp_path: Path):
    server = EmbeddedPostgres(tmp_path)
    addresses = server.start()
    try:
        migrate(addresses.owner_url)
        database = await Database.open(addresses.app_url, max_connections=2)
        caller = Caller(tenant_id=new_id("ten"), subject="usr_1", scopes=frozenset())
        try:
            with pytest.raises(Unavailable) as caught:
                async with database.transaction(caller) as connection:
                    os.kill(server.pid or 0, signal.SIGKILL)
                    while True:
                        await connection.execute("SELECT 1")
                        await asyncio.sleep(0.01)
            assert (caught.value.retryable, caught.value.retry_after_s) == (True, 1.0)
            with pytest.raises(SlipwayError):
                await database.check()
            await asyncio.to_thread(server.start)
            async with database.transaction(caller) as connection:
                assert one(await (await connection.execute("SELECT 1 AS one")).fetchone()) == {"one": 1}
        finally:
            await database.close()
    finally:
        server.stop()


async def test_a_server_that_refuses_says_so_at_once(postgres: EmbeddedAddresses):
    wrong = postgres.app_url.replace("slipway_app:", "slipway_app:x", 1)
    for url, sentence in (
        (wrong, "refuses this login"),
        (postgres.app_url.replace("@/slipway?", "@/absent?"), "refuses this login"),
        (postgres.owner_url, "GRANT slipway_app TO"),
    ):
        with pytest.raises(Misconfigured, match=sentence):
            await asyncio.wait_for(Database.open(url), 5)


def test_a_statement_that_always_returns_a_row_is_held_to_it():
    assert one({"a": 1}) == {"a": 1}
    with pytest.raises(SlipwayError, match="on our side"):
        one(None)
