"""Reads what search ranks: counters, packed postings, nearest vectors, and the chunks that are shown (ADR 0010).

Every statement names the tenant although row-level security would add it: the planner needs the constant to choose the
tenant's own partial index. Lexemes are made by the server that made those of the chunks, never in this process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import numpy as np
from pgvector import HalfVector

from slipway.base.callers import Caller
from slipway.base.errors import NotFound
from slipway.runtime.database import Connection, Database, one
from slipway.services.retrieval.models import DEFAULT_COLLECTION
from slipway.services.retrieval.postings_cache import Lexicon, PostingsCache
from slipway.services.retrieval.search_models import Extent, Found, Numbers, Postings, Scores, Statistics, Vector
from slipway.services.retrieval.search_ports import Nearest

# Up to here every vector is compared: 0.6 microseconds each, so 3 ms here and 6 ms for 10,000, which alone are most of
# what a search may take (2026-11-21, ADR 0010). A larger tenant gets an index.
EXACT_CHUNKS: Final = 5_000
# Recall@10 over 100,000 chunks was 0.991 with 100, and 30 more cost half a millisecond (2026-11-21, ADR 0010).
EF_SEARCH: Final = 130
_EVERYTHING: Final = (0, 2**63 - 1)

# Publishing makes `next_number` larger, and until the next time withdrawing only makes `chunk_count` smaller: the two
# together stand for one state of a collection's postings and never for another. The time of the server's start is there
# because a database that was restored may go through the same numbers again.
_EXTENT: Final = """
SELECT count(slot) AS collections, coalesce(min(slot), 0) AS slot,
       coalesce(sum(chunk_count), 0)::bigint AS chunk_count,
       coalesce(sum(lexeme_count), 0)::bigint AS lexeme_count,
       encode(sha256(convert_to(concat(pg_postmaster_start_time(), ';',
         string_agg(concat_ws(' ', slot, next_number, chunk_count), ',' ORDER BY slot)), 'UTF8')), 'hex') AS version,
       t.lexemes, t.occurrences,
       set_config('hnsw.ef_search', %(ef_search)s::text, true), set_config('hnsw.iterative_scan', 'strict_order', true)
FROM (SELECT coalesce(array_agg(lexeme), '{}') AS lexemes,
             coalesce(array_agg(cardinality(positions)), '{}') AS occurrences
      FROM unnest(to_tsvector('english', %(query)s::text))) t
LEFT JOIN collection c
       ON c.tenant_id = %(tenant)s AND (%(collection)s::text IS NULL OR c.name = %(collection)s::text)
GROUP BY t.lexemes, t.occurrences
"""

# The three aggregates of a lexeme see its rows in one and the same order, whatever that is.
_POSTINGS: Final = """
SELECT lexeme, string_agg(int8send(block), ''::bytea) AS blocks,
       string_agg(int4send(length(packed)), ''::bytea) AS sizes, string_agg(packed, ''::bytea) AS packed
FROM posting
WHERE tenant_id = %(tenant)s AND lexeme = ANY (%(lexemes)s) AND block BETWEEN %(first)s >> 10 AND %(last)s >> 10
GROUP BY lexeme
"""

# Each distance is computed once. Adding nothing to it keeps the planner from an index, which would not be exact. The
# two aggregates see the rows in the order of the subquery.
_NEAREST: Final = """
SELECT coalesce(string_agg(int8send(number), ''::bytea), ''::bytea) AS numbers,
       coalesce(string_agg(float8send(-distance), ''::bytea), ''::bytea) AS similarities
