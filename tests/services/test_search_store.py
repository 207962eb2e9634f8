"""Publishing, withdrawing and searching chunks on a real PostgreSQL."""

import asyncio
import math
import random
from collections import Counter

import numpy as np
import pytest

from slipway.base.callers import Caller
from slipway.base.errors import Internal, NotFound
from slipway.base.ids import new_id
from slipway.runtime.database import Connection, Database
from slipway.services.retrieval.adapter_chunks import Chunks
from slipway.services.retrieval.adapter_chunks_reading import ChunkViews
from slipway.services.retrieval.ranking import DENSE_WEIGHT, K1, B, LexicalScores, fused, order
from slipway.services.retrieval.search import DEPTH, Ranked, Search, storable

pytestmark = pytest.mark.anyio

WORDS = (  # noqa: SIM905
    "wing flow shock layer boundary heat plate nose cone jet mach lift drag wave panel flutter shell buckling "
    "running ran runs the of and in a is turbulent laminar supersonic hypersonic pressure gradient"
).split()


class NoEmbedder:
    """Stands where the gateway would: these tests hand their vectors to `ranked`, so any call is a mistake."""

    async def embed(self, caller: Caller, texts: list[str]) -> list[bytes]:
        raise AssertionError("nothing here embeds")


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(384).astype(np.float32)
    return vector / np.linalg.norm(vector)


async def stage(connection: Connection, caller: Caller, document: str, chunks: list[tuple[str, np.ndarray]]) -> None:
    start = 0
    for ordinal, (text, vector) in enumerate(chunks):
        await connection.execute(
            "INSERT INTO staged_chunk (tenant_id, document_id, ordinal, page, start_char, end_char, text, embedding)"
            " VALUES (%s, %s, %s, 1, %s, %s, %s, %s)",
            (caller.tenant_id, document, ordinal, start, start + len(text), text, vector),
        )
        start += len(text) + 1


async def publish(
    database: Database,
    caller: Caller,
    chunks: list[tuple[str, np.ndarray]],
    *,
    document: str | None = None,
    collection: str = "default",
    title: str = "",
) -> str:
    document = document or new_id("doc")
    async with database.transaction(caller) as connection:
        await stage(connection, caller, document, chunks)
        await Chunks().publish(connection, caller, document, collection, title)
    return document


async def make_collection(database: Database, caller: Caller, name: str) -> None:
    async with database.transaction(caller) as connection:
        await connection.execute("INSERT INTO collection (tenant_id, name) VALUES (%s, %s)", (caller.tenant_id, name))


async def ranked(
    database: Database, caller: Caller, query: str, vector: np.ndarray, limit: int = 10, collection: str | None = None
) -> list[Ranked]:
    search = Search(ChunkViews(database), NoEmbedder())
    return await search.ranked(caller, storable(query), vector, limit, collection)


async def counted(database: Database, caller: Caller) -> dict[str, object]:
    """The counters as they are kept, and everything that they and the postings should agree with."""
    async with database.transaction(caller) as connection:

        async def rows(statement: str) -> list[dict[str, object]]:
            cursor = await connection.execute(statement, {"tenant": caller.tenant_id})
            return await cursor.fetchall()

        kept = await rows(
            "SELECT name, document_count, chunk_count, lexeme_count FROM collection WHERE tenant_id = %(tenant)s"
            " AND document_count > 0 ORDER BY name"
        )
        recount = await rows(
            "SELECT d.collection AS name, count(DISTINCT d.document_id) AS document_count,"
            " count(c.number) AS chunk_count, coalesce(sum(c.lexeme_count), 0)::bigint AS lexeme_count"
            " FROM published_document d LEFT JOIN chunk c USING (tenant_id, document_id)"
            " WHERE tenant_id = %(tenant)s GROUP BY d.collection ORDER BY 1"
        )
        postings = await rows(
            "SELECT lexeme, block * 1024 + (entry >> 21) AS number,"
            " (entry >> 15) & 63 AS occurrences, entry & 32767 AS length"
            " FROM posting, generate_series(0, length(packed) / 4 - 1) i,"
            " LATERAL (SELECT ('x' || encode(substr(packed, i * 4 + 1, 4), 'hex'))::bit(32)::int AS entry) e"
            " WHERE tenant_id = %(tenant)s"
            " ORDER BY 1, block, i"
        )
        expected = await rows(
            'SELECT l.lexeme COLLATE "C" AS lexeme, c.number, cardinality(l.positions) AS occurrences,'
            " c.lexeme_count AS length FROM chunk c JOIN published_document d USING (tenant_id, document_id),"
            " unnest(to_tsvector('english', d.title || E'\\n' || c.heading || E'\\n' || c.text)) l"
            " WHERE tenant_id = %(tenant)s ORDER BY 1, 2"
        )
        empty = await rows("SELECT lexeme FROM posting WHERE tenant_id = %(tenant)s AND length(packed) = 0")
        vectors = await rows("SELECT number FROM chunk_vector WHERE tenant_id = %(tenant)s ORDER BY 1")
        chunks = await rows("SELECT number FROM chunk WHERE tenant_id = %(tenant)s ORDER BY 1")
        staged = await rows("SELECT ordinal FROM staged_chunk WHERE tenant_id = %(tenant)s")
    assert kept == recount
    assert postings == expected
    assert vectors == chunks
    assert empty == []
    assert staged == []
    return {"counters": kept, "postings": len(postings)}


