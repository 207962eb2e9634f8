"""Writes what search reads: publishes and withdraws a document's chunks, postings and counters (ADR 0010).

Ingestion calls it in the transaction that marks its step done, so that both are there or neither. Everything
happens in PostgreSQL; no text or vector comes to this process. Two writers to one collection take turns, on the
row of its counters. It refuses chunks without a vector and collections that do not exist; `default` comes into
being by itself.
"""

from typing import Any, Final

from slipway.base.callers import Caller
from slipway.base.errors import Conflict, NotFound, defect
from slipway.runtime.database import Connection, one
from slipway.services.retrieval.collections_rows import default_ensure
from slipway.services.retrieval.models import DEFAULT_COLLECTION

# What a chunk is found by: the title and heading say what a passage is about when it does not say so itself.
# With the title, BM25 on Cranfield's odd queries is 0.391 instead of 0.379 nDCG@10.
_LEXEMES: Final = "to_tsvector('english', {title} || E'\\n' || c.heading || E'\\n' || c.text)"

_CHUNKS: Final = f"""
INSERT INTO chunk (tenant_id, document_id, ordinal, number, page, start_char, end_char, heading, text, lexeme_count)
SELECT c.tenant_id, c.document_id, c.ordinal, %(first)s + row_number() OVER (ORDER BY c.ordinal) - 1,
       c.page, c.start_char, c.end_char, c.heading, c.text,
       least(32767, (SELECT coalesce(sum(cardinality(l.positions)), 0)
                     FROM unnest({_LEXEMES.format(title="%(title)s::text")}) l))
FROM staged_chunk c WHERE c.tenant_id = %(tenant)s AND c.document_id = %(document)s
"""

_VECTORS: Final = """
INSERT INTO chunk_vector (tenant_id, number, embedding)
SELECT c.tenant_id, c.number, l2_normalize(s.embedding)::halfvec(384)
FROM chunk c JOIN staged_chunk s USING (tenant_id, document_id, ordinal)
WHERE c.tenant_id = %(tenant)s AND c.document_id = %(document)s
ORDER BY c.number
"""

# In order of lexeme, so that two writers could not wait for each other even without the lock.
_POSTINGS: Final = f"""
INSERT INTO posting AS p (tenant_id, lexeme, block, packed)
SELECT c.tenant_id, l.lexeme, c.number >> 10,
       string_agg(int4send((((c.number & 1023) << 21) | (least(63, cardinality(l.positions)) << 15)
                            | c.lexeme_count)::int4), ''::bytea ORDER BY c.number)
FROM chunk c, unnest({_LEXEMES.format(title="%(title)s::text")}) l
WHERE c.tenant_id = %(tenant)s AND c.document_id = %(document)s
GROUP BY c.tenant_id, l.lexeme, c.number >> 10
ORDER BY l.lexeme, c.number >> 10
ON CONFLICT (tenant_id, lexeme, block) DO UPDATE SET packed = p.packed || excluded.packed
RETURNING lexeme
"""

_RECORD: Final = f"""
WITH written AS ({_POSTINGS}), total AS (
  SELECT coalesce(sum(lexeme_count), 0) AS lexeme_count FROM chunk
  WHERE tenant_id = %(tenant)s AND document_id = %(document)s
), recorded AS (
  UPDATE published_document SET lexeme_count = total.lexeme_count,
         lexemes = (SELECT coalesce(array_agg(DISTINCT lexeme), '{{}}') FROM written)
  FROM total WHERE tenant_id = %(tenant)s AND document_id = %(document)s
)
UPDATE collection SET next_number = next_number + %(count)s, document_count = document_count + 1,
       chunk_count = collection.chunk_count + %(count)s, lexeme_count = collection.lexeme_count + total.lexeme_count
FROM total WHERE tenant_id = %(tenant)s AND name = %(collection)s
"""

# The document's entries leave the blocks at its two ends; the blocks between hold nothing else.
_CUT: Final = """
UPDATE posting p SET packed = coalesce((
  SELECT string_agg(substr(p.packed, i * 4 + 1, 4), ''::bytea ORDER BY i)
  FROM generate_series(0, length(p.packed) / 4 - 1) i
  WHERE (p.block << 10) + (get_byte(p.packed, i * 4) << 3) + (get_byte(p.packed, i * 4 + 1) >> 5)
        NOT BETWEEN %(first)s AND %(last)s
), ''::bytea)
WHERE p.tenant_id = %(tenant)s AND p.lexeme = ANY (%(lexemes)s) AND p.block IN (%(first)s >> 10, %(last)s >> 10)
"""
_DROP: Final = """
DELETE FROM posting p
WHERE p.tenant_id = %(tenant)s AND p.lexeme = ANY (%(lexemes)s) AND p.block BETWEEN %(first)s >> 10 AND %(last)s >> 10
  AND (p.packed = ''::bytea OR p.block NOT IN (%(first)s >> 10, %(last)s >> 10))
"""


