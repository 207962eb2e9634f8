"""The index of a large tenant: built, used under row-level security, as good as an exact one, and taken away again."""

import asyncio

import numpy as np
import psycopg
import pytest
from pgvector import HalfVector

from slipway.base.callers import Caller
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.services.retrieval import adapter_chunks_reading as reading
from slipway.services.retrieval.adapter_chunks import Chunks
from slipway.services.retrieval.adapter_chunks_index import VectorIndexes, index_name
from slipway.services.retrieval.adapter_chunks_reading import ChunkViews

pytestmark = pytest.mark.anyio

LARGE = 1_500  # instead of 5,000, so that the test is fast


def vectors_new(count: int, seed: int) -> np.ndarray:
    """float32[count, 384] of length 1 around forty centres, as topics are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, 384))
    vectors = centres[random.integers(0, 40, count)] + random.standard_normal((count, 384))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


async def fill(database: Database, caller: Caller, vectors: np.ndarray) -> str:
    document = new_id("doc")
    rows = [(caller.tenant_id, document, place, vector) for place, vector in enumerate(vectors)]
    async with database.transaction(caller) as connection:
        await connection.cursor().executemany(
            "INSERT INTO staged_chunk (tenant_id, document_id, ordinal, page, start_char, end_char, text, embedding)"
            " VALUES (%s, %s, %s, 1, 0, 4, 'text', %s)",
            rows,
        )
        await Chunks().publish(connection, caller, document, "default", "")
    return document


async def nearest(database: Database, caller: Caller, vector: np.ndarray) -> list[int]:
    async with ChunkViews(database, LARGE)(caller) as view:
        extent = await view.extent("", None)
        async with view.candidates(extent, vector, 10) as (_, nearest):
            numbers, _ = await nearest
        return [chunk.ordinal for chunk in await view.chunks(numbers.tolist(), vector)]


def index_names(owner_url: str) -> set[str]:
    with psycopg.connect(owner_url) as connection:
        return {
            row[0] for row in connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'chunk_vector'")
        }


async def plan(database: Database, caller: Caller, statement: str) -> str:
    values = {
        "tenant": caller.tenant_id,
        "first": 0,
        "last": 2**62,
        "vector": HalfVector(vectors_new(1, 9)[0]),
        "depth": 10,
    }
    async with database.transaction(caller) as connection:
        cursor = await connection.execute("EXPLAIN " + statement, values)
        return "\n".join(row["QUERY PLAN"] for row in await cursor.fetchall())


async def test_large_tenant_gets_an_index_that_finds_what_an_exact_ranking_finds(
    database, postgres, new_caller
) -> None:
    large, small = new_caller(), new_caller()
    vectors, others = vectors_new(2_000, 1), vectors_new(300, 2)
    document = await fill(database, large, vectors)
    await fill(database, small, others)
    queries = vectors_new(40, 3)
    exact = {turn: np.argsort(-(vectors @ query))[:10].tolist() for turn, query in enumerate(queries)}

    async def recall() -> float:
        hits = 0
        for turn, query in enumerate(queries):
            hits += len(set(await nearest(database, large, query)) & set(exact[turn]))
            # Asked in turn on the same few connections. Half precision may swap the last two.
            expected = set(np.argsort(-(others @ query))[:10].tolist())
            assert len(set(await nearest(database, small, query)) & expected) >= 9
        return hits / 400

    assert await recall() >= 0.99
    indexes = VectorIndexes(database, postgres.owner_url, exact_chunks=LARGE)
    await asyncio.gather(indexes.adjust(), indexes.adjust())
    assert index_name(large.tenant_id) in index_names(postgres.owner_url)
    assert index_name(small.tenant_id) not in index_names(postgres.owner_url)
    assert index_name(large.tenant_id) in await plan(database, large, reading._INDEXED)
    assert index_name(large.tenant_id) not in await plan(database, large, reading._EXACT)
    assert index_name(large.tenant_id) not in await plan(database, small, reading._INDEXED)
    assert await recall() >= 0.99

    await indexes.adjust()
    assert index_name(large.tenant_id) in index_names(postgres.owner_url)
    async with database.transaction(large) as connection:
        await Chunks().withdraw(connection, large, document)
    await indexes.adjust()
    assert index_name(large.tenant_id) not in index_names(postgres.owner_url)
    assert await nearest(database, large, queries[0]) == []


async def test_index_that_an_interrupted_build_left_is_replaced(database, postgres, new_caller) -> None:
    caller = new_caller()
    await fill(database, caller, vectors_new(1_600, 4))
    indexes = VectorIndexes(database, postgres.owner_url, exact_chunks=LARGE)
    name = index_name(caller.tenant_id)
    await indexes.adjust()
    holder = await Database.open(postgres.app_url, max_connections=2)
    try:
        async with holder.transaction(caller) as connection:
            # A build waits for this row's writer; ending it there leaves an index that is not valid.
            await connection.execute(
                "DELETE FROM chunk_vector WHERE tenant_id = %s AND number %% 1000 = 7", (caller.tenant_id,)
            )
            with psycopg.connect(postgres.owner_url, autocommit=True) as owner:
                owner.execute("SET statement_timeout = '300ms'")
                with pytest.raises(psycopg.errors.QueryCanceled):
                    owner.execute(f"DROP INDEX CONCURRENTLY {name}")
    finally:
        await holder.close()
    await indexes.adjust()
    with psycopg.connect(postgres.owner_url) as owner:
        [(valid,)] = owner.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", (name,)
        ).fetchall()
    assert valid


async def test_a_database_that_is_away_does_not_end_the_task(postgres) -> None:
    database = await Database.open(postgres.app_url, max_connections=2)
    await database.close()
    work = asyncio.create_task(VectorIndexes(database, postgres.owner_url, interval_s=0.01).run())
    await asyncio.sleep(0.2)
    assert not work.done()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