FROM (
  SELECT number, (embedding <#> %(vector)b){exactly} AS distance FROM chunk_vector
  WHERE tenant_id = %(tenant)s AND number BETWEEN %(first)s AND %(last)s
  ORDER BY distance LIMIT %(depth)s
) nearest
"""
_EXACT: Final = _NEAREST.format(exactly=" + 0")
_INDEXED: Final = _NEAREST.format(exactly="")

# Not joined: planning a join of three tables takes as long as reading these few rows.
_FOUND: Final = """
SELECT c.number, c.document_id, c.ordinal, c.page, c.start_char, c.end_char, c.text,
       (SELECT d.title FROM published_document d
        WHERE d.tenant_id = %(tenant)s AND d.document_id = c.document_id) AS title,
       (SELECT -(v.embedding <#> %(vector)b) FROM chunk_vector v
        WHERE v.tenant_id = %(tenant)s AND v.number = c.number) AS similarity
FROM chunk c WHERE c.tenant_id = %(tenant)s AND c.number = ANY (%(numbers)s)
"""


class ChunkViews:
    """Opens views of a tenant's chunks, each on a transaction of its own."""

    def __init__(self, database: Database, exact_chunks: int = EXACT_CHUNKS) -> None:
        """`exact_chunks`: how many vectors are compared one by one at most, where there is an index."""
        self._database = database
        self._exact_chunks = exact_chunks
        self._cache = PostingsCache()

    @contextlib.asynccontextmanager
    async def __call__(self, caller: Caller) -> AsyncIterator["ChunkView"]:
        async with self._database.transaction(caller) as connection:
            yield ChunkView(connection, caller, self._exact_chunks, self._cache)


class ChunkView:
    """One tenant's chunks as one transaction sees them."""

    def __init__(self, connection: Connection, caller: Caller, exact_chunks: int, cache: PostingsCache) -> None:
        self._connection = connection
        self._cache = cache
        self._exact_chunks = exact_chunks
        self._tenant = caller.tenant_id

    async def extent(self, query: str, collection: str | None) -> Extent:
        """What there is to search; raises NotFound when there is no such collection."""
        cursor = await self._connection.execute(
            _EXTENT,
            {"tenant": self._tenant, "query": query, "collection": collection, "ef_search": str(EF_SEARCH)},
            binary=True,
        )
        row = one(await cursor.fetchone())
        if collection is not None and not row["collections"] and collection != DEFAULT_COLLECTION:
            raise NotFound(f"There is no collection {collection!r}.")
        first, last = _EVERYTHING
        if collection is not None:
            first, last = row["slot"] << 32, ((row["slot"] + 1) << 32) - 1
        return Extent(
            first=first,
            last=last,
            statistics=Statistics(row["chunk_count"], row["lexeme_count"]),
            indexed=row["chunk_count"] > self._exact_chunks,
            occurrences=dict(zip(row["lexemes"], row["occurrences"], strict=True)),
            version=row["version"],
        )

    @contextlib.asynccontextmanager
    async def candidates(
        self, extent: Extent, query: Vector, depth: int
    ) -> AsyncIterator[tuple[list[Postings], Nearest]]:
        """The postings of the query's lexemes, and what waits for the `depth` nearest chunks by cosine."""
        lexicon = Lexicon(self._tenant, extent.first, extent.version)
        known = {
            lexeme: postings
            for lexeme, occurrences in extent.occurrences.items()
            if (postings := self._cache.get(lexicon, lexeme, occurrences)) is not None
        }
        values = {
            "tenant": self._tenant,
            "lexemes": [lexeme for lexeme in extent.occurrences if lexeme not in known],
            "first": extent.first,
            "last": extent.last,
            "vector": HalfVector(query),
            "depth": depth,
        }
        if values["lexemes"]:
            cursor = await self._connection.execute(_POSTINGS, values, binary=True)
            for row in await cursor.fetchall():
                lexeme = row["lexeme"]
                known[lexeme] = Postings(extent.occurrences[lexeme], row["blocks"], row["sizes"], row["packed"])
                self._cache.put(lexicon, lexeme, known[lexeme])
        nearest = asyncio.create_task(self._nearest(_INDEXED if extent.indexed else _EXACT, values))
        await asyncio.sleep(0)  # the statement is sent; PostgreSQL works on it while the caller scores the postings
        try:
            # In one order, whatever was known: sums of floating-point numbers depend on it.
            yield [known[lexeme] for lexeme in extent.occurrences if lexeme in known], nearest
            await nearest  # also when nobody asked: a statement that is cancelled ends the transaction
        finally:
            nearest.cancel()
            await asyncio.gather(nearest, return_exceptions=True)

    async def _nearest(self, statement: str, values: dict[str, Any]) -> tuple[Numbers, Scores]:
        row = one(await (await self._connection.execute(statement, values, binary=True)).fetchone())
        numbers = np.frombuffer(row["numbers"], dtype=">i8").astype(np.int64)
        return numbers, np.frombuffer(row["similarities"], dtype=">f8").astype(np.float64)

    async def chunks(self, numbers: Sequence[int], query: Vector) -> list[Found]:
        """These chunks, in the order asked."""
        cursor = await self._connection.execute(
            _FOUND,
            {"tenant": self._tenant, "numbers": list(numbers), "vector": HalfVector(query)},
            binary=True,
        )
        found = {row["number"]: _found(row) for row in await cursor.fetchall()}
        return [found[number] for number in numbers if number in found]


def _found(row: dict[str, Any]) -> Found:
    return Found(
        number=row["number"],
        document_id=row["document_id"],
        ordinal=row["ordinal"],
        title=row["title"],
        page=row["page"],
        start=row["start_char"],
        end=row["end_char"],
        text=row["text"],
        similarity=row["similarity"],
    )
