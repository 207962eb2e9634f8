"""What search hands from its reading to its ranking and on to what is shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Vector = NDArray[np.float32]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Postings:
    """Where one lexeme of the query occurs.

    `occurrences` of it in the query; `blocks` big-endian int64[b] in any order; `sizes` big-endian int32[b], the
    bytes of each block in `packed`; `packed` holds a big-endian int32 for each chunk: offset in the block (10 bits),
    occurrences (6 bits, 63 at most) and length in lexemes (15 bits).
    """

    occurrences: int
    blocks: bytes
    sizes: bytes
    packed: bytes


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is counted over the chunks that are searched: the chunks and all their lexemes."""

    chunk_count: int
    lexeme_count: int


@dataclass(frozen=True, slots=True)
class Extent:
    """What is searched: the chunks numbered `first` to `last`, with their counts, and the query's lexemes there."""

    first: int
    last: int
    statistics: Statistics
    indexed: bool  # whether an index may stand in for the exact scan of the vectors
    occurrences: dict[str, int]
    version: str  # of the postings there: another one whenever they changed


@dataclass(frozen=True, slots=True)
class Found:
    """One chunk as it is shown; `text` is characters `start` to `end` of its document, `similarity` to the query."""

    number: int
    document_id: str
    ordinal: int
    title: str
    page: int
    start: int
    end: int
    text: str
    similarity: float
