"""The workflow that makes a document searchable: extract → chunk → embed → store (ADR 0009).

A step may run again after a crash, so each writes where nobody else does, or replaces what it wrote before, and becomes
true only with the commit that also marks it done. Parsing runs in another process and chunking in a thread, so that
the leases of this process are renewed whatever a file does.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from slipway.base.errors import InvalidRequest, SlipwayError
from slipway.runtime.database import Connection, Database
from slipway.runtime.objects import Objects
from slipway.runtime.workflows import Commit, Execution, LeaseLost, Step, Workflow
from slipway.services.retrieval import documents_rows as rows
from slipway.services.retrieval import ingestion_staging as staging
from slipway.services.retrieval.chunking import TokenCounter, chunk
from slipway.services.retrieval.documents_text import TextCache
from slipway.services.retrieval.models import MAX_DOCUMENT_BYTES, Source, original_key, text_key
from slipway.services.retrieval.ports import ChunkStore, Embedder, Extractor

_BATCH: Final = 64  # texts a request to the embedder
# While one batch is embedded the next is read and sent and the last is written, so the embedder never waits for us.
_LANES: Final = 2
_REPORT_S: Final = 1.0
_READ_BYTES: Final = 256 * 1024
_MAX_STORED_TEXT_BYTES: Final = 5 * MAX_DOCUMENT_BYTES  # four bytes a character at most, and the page table


@dataclass(frozen=True)
class Ingestion:
    """The steps of ingestion over their ports; `workflow` is what a worker runs."""

    database: Database
    objects: Objects
    extractor: Extractor
    embedder: Embedder
    chunks: ChunkStore
    texts: TextCache
    count_tokens: TokenCounter

    @property
    def workflow(self) -> Workflow:
        steps = (
            Step("extract", self.extract),
            Step("chunk", self.chunk),
            Step("embed", self.embed),
            Step("store", self.store),
        )
        return Workflow("ingestion", steps, failed=self.failed)

    async def extract(self, execution: Execution) -> Commit:
        """File to text, kept as an object of its own for each run."""
        caller, document_id = execution.caller, execution.subject_id
        source = await self._source(execution)
        key = text_key(document_id, execution.fence)
        with tempfile.TemporaryDirectory(prefix="slipway-ingest-") as folder:
            original, result = Path(folder) / "original", Path(folder) / "text"
            await self.objects.fetch(caller, original_key(document_id), original)
            report = _Report(execution)
            async with report:
                extracted = await self.extractor(original, source.file_name, source.declared_type, progress=report.note)
            if not extracted.text.strip():
                raise InvalidRequest("The document has no text in it. Of scanned pages, add the text instead.")
            await asyncio.to_thread(extracted.dump, result)
            await self.objects.put(caller, key, _pieces(result), max_bytes=_MAX_STORED_TEXT_BYTES)

        async def commit(connection: Connection) -> None:
            pages = len(extracted.pages)
            await rows.set_text(
                connection,
                caller,
                document_id,
                key=key,
                title=extracted.title,
                media_type=extracted.media_type,
                pages=pages,
            )
            await execution.progress(connection, pages, pages)

        return commit

    async def chunk(self, execution: Execution) -> Commit:
        """Text to staged chunks, in place of any that an earlier run staged."""
        caller, document_id = execution.caller, execution.subject_id
        source = await self._source(execution)
        if source.text_key is None:
            raise InvalidRequest("The text of this document is missing: add the document again.")
        extracted = await self.texts.extracted(caller, source.text_key)
        chunks = await asyncio.to_thread(chunk, extracted, self.count_tokens)

        async def commit(connection: Connection) -> None:
            await staging.replace(connection, caller, document_id, chunks)
            await rows.set_chunk_count(connection, caller, document_id, len(chunks))
            await execution.progress(connection, len(chunks), len(chunks))
            await execution.progress(connection, 0, len(chunks), step="embed")

        return commit

    async def embed(self, execution: Execution) -> None:
        """Vectors for the staged chunks that have none; each batch is one transaction."""
        async with execution.transaction() as connection:
            done, total = await staging.counts(connection, execution.caller, execution.subject_id)
            await execution.progress(connection, done, total)
        batches = staging.Batches(execution, _BATCH)
        lanes = min(_LANES, -(-(total - done) // _BATCH))
        tasks = [asyncio.create_task(self._embed_lane(execution, batches)) for _ in range(lanes)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _embed_lane(self, execution: Execution, batches: "staging.Batches") -> None:
        while batch := await batches.next():
            vectors = await self.embedder.embed(execution.caller, [text for _, text in batch])
            embeddings = [np.frombuffer(vector, "<f4") for vector in vectors]
            ordinals = [ordinal for ordinal, _ in batch]
            async with execution.transaction() as connection:
                await staging.set_embeddings(connection, execution.caller, execution.subject_id, ordinals, embeddings)
                await execution.advance(connection, len(batch))

    async def store(self, execution: Execution) -> Commit:
        """Staged chunks to searchable ones, and the document is ready, all in one commit."""
        caller, document_id = execution.caller, execution.subject_id
        source = await self._source(execution)

        async def commit(connection: Connection) -> None:
            await self.chunks.publish(connection, caller, document_id, source.collection, source.title)
            await rows.set_ready(connection, caller, document_id)
            await execution.progress(connection, 1, 1)

        return commit

    async def failed(self, execution: Execution, connection: Connection, error: SlipwayError) -> None:
        """Nothing of a failed document stays searchable or staged; its file stays for another try."""
        await self.chunks.withdraw(connection, execution.caller, execution.subject_id)
        await rows.set_failed(connection, execution.caller, execution.subject_id, error)

    async def _source(self, execution: Execution) -> Source:
        async with execution.transaction() as connection:
            source = await rows.source(connection, execution.caller, execution.subject_id)
        if source is None:
            raise LeaseLost(execution.workflow_id)
        return source


class _Report:
    """Writes the pages that a parser has done once a second, beside it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._noted: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    def note(self, done: int, total: int) -> None:
        self._noted = (done, total)

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._write())

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self) -> None:
        written = None
        while True:
            await asyncio.sleep(_REPORT_S)
            if self._noted is None or self._noted == written:
                continue
            written = self._noted
            # Only a report: with the store away or the lease lost the step itself finds out.
            with contextlib.suppress(SlipwayError, LeaseLost):
                async with self._execution.transaction(durable=False) as connection:
                    await self._execution.progress(connection, *written)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ_BYTES):
            yield piece
