"""The workflow that makes a document searchable: extract → chunk → embed → store (ADR 0009).

A step may run again after a crash, so each writes where nobody else does, or replaces what it wrote before, and becomes
true only with the commit that also marks it done. Parsing runs in another process and chunking in a thread, so that
the leases of this process are renewed whatever a file does.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from slipway.base.errors import InvalidRequest, SlipwayError
from slipway.runtime.database import Connection, Database
from slipway.runtime.objects import Objects
from slipway.runtime.workflows import Execution, LeaseLost, Outcome, Step, Workflow
from slipway.services.retrieval import documents_rows as rows
from slipway.services.retrieval import ingestion_staging as staging
from slipway.services.retrieval.chunking import Chunk, TokenCounter, chunk, embedded_text
from slipway.services.retrieval.documents_text import TextCache
from slipway.services.retrieval.extraction.models import ExtractedText
from slipway.services.retrieval.models import MAX_DOCUMENT_BYTES, Source, original_key, text_key
from slipway.services.retrieval.ports import ChunkStore, Embedder, Extractor

_BATCH: Final = 64  # texts a request to the embedder
# While one batch is embedded the next is read and sent and the last is written, so the embedder never waits for us.
_LANES: Final = 2
# Up to here (some ten chunks) all steps together take less time than their commits: they commit at once, and each
# works on what the one before it left in memory.
_SHORT_CHARS: Final = 8_000
_REPORT_S: Final = 1.0
_READ_BYTES: Final = 256 * 1024
_MAX_STORED_TEXT_BYTES: Final = 5 * MAX_DOCUMENT_BYTES  # four bytes a character at most, and the page table


@dataclass
class _Short:
    """A short document on its way through the steps of one run."""

    source: Source
    extracted: ExtractedText
    chunks: list[Chunk] = field(default_factory=list)
    vectors: list[np.ndarray] | None = None  # float32[384] each
    staged_whole: bool = False  # with their vectors


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

    async def extract(self, execution: Execution) -> Outcome:
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
            short = len(extracted.text) <= _SHORT_CHARS
            if not short:
                await asyncio.to_thread(extracted.dump, result)
            pieces = _given(extracted.dumped()) if short else _pieces(result)
            await self.objects.put(caller, key, pieces, max_bytes=_MAX_STORED_TEXT_BYTES)
        if short:
            execution.kept["short"] = _Short(replace(source, title=extracted.title, text_key=key), extracted)
        pages = len(extracted.pages)

        async def commit(connection: Connection) -> None:
            await rows.set_text(
                connection,
                caller,
                document_id,
                key=key,
                title=extracted.title,
                media_type=extracted.media_type,
                pages=pages,
            )

        return Outcome(commit, pages, pages, cheap=short)

    async def chunk(self, execution: Execution) -> Outcome:
        """Text to staged chunks, in place of any that an earlier run staged."""
        caller, document_id = execution.caller, execution.subject_id
        short = _short(execution)
        if short is None:
            source = await self._source(execution)
            if source.text_key is None:
                raise InvalidRequest("The text of this document is missing: add the document again.")
            extracted = await self.texts.extracted(caller, source.text_key)
        else:
            extracted = short.extracted
        chunks = await asyncio.to_thread(chunk, extracted, self.count_tokens)
        if short is not None:
            short.chunks = chunks

        async def commit(connection: Connection) -> None:
            vectors = short.vectors if short else None
            async with connection.pipeline():
                await staging.replace(connection, caller, document_id, chunks, vectors)
                await rows.set_chunk_count(connection, caller, document_id, len(chunks))
            if short is None or vectors is None:
                await execution.progress(connection, 0, len(chunks), step="embed")
            else:
                short.staged_whole = True

        return Outcome(commit, len(chunks), len(chunks), cheap=short is not None)

    async def embed(self, execution: Execution) -> Outcome:
        """Vectors for the staged chunks that have none; each batch of a long document is one transaction."""
        short = _short(execution)
        if short is not None and short.chunks:
            return await self._embed_short(execution, short)
        source = await self._source(execution)
        async with execution.transaction() as connection:
            done, total = await staging.counts(connection, execution.caller, execution.subject_id)
            await execution.progress(connection, done, total)
        batches = staging.Batches(execution, _BATCH)
        lanes = min(_LANES, -(-(total - done) // _BATCH))
        tasks = [asyncio.create_task(self._embed_lane(execution, batches, source.title)) for _ in range(lanes)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Outcome()

    async def _embed_lane(self, execution: Execution, batches: "staging.Batches", title: str) -> None:
        while batch := await batches.next():
            embeddings = await self._embeddings(
                execution, [embedded_text(title, row["heading"], row["text"]) for row in batch]
            )
            ordinals = [row["ordinal"] for row in batch]
            async with execution.transaction() as connection:
                await staging.set_embeddings(connection, execution.caller, execution.subject_id, ordinals, embeddings)
                await execution.advance(connection, len(batch))

    async def _embed_short(self, execution: Execution, short: _Short) -> Outcome:
        chunks = short.chunks
        vectors = await self._embeddings(
            execution, [embedded_text(short.source.title, chunk.heading or "", chunk.text) for chunk in chunks]
        )
        short.vectors = vectors

        async def commit(connection: Connection) -> None:
            if not short.staged_whole:
                ordinals = [chunk.ordinal for chunk in chunks]
                await staging.set_embeddings(connection, execution.caller, execution.subject_id, ordinals, vectors)

        return Outcome(commit, len(chunks), len(chunks), cheap=True)

    async def _embeddings(self, execution: Execution, texts: list[str]) -> list[np.ndarray]:
        return [np.frombuffer(vector, "<f4") for vector in await self.embedder.embed(execution.caller, texts)]

    async def store(self, execution: Execution) -> Outcome:
        """Staged chunks to searchable ones, and the document is ready, all in one commit."""
        caller, document_id = execution.caller, execution.subject_id
        short = _short(execution)
        source = await self._source(execution) if short is None else short.source

        async def commit(connection: Connection) -> None:
            # Statements do not wait for the answers of those before them, unless these are read.
            async with connection.pipeline():
                await self.chunks.publish(connection, caller, document_id, source.collection, source.title)
                await rows.set_ready(connection, caller, document_id)

        return Outcome(commit, 1, 1)

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


def _short(execution: Execution) -> _Short | None:
    short: _Short | None = execution.kept.get("short")
    return short


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


async def _given(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ_BYTES):
            yield piece
