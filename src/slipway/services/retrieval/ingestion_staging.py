"""The rows of `staged_chunk` while ingestion fills them; the search side moves them on when they are complete.

Every write is on the transaction of a step that holds its workflow.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from psycopg.rows import DictRow

from slipway.base.callers import Caller
from slipway.runtime.database import Connection, one
from slipway.runtime.workflows import Execution
from slipway.services.retrieval.chunking import Chunk

_ROWS_A_STATEMENT = 1000  # arbitrary; a statement's arguments stay near 1 MB

_STAGE: Final = (
    "INSERT INTO staged_chunk (tenant_id, document_id, ordinal, page, start_char, end_char, text, heading{column})"
    " SELECT %(tenant)s, %(document)s, * FROM unnest(%(ordinals)s::int[], %(pages)s::int[], %(starts)s::int[],"
    " %(ends)s::int[], %(texts)s::text[], %(headings)s::text[]{values})"
)
_STAGE_BARE: Final = _STAGE.format(column="", values="")
_STAGE_WHOLE: Final = _STAGE.format(column=", embedding", values=", %(embeddings)b::vector[]")


async def replace(
    connection: Connection,
    caller: Caller,
    document_id: str,
    chunks: Sequence[Chunk],
    embeddings: Sequence[Any] | None = None,
) -> None:
    """Stages these chunks, with the `float32[384]` of each if given, and no others.

    Arrays, because COPY does not write to a table with row-level security.
    """
    keys = {"tenant": caller.tenant_id, "document": document_id}
    await connection.execute(
        "DELETE FROM staged_chunk WHERE tenant_id = %(tenant)s AND document_id = %(document)s", keys
    )
    for first in range(0, len(chunks), _ROWS_A_STATEMENT):
        part = chunks[first : first + _ROWS_A_STATEMENT]
        await connection.execute(
            _STAGE_WHOLE if embeddings else _STAGE_BARE,
            keys
            | {
                "ordinals": [chunk.ordinal for chunk in part],
                "pages": [chunk.page for chunk in part],
                "starts": [chunk.start for chunk in part],
                "ends": [chunk.end for chunk in part],
                "texts": [chunk.text for chunk in part],
                "headings": [chunk.heading or "" for chunk in part],
                "embeddings": list(embeddings[first : first + _ROWS_A_STATEMENT]) if embeddings else [],
            },
        )


async def counts(connection: Connection, caller: Caller, document_id: str) -> tuple[int, int]:
    """How many staged chunks have a vector, and how many there are."""
    counted = await connection.execute(
        "SELECT count(embedding) AS done, count(*) AS total FROM staged_chunk"
        " WHERE tenant_id = %s AND document_id = %s",
        (caller.tenant_id, document_id),
    )
    row = one(await counted.fetchone())
    return row["done"], row["total"]


async def set_embeddings(
    connection: Connection, caller: Caller, document_id: str, ordinals: Sequence[int], embeddings: Sequence[Any]
) -> None:
    """Gives each chunk its vector, `float32[384]`."""
    await connection.execute(
        "UPDATE staged_chunk SET embedding = given.embedding"
        " FROM unnest(%(ordinals)s::int[], %(embeddings)b::vector[]) AS given(ordinal, embedding)"
        " WHERE tenant_id = %(tenant)s AND document_id = %(document)s AND staged_chunk.ordinal = given.ordinal",
        {
            "tenant": caller.tenant_id,
            "document": document_id,
            "ordinals": list(ordinals),
            "embeddings": list(embeddings),
        },
    )


class Batches:
    """Hands out the chunks without a vector, each once, in batches; several lanes may take from it."""

    def __init__(self, execution: Execution, size: int) -> None:
        self._execution = execution
        self._size = size
        self._after = -1
        self._ended = False
        self._lock = asyncio.Lock()

    async def next(self) -> list[DictRow]:
        """The next rows of `ordinal`, `text` and `heading`; empty at the end."""
        async with self._lock:
            return [] if self._ended else await self._read()

    async def _read(self) -> list[DictRow]:
        async with self._execution.transaction() as connection:
            found = await connection.execute(
                "SELECT ordinal, text, heading FROM staged_chunk WHERE tenant_id = %s AND document_id = %s"
                " AND ordinal > %s AND embedding IS NULL ORDER BY ordinal LIMIT %s",
                (self._execution.caller.tenant_id, self._execution.subject_id, self._after, self._size),
            )
            batch = await found.fetchall()
        self._ended = len(batch) < self._size
        if batch:
            self._after = batch[-1]["ordinal"]
        return batch
