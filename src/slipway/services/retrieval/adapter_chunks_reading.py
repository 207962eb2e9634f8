"""Reads what search ranks: counters, packed postings, nearest vectors, and the chunks that are shown (ADR 0010).

Every statement names the tenant although row-level security would add it: the planner needs the constant to choose the
tenant's own partial index. Lexemes are made by the server that made those of the chunks, never in this process.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import numpy as np
from pgvector import HalfVector

from slipway.base.callers import Caller
from slipway.base.errors import NotFound
from slipway.runtime.database import Connection, Database, one
from slipway.services.retrieval.models import DEFAULT_COLLECTION
from slipway.services.retrieval.search_models import Extent, Found, Numbers, Postings, Scores, Statistics, Vector

# Up to here every vector is compared, which takes 7 ms of CPU (2026-11-21, ADR 0010); a larger tenant gets an index.
EXACT_CHUNKS: Final = 10_000
# Recall@10 over 100,000 chunks: 0.997 with 100, 0.9996 with 150 or 300 (2026-11-21, ADR 0010).
EF_SEARCH: Final = 100
_EVERYTHING: Final = (0, 2**63 - 1)

_EXTENT: Final = """
SELECT count(slot) AS collections, coalesce(min(slot), 0) AS slot,
       coalesce(sum(chunk_count), 0)::bigint AS chunk_count,
       coalesce(sum(lexeme_count), 0)::bigint AS lexeme_count, t.lexemes, t.occurrences
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

# Adding nothing to the distance keeps the planner from an index, which would not be exact.
_NEAREST: Final = """
SELECT number, -(embedding <#> %(vector)s) AS similarity FROM chunk_vector
WHERE tenant_id = %(tenant)s AND number BETWEEN %(first)s AND %(last)s
ORDER BY (embedding <#> %(vector)s){exactly} LIMIT %(depth)s
"""
_EXACT: Final = _NEAREST.format(exactly=" + 0")
_INDEXED: Final = _NEAREST.format(exactly="")

_SIMILARITIES: Final = """
SELECT number, -(embedding <#> %(vector)s) AS similarity FROM chunk_vector
WHERE tenant_id = %(tenant)s AND number = ANY (%(numbers)s)
"""

_FOUND: Final = """
SELECT c.number, c.document_id, c.ordinal, d.title, c.page, c.start_char, c.end_char, c.text
FROM chunk c JOIN published_document d ON d.tenant_id = c.tenant_id AND d.document_id = c.document_id
WHERE c.tenant_id = %(tenant)s AND d.tenant_id = %(tenant)s AND c.number = ANY (%(numbers)s)
"""


class ChunkViews:
    """Opens views of a tenant's chunks, each on a transaction of its own."""

    def __init__(self, database: Database, exact_chunks: int = EXACT_CHUNKS) -> None:
        """`exact_chunks`: how many vectors are compared one by one at most, where there is an index."""
        self._database = database
        self._exact_chunks = exact_chunks

    @contextlib.asynccontextmanager
    async def __call__(self, caller: Caller) -> AsyncIterator["ChunkView"]:
        async with self._database.transaction(caller) as connection:
            yield ChunkView(connection, caller, self._exact_chunks)


class ChunkView:
    """One tenant's chunks as one transaction sees them."""

    def __init__(self, connection: Connection, caller: Caller, exact_chunks: int) -> None:
        self._connection = connection
        self._exact_chunks = exact_chunks
        self._tenant = caller.tenant_id

    async def extent(self, query: str, collection: str | None) -> Extent:
        """What there is to search; raises NotFound when there is no such collection."""
        cursor = await self._connection.execute(
            _EXTENT, {"tenant": self._tenant, "query": query, "collection": collection}, binary=True
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
        )

    async def candidates(self, extent: Extent, query: Vector, depth: int) -> tuple[list[Postings], Numbers, Scores]:
        """The postings of the query's lexemes, and the `depth` nearest chunks by cosine, nearest first."""
        values = {
            "tenant": self._tenant,
            "lexemes": list(extent.occurrences),
            "first": extent.first,
            "last": extent.last,
            "vector": HalfVector(query),
            "depth": depth,
        }
        async with self._connection.pipeline():
            lexical = await self._connection.execute(_POSTINGS, values, binary=True)
            if extent.indexed:
                await self._connection.execute(
                    "SELECT set_config('hnsw.ef_search', %s, true),"
                    " set_config('hnsw.iterative_scan', 'strict_order', true)",
                    (str(EF_SEARCH),),
                )
            nearest = await self._connection.execute(_INDEXED if extent.indexed else _EXACT, values, binary=True)
        postings = [
            Postings(extent.occurrences[row["lexeme"]], row["blocks"], row["sizes"], row["packed"])
            for row in await lexical.fetchall()
        ]
        rows = await nearest.fetchall()
        numbers = np.fromiter((row["number"] for row in rows), np.int64, len(rows))
        return postings, numbers, np.fromiter((row["similarity"] for row in rows), np.float64, len(rows))

    async def similarities(self, numbers: Numbers, query: Vector) -> dict[int, float]:
        """The cosine of each of these chunks that is there."""
        if not len(numbers):
            return {}
        rows = await self._rows(_SIMILARITIES, numbers=numbers.tolist(), vector=HalfVector(query))
        return {row["number"]: row["similarity"] for row in rows}

    async def chunks(self, numbers: Sequence[int]) -> list[Found]:
        """These chunks, in the order asked."""
        rows = {row["number"]: row for row in await self._rows(_FOUND, numbers=list(numbers))}
        return [_found(rows[number]) for number in numbers if number in rows]

    async def _rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        cursor = await self._connection.execute(statement, {"tenant": self._tenant, **values}, binary=True)
        return await cursor.fetchall()


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
    )