def passage(rng: random.Random, words: int = 20) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


async def test_published_chunk_is_found_with_its_offsets(database: Database, new_caller) -> None:
    caller = new_caller()
    document = await publish(
        database, caller, [("the wing stalls", unit(1)), ("a cone heats up", unit(2))], title="Wings"
    )
    [best, other] = await ranked(database, caller, "heated cones", unit(3))
    assert (best.chunk.text, best.chunk.start, best.chunk.end, best.chunk.page) == ("a cone heats up", 16, 31, 1)
    assert (best.chunk.document_id, best.chunk.ordinal, best.chunk.title) == (document, 1, "Wings")
    assert best.score > other.score
    assert best.similarity == pytest.approx(float(unit(2) @ unit(3)), abs=1e-3)


async def test_second_publish_changes_nothing_and_a_new_version_replaces(database: Database, new_caller) -> None:
    caller = new_caller()
    document = await publish(database, caller, [("flow over a plate", unit(1))] * 3, title="Plates")
    before = await counted(database, caller)
    async with database.transaction(caller) as connection:
        await Chunks().publish(connection, caller, document, "default", "Plates")
    assert await counted(database, caller) == before
    await publish(database, caller, [("flutter of a panel", unit(2))], document=document, title="Panels")
    after = await counted(database, caller)
    assert after["counters"] == [{"name": "default", "document_count": 1, "chunk_count": 1, "lexeme_count": 3}]
    assert [item.chunk.text for item in await ranked(database, caller, "plate", unit(1))] == ["flutter of a panel"]


async def test_document_moves_to_another_collection(database: Database, new_caller) -> None:
    caller = new_caller()
    await make_collection(database, caller, "other")
    document = await publish(database, caller, [("flow over a plate", unit(1))])
    await publish(database, caller, [("flow over a plate", unit(1))], document=document, collection="other")
    assert [row["name"] for row in (await counted(database, caller))["counters"]] == ["other"]
    assert await ranked(database, caller, "plate", unit(1), collection="default") == []
    assert len(await ranked(database, caller, "plate", unit(1), collection="other")) == 1


