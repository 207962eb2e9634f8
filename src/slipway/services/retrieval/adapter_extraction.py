"""Which process reads a file: a child for everything that a parser takes apart, a thread for small text and Markdown.

Decoding text and finding its headings by one linear pattern cannot crash this process, and starting a child costs 75 ms
of processor time (2026-11-21, 2 cores), which for short texts is more than all the rest of their ingestion.
"""

import asyncio
from pathlib import Path
from typing import Final

from slipway.services.retrieval.extraction.detection import media_type_of
from slipway.services.retrieval.extraction.documents import extract
from slipway.services.retrieval.extraction.isolation import extract_isolated_async
from slipway.services.retrieval.extraction.models import MARKDOWN, PLAIN, ExtractedText, Progress

_IN_THREAD_BYTES: Final = 64 * 1024  # arbitrary; above it the child's cost no longer shows
_CHILDREN: Final = 2  # each may take a core and gigabytes


class ExtractApart:
    """An `Extractor` that lets a few children run at a time, however many documents are on their way."""

    def __init__(self, children: int = _CHILDREN) -> None:
        self._children = asyncio.Semaphore(children)

    async def __call__(
        self, path: Path, file_name: str, declared_type: str | None, *, progress: Progress | None = None
    ) -> ExtractedText:
        """The text of the file."""
        text = await asyncio.to_thread(_extracted_here, path, file_name, declared_type)
        if text is None:
            async with self._children:
                return await extract_isolated_async(path, file_name, declared_type, progress=progress)
        return text


def _extracted_here(path: Path, file_name: str, declared_type: str | None) -> ExtractedText | None:
    if path.stat().st_size > _IN_THREAD_BYTES:
        return None
    if media_type_of(path, file_name, declared_type) not in {PLAIN, MARKDOWN}:
        return None
    return extract(path, file_name, declared_type, lambda _done, _total: None)
