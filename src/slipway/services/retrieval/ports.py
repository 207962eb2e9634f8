"""What documents, their ingestion and search need from the rest of the slice and from other parts.

`documents*`, `ingestion` and `search` are written against these; the wiring hands in what fulfils them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from slipway.base.callers import Caller
from slipway.runtime.database import Connection
from slipway.services.retrieval.extraction.models import ExtractedText, Progress


class ChunkStore(Protocol):
    """The searchable chunks of a tenant. Both methods work on the caller's own transaction and commit with it."""

    async def publish(
        self, connection: Connection, caller: Caller, document_id: str, collection: str, title: str
    ) -> None:
        """Makes the document's staged chunks searchable in place of any it had; a second time changes nothing."""
        ...

    async def withdraw(self, connection: Connection, caller: Caller, document_id: str) -> None:
        """Removes the document's chunks, staged and searchable; none is no error."""
        ...


class Extractor(Protocol):
    """Turns a file into text, away from this process: a file that crashes the parser harms nothing but itself."""

    async def __call__(
        self, path: Path, file_name: str, declared_type: str | None, *, progress: Progress | None = None
    ) -> ExtractedText:
        """The text of the file.

        Raises UnsupportedType, InvalidRequest or TooLarge for a file that can never be read; `progress` is called in
        the event loop with (pages done, pages in all). Cancelling ends the other process.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors, on somebody's behalf and account."""

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:
        """One vector a text, each as little-endian float32[384] in bytes; raises retryable errors while it is away."""
        ...