class Chunks:
    """The searchable chunks of a tenant, on the transaction of whoever calls."""

    async def publish(
        self, connection: Connection, caller: Caller, document_id: str, collection: str, title: str
    ) -> None:
        """Makes the document's staged chunks searchable in place of any it had; a second time changes nothing.

        Raises NotFound when the collection is gone, Internal when a staged chunk has no vector.
        """
        key = {"tenant": caller.tenant_id, "document": document_id}
        if collection == DEFAULT_COLLECTION:
            await default_ensure(connection, caller)
        before = await _published(connection, key)
        locked = await _locked(connection, key, {collection, *([before["collection"]] if before else [])})
        if collection not in locked:
            raise NotFound(f"There is no collection {collection!r}.")
        before = await _republished(connection, key, before)
        staged = await _staged(connection, key)
        if before is not None:
            if not staged:
                return
            await _unpublish(connection, key, before)
        first = (locked[collection]["slot"] << 32) + locked[collection]["next_number"]
        values = {**key, "collection": collection, "title": title, "first": first, "count": staged}
        await connection.execute(
            "INSERT INTO published_document"
            " (tenant_id, document_id, collection, title, first_number, chunk_count, lexeme_count, lexemes)"
            " VALUES (%(tenant)s, %(document)s, %(collection)s, %(title)s, %(first)s, %(count)s, 0, '{}')",
            values,
        )
        for statement in (_CHUNKS, _VECTORS, _RECORD):
            await connection.execute(statement, values)
        await _staged_clear(connection, key)

    async def withdraw(self, connection: Connection, caller: Caller, document_id: str) -> None:
        """Removes the document's chunks, staged and searchable; none is no error."""
        key = {"tenant": caller.tenant_id, "document": document_id}
        await _staged_clear(connection, key)
        before = await _published(connection, key)
        if before is None:
            return
        await _locked(connection, key, {before["collection"]})
        before = await _republished(connection, key, before)
        if before is not None:
            await _unpublish(connection, key, before)


async def _published(connection: Connection, key: dict[str, Any]) -> dict[str, Any] | None:
    cursor = await connection.execute(
        "SELECT collection, first_number, chunk_count, lexeme_count, lexemes FROM published_document"
        " WHERE tenant_id = %(tenant)s AND document_id = %(document)s",
        key,
    )
    return await cursor.fetchone()


async def _republished(
    connection: Connection, key: dict[str, Any], before: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The same, once nobody else can change it; raises Conflict when it moved to a collection that is not locked."""
    now = await _published(connection, key)
    if now is not None and (before is None or now["collection"] != before["collection"]):
        raise Conflict("Something else changed this document at the same moment: try again.", retryable=True)
    return now


async def _locked(connection: Connection, key: dict[str, Any], names: set[str]) -> dict[str, dict[str, Any]]:
    cursor = await connection.execute(
        "SELECT name, slot, next_number FROM collection"
        " WHERE tenant_id = %(tenant)s AND name = ANY (%(names)s) ORDER BY name FOR NO KEY UPDATE",
        {**key, "names": sorted(names)},
    )
    return {row["name"]: row for row in await cursor.fetchall()}


async def _staged(connection: Connection, key: dict[str, Any]) -> int:
    cursor = await connection.execute(
        "SELECT count(*) AS chunks, count(embedding) AS vectors FROM staged_chunk"
        " WHERE tenant_id = %(tenant)s AND document_id = %(document)s",
        key,
    )
    row = one(await cursor.fetchone())
    if row["chunks"] != row["vectors"]:
        raise defect(f"{row['chunks'] - row['vectors']} of {row['chunks']} staged chunks have no vector")
    return int(row["chunks"])


async def _staged_clear(connection: Connection, key: dict[str, Any]) -> None:
    await connection.execute(
        "DELETE FROM staged_chunk WHERE tenant_id = %(tenant)s AND document_id = %(document)s", key
    )


async def _unpublish(connection: Connection, key: dict[str, Any], published: dict[str, Any]) -> None:
    first, count = published["first_number"], published["chunk_count"]
    values = {**key, **published, "first": first, "last": first + count - 1}
    if count:
        await connection.execute(_CUT, values)
        await connection.execute(_DROP, values)
        await connection.execute(
            "DELETE FROM chunk_vector WHERE tenant_id = %(tenant)s AND number BETWEEN %(first)s AND %(last)s", values
        )
        await connection.execute(
            "DELETE FROM chunk WHERE tenant_id = %(tenant)s AND document_id = %(document)s", values
        )
    await connection.execute(
        "DELETE FROM published_document WHERE tenant_id = %(tenant)s AND document_id = %(document)s", values
    )
    await connection.execute(
        "UPDATE collection SET document_count = document_count - 1, chunk_count = chunk_count - %(chunk_count)s,"
        " lexeme_count = lexeme_count - %(lexeme_count)s WHERE tenant_id = %(tenant)s AND name = %(collection)s",
        values,
    )