async def test_random_publishing_and_withdrawing_leaves_exact_counters_and_postings(
    database: Database, new_caller
) -> None:
    caller, neighbour = new_caller(), new_caller()
    await make_collection(database, caller, "other")
    await publish(database, neighbour, [("wing flow", unit(1))])
    untouched = await counted(database, neighbour)
    rng = random.Random(7)
    documents: list[str] = []
    async with database.transaction(caller) as connection:  # so that blocks of 1,024 chunks are crossed
        await connection.execute(
            "INSERT INTO collection (tenant_id, name, next_number) VALUES (%s, 'default', 1000)", (caller.tenant_id,)
        )
    for turn in range(60):
        choice = rng.random()
        if choice < 0.55 or not documents:
            size = rng.choice((0, 1, 3, 8, 40))
            known = rng.choice(documents) if documents and rng.random() < 0.3 else None
            document = await publish(
                database,
                caller,
                [(passage(rng), unit(turn))] * size,
                document=known,
                collection=rng.choice(("default", "other")),
                title=passage(rng, 3),
            )
            if known is None:
                documents.append(document)
        else:
            document = documents.pop(rng.randrange(len(documents)))
            async with database.transaction(caller) as connection:
                await stage(connection, caller, document, [("left over", unit(0))])
                await Chunks().withdraw(connection, caller, document)
        if turn % 6 == 0:
            await counted(database, caller)
    for document in documents:
        async with database.transaction(caller) as connection:
            await Chunks().withdraw(connection, caller, document)
            await Chunks().withdraw(connection, caller, document)
    assert await counted(database, caller) == {"counters": [], "postings": 0}
    assert await counted(database, neighbour) == untouched


async def test_withdrawing_a_document_of_several_blocks(database: Database, new_caller) -> None:
    caller = new_caller()
    await publish(database, caller, [("wing before", unit(1))] * 3)
    large = await publish(database, caller, [(f"wing number{i % 50}", unit(2)) for i in range(2_500)])
    await publish(database, caller, [("wing after", unit(3))] * 3)
    await counted(database, caller)
    async with database.transaction(caller) as connection:
        await Chunks().withdraw(connection, caller, large)
    assert (await counted(database, caller))["counters"][0]["chunk_count"] == 6
    assert len(await ranked(database, caller, "wing", unit(1), limit=100)) == 6


async def test_postings_that_are_kept_follow_every_change(database: Database, new_caller) -> None:
    caller, other = new_caller(), new_caller()
    views = ChunkViews(database)  # keeps the postings of "wing", which are long

    async def agreed(asking: Caller) -> list[tuple[str, float]]:
        for _ in range(2):
            found = [
                [(item.chunk.text, item.score) for item in await search.ranked(asking, "wing heat", unit(1), 5)]
                for search in (Search(views, NoEmbedder()), Search(ChunkViews(database), NoEmbedder()))
            ]
            assert found[0] == found[1]
        return found[0]

    large = await publish(database, caller, [(f"wing number{i % 50}", unit(2)) for i in range(1_100)])
    assert await agreed(caller)
    assert await agreed(other) == []
    small = await publish(database, caller, [("wing wing heat", unit(3))])
    assert (await agreed(caller))[0][0] == "wing wing heat"
    await publish(database, caller, [("a wing of heat", unit(3))], document=small)
    assert (await agreed(caller))[0][0] == "a wing of heat"
    for document in (large, small):
        async with database.transaction(caller) as connection:
            await Chunks().withdraw(connection, caller, document)
        await agreed(caller)
    assert await agreed(caller) == []


async def test_publishing_at_once_loses_nothing(database: Database, new_caller) -> None:
    caller = new_caller()
    rng = random.Random(3)
    await asyncio.gather(*(publish(database, caller, [(passage(rng), unit(i))] * 4) for i in range(20)))
    assert (await counted(database, caller))["counters"][0]["chunk_count"] == 80


async def test_chunks_without_vectors_and_absent_collections_are_refused(database: Database, new_caller) -> None:
    caller = new_caller()
    with pytest.raises(NotFound):
        await publish(database, caller, [("text", unit(1))], collection="absent")
    async with database.transaction(caller) as connection:
        await connection.execute(
            "INSERT INTO staged_chunk (tenant_id, document_id, ordinal, page, start_char, end_char, text)"
            " VALUES (%s, 'doc_x', 0, 1, 0, 4, 'text')",
            (caller.tenant_id,),
        )
    with pytest.raises(Internal):
        async with database.transaction(caller) as connection:
            await Chunks().publish(connection, caller, "doc_x", "default", "")


