"""Keeps postings that many chunks have in this process, so that frequent words are not read for each search.

`adapter_chunks_reading` asks it. It refuses what is short, which costs nothing to read again, and answers only for
the version of a tenant's chunks that the asking transaction sees: nothing is ever out of date, nothing must be told.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from slipway.services.retrieval.search_models import Postings

_BYTES: Final = 32 * 1024 * 1024  # what three tenants of 100,000 chunks are asked for most (2026-11-21, ADR 0010)
_LEAST_BYTES: Final = 4096  # 1,024 chunks; tenants below that size never get in


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One state of the postings of what is searched; `version` never stands for another one."""

    tenant_id: str
    first: int
    version: str


class PostingsCache:
    """The postings that were asked for last, up to a size."""

    def __init__(self, limit_bytes: int = _BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._kept: OrderedDict[tuple[str, int, str], tuple[str, Postings]] = OrderedDict()

    def get(self, lexicon: Lexicon, lexeme: str, occurrences: int) -> Postings | None:
        """The postings of a lexeme that occurs so often in the query."""
        key = (lexicon.tenant_id, lexicon.first, lexeme)
        version, postings = self._kept.get(key, ("", None))
        if postings is None or version != lexicon.version:
            return None
        self._kept.move_to_end(key)
        return Postings(occurrences, postings.blocks, postings.sizes, postings.packed)

    def put(self, lexicon: Lexicon, lexeme: str, postings: Postings) -> None:
        """Keeps them unless they are short, in place of another version's."""
        if not _LEAST_BYTES <= _bytes(postings) <= self._limit_bytes // 4:
            return
        key = (lexicon.tenant_id, lexicon.first, lexeme)
        self._drop(key)
        self._kept[key] = (lexicon.version, postings)
        self._held_bytes += _bytes(postings)
        while self._held_bytes > self._limit_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, int, str]) -> None:
        if (held := self._kept.pop(key, None)) is not None:
            self._held_bytes -= _bytes(held[1])


def _bytes(postings: Postings) -> int:
    return len(postings.blocks) + len(postings.sizes) + len(postings.packed)