async def lexical_scores(
    database: Database, caller: Caller, query: str, collection: str | None = None
) -> dict[str, float]:
    async with ChunkViews(database)(caller) as view:
        extent = await view.extent(query, collection)
        async with view.candidates(extent, unit(1), 10) as (postings, _):
            scores = LexicalScores(postings, extent.statistics)
        numbers = scores.best(1000)
        found = await view.chunks(numbers.tolist(), unit(1))
        values = scores.of(numbers)
        assert list(values) == sorted(values, reverse=True)
        return {
            f"{chunk.document_id}.{chunk.ordinal}": float(value) for chunk, value in zip(found, values, strict=True)
        }


async def independent_scores(database: Database, caller: Caller, query: str, texts: dict[str, str]) -> dict[str, float]:
    async def lexemes(text: str) -> Counter[str]:
        async with database.transaction(caller) as connection:
            cursor = await connection.execute(
                "SELECT lexeme, cardinality(positions) AS n FROM unnest(to_tsvector('english', %s::text))", (text,)
            )
            return Counter({row["lexeme"]: row["n"] for row in await cursor.fetchall()})

    bags = {key: await lexemes(text) for key, text in texts.items()}
    average = sum(bag.total() for bag in bags.values()) / len(bags)
    scores: dict[str, float] = {}
    for lexeme, occurrences in (await lexemes(query)).items():
        frequency = sum(lexeme in bag for bag in bags.values())
        idf = math.log(1 + (len(bags) - frequency + 0.5) / (frequency + 0.5))
        for key, bag in bags.items():
            if lexeme in bag:
                norm = K1 * (1 - B + B * bag.total() / average)
                part = occurrences * idf * bag[lexeme] * (K1 + 1) / (bag[lexeme] + norm)
                scores[key] = scores.get(key, 0.0) + part
    return scores


async def test_bm25_equals_an_independent_implementation_and_other_tenants_change_nothing(
    database: Database, new_caller
) -> None:
    caller, neighbour = new_caller(), new_caller()
    rng = random.Random(11)
    texts: dict[str, str] = {}
    for _ in range(12):
        chunks = [(passage(rng, rng.randrange(3, 40)), unit(1)) for _ in range(5)]
        document = await publish(database, caller, chunks, title="pressure plates")
        texts |= {f"{document}.{i}": f"pressure plates\n\n{text}" for i, (text, _) in enumerate(chunks)}
    query = "turbulent flow, flows and the turbulent boundary of running panels unknownword"
    expected = await independent_scores(database, caller, query, texts)
    scores = await lexical_scores(database, caller, query)
    assert scores == pytest.approx(expected, abs=1e-6)
    assert len(scores) > 30
    await publish(database, neighbour, [(passage(rng), unit(1)) for _ in range(50)])
    assert await lexical_scores(database, caller, query) == scores


async def test_statistics_are_those_of_the_collection_that_is_asked(database: Database, new_caller) -> None:
    caller = new_caller()
    await make_collection(database, caller, "other")
    rng = random.Random(5)
    chunks = [(passage(rng), unit(1)) for _ in range(20)]
    document = await publish(database, caller, chunks)
    await publish(database, caller, [(passage(rng), unit(1)) for _ in range(30)], collection="other")
    texts = {f"{document}.{i}": text for i, (text, _) in enumerate(chunks)}
    scores = await lexical_scores(database, caller, "flow of heat", "default")
    assert scores == pytest.approx(await independent_scores(database, caller, "flow of heat", texts), abs=1e-6)
    assert len(await lexical_scores(database, caller, "flow of heat")) > len(scores)


async def test_dense_ranking_is_exact(database: Database, new_caller) -> None:
    caller = new_caller()
    vectors = [unit(i) for i in range(300)]
    await publish(database, caller, [("", 7.0 * vector) for vector in vectors])
    query = unit(1000)
    async with ChunkViews(database)(caller) as view:
        extent = await view.extent("anything", None)
        async with view.candidates(extent, query, 20) as (_, nearest):
            numbers, cosines = await nearest
        found = [chunk.ordinal for chunk in await view.chunks(numbers.tolist(), query)]
    exact = np.array(vectors) @ query
    assert found == np.argsort(-exact)[:20].tolist()
    assert cosines == pytest.approx(np.sort(exact)[::-1][:20], abs=1e-3)


async def test_what_is_not_looked_at_could_not_have_come_first(database: Database, new_caller) -> None:
    caller, rng = new_caller(), random.Random(5)
    await publish(database, caller, [(passage(rng, 8), unit(i)) for i in range(400)])
    for turn in range(6):
        query, vector = passage(rng, 4), unit(1_000 + turn)
        async with ChunkViews(database)(caller) as view:
            extent = await view.extent(query, None)
            async with view.candidates(extent, vector, DEPTH) as (postings, nearest):
                lexical = LexicalScores(postings, extent.statistics)
                numbers, _ = await nearest
            chunks = await view.chunks(np.union1d(numbers, lexical.best(DEPTH)).tolist(), vector)
        every = np.array([chunk.number for chunk in chunks])
        scores = fused(np.array([chunk.similarity for chunk in chunks]), lexical.of(every), lexical.reachable)
        for limit in (1, 10, 100):
            expected = every[order(scores, every)[:limit]].tolist()
            found = await ranked(database, caller, query, vector, limit)
            assert [item.chunk.number for item in found] == expected


async def test_fused_score_is_cosine_and_reached_share_for_every_result(database: Database, new_caller) -> None:
    caller = new_caller()
    # The best by words is the worst by meaning, below the depth of the dense ranking.
    chunks = [("plate", unit(1) + 20 * unit(i)) for i in range(2, 152)] + [("flutter", unit(999))]
    await publish(database, caller, chunks)
    query = "flutter, the flutter of a shell"
    results = await ranked(database, caller, query, unit(1))
    assert [item.score for item in results] == sorted((item.score for item in results), reverse=True)
    best = results[0]
    assert best.chunk.ordinal == 150
    assert best.similarity == pytest.approx(float(unit(999) @ unit(1)), abs=1e-3)
    [score] = (await lexical_scores(database, caller, query)).values()
    # `shell` is nowhere: it counts as the rarest of lexemes in what could be reached.
    reachable = (2 * math.log(1 + (151 - 1 + 0.5) / 1.5) + math.log(1 + 151.5 / 0.5)) * (K1 + 1)
    assert best.score == pytest.approx(DENSE_WEIGHT * best.similarity + (1 - DENSE_WEIGHT) * score / reachable)
    assert results[1].score == pytest.approx(DENSE_WEIGHT * results[1].similarity)


async def test_other_tenants_never_appear_on_one_alternating_connection(postgres, new_caller) -> None:
    database = await Database.open(postgres.app_url, max_connections=2)
    try:
        callers = [new_caller(), new_caller(), new_caller()]
        for size, caller in zip((30, 200, 5), callers, strict=True):
            chunks = [(f"wing flow {caller.tenant_id}", unit(i)) for i in range(size)]
            await publish(database, caller, chunks, title=caller.tenant_id)
        for turn in range(200):
            caller = callers[turn % 3]
            results = await ranked(database, caller, "wing flow", unit(turn % 30), limit=5)
            assert len(results) == 5
            assert {item.chunk.title for item in results} == {caller.tenant_id}
            if turn % 3 < 2:
                assert results[0].chunk.ordinal == turn % 30
    finally:
        await database.close()


@pytest.mark.parametrize(
    "query",
    [
        "the of and",
        "'; DROP TABLE chunk; --",
        "\"quoted 'query' \\ & | ! :* <->\"",
        "🛩️🔥 \x00 \ud800",
        "%s %(tenant)s {}",
        "мощность 翼 ⟨x⟩",
        "wing " * 1600,
        " ".join(f"w{i}" for i in range(1600)),
        "x" * 8000,
    ],
)
async def test_any_query_is_answered(database: Database, new_caller, query: str) -> None:
    caller = new_caller()
    assert await ranked(database, caller, query, unit(1)) == []
    await publish(database, caller, [("a wing", unit(1)), ("a cone", unit(2))])
    assert [item.chunk.text for item in await ranked(database, caller, query, unit(1))] == ["a wing", "a cone"]


async def test_unknown_collection_is_not_found_and_default_is_always_there(database: Database, new_caller) -> None:
    caller = new_caller()
    assert await ranked(database, caller, "wing", unit(1), collection="default") == []
    with pytest.raises(NotFound):
        await ranked(database, caller, "wing", unit(1), collection="absent")
