"""The arithmetic of search: BM25 over packed postings, and one score out of BM25 and cosine.

`search` calls it with what `adapter_chunks_reading` fetched; numpy only, no I/O. BM25 as Robertson and Zaragoza
2009 have it, with the idf of Lucene, which is never negative. Tuned on the odd queries of Cranfield, see ADR 0010.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slipway.services.retrieval.search_models import Numbers, Postings, Scores, Statistics

K1: Final = 1.5
B: Final = 0.75
# What the cosine counts in the fused score; the rest is BM25's. Odd queries of Cranfield cut into passages: nDCG@10
# 0.430 with 0.4, 0.427 with 0.5, 0.421 with 0.6 (ADR 0010).
DENSE_WEIGHT: Final = 0.4

BLOCK_BITS: Final = 10  # chunks of a block, as the postings are packed: 2 ** 10
_BLOCK: Final = 1 << BLOCK_BITS
_ENTRY_BYTES: Final = 4
_GROUP: Final = 64  # arbitrary: divides a block
# Entries that are worked on at once: what each step gives then fits the processor's cache, and stays below the 128 KB
# from which malloc asks the system for new pages each time, which was half of the time (2026-11-21).
_PIECE: Final = 12_288


class LexicalScores:
    """BM25 of every chunk that has a lexeme of the query; the others' is 0."""

    def __init__(self, postings: Sequence[Postings], statistics: Statistics, absent: int = 0) -> None:
        """`absent`: lexemes of the query that no chunk has; they count in what the query could reach."""
        blocks = [np.frombuffer(item.blocks, dtype=">i8") for item in postings]
        self._blocks: Numbers = np.unique(np.concatenate(blocks)).astype(np.int64) if blocks else np.empty(0, np.int64)
        self._scores: Scores = np.zeros(0)
        # No chunk can score more: every lexeme, as often as one likes, and the absent ones as the rarest.
        self.reachable = absent * math.log1p((statistics.chunk_count + 0.5) / 0.5) * (K1 + 1)
        if not postings or not statistics.chunk_count:
            return
        counts = np.array([len(item.packed) // _ENTRY_BYTES for item in postings])
        idf = np.log1p((statistics.chunk_count - counts + 0.5) / (counts + 0.5))
        weights = idf * np.array([item.occurrences for item in postings]) * (K1 + 1)
        self.reachable += float(weights.sum())
        self._scores = np.zeros(len(self._blocks) << BLOCK_BITS)
        by_length = K1 * B * statistics.chunk_count / statistics.lexeme_count
        for item, found, weight in zip(postings, blocks, weights.tolist(), strict=True):
            self._add(item, np.searchsorted(self._blocks, found) << BLOCK_BITS, weight, by_length)

    def _add(self, item: Postings, places: Numbers, weight: float, by_length: float) -> None:
        """Adds what one lexeme gives to each chunk; no chunk is among its entries twice."""
        entries = np.frombuffer(item.packed, dtype=">i4")
        sizes = np.frombuffer(item.sizes, dtype=">i4") // _ENTRY_BYTES
        ends = np.cumsum(sizes)
        cuts = np.flatnonzero(np.diff((ends - 1) // _PIECE)) + 1
        for first, last in pairwise((0, *cuts.tolist(), len(sizes))):
            piece = entries[ends[first] - sizes[first] : ends[last - 1]].astype(np.int32)
            index = np.repeat(places[first:last], sizes[first:last])
            index += piece >> 21
            occurrences = ((piece >> 15) & 63).astype(np.float64)
            norms = (piece & 32767) * by_length
            norms += occurrences
            norms += K1 * (1 - B)
            occurrences /= norms
            occurrences *= weight
            np.add.at(self._scores, index, occurrences)  # several times as fast as indexing with +=

    def best(self, count: int) -> Numbers:
        """The numbers of at most `count` chunks above 0, best first, the lower number first among equals."""
        if not len(self._scores):
            return np.empty(0, np.int64)
        floor = 0.0
        if count < len(self._scores):
            # The best of each group, of which as many as asked for reach the floor: a bound found without sorting all.
            maxima = self._scores.reshape(-1, _GROUP).max(axis=1)
            floor = float(np.partition(maxima, -count)[-count]) if count < len(maxima) else 0.0
        found = np.flatnonzero(self._scores >= floor if floor > 0 else self._scores > 0)
        found = found[np.argsort(-self._scores[found], kind="stable")][:count]
        numbers: Numbers = (self._blocks[found >> BLOCK_BITS] << BLOCK_BITS) + (found & (_BLOCK - 1))
        return numbers

    def of(self, numbers: Numbers) -> Scores:
        """The scores of these chunks."""
        if not len(self._scores):
            return np.zeros(len(numbers))
        blocks = numbers >> BLOCK_BITS
        places = np.minimum(np.searchsorted(self._blocks, blocks), len(self._blocks) - 1)
        scores = self._scores[(places << BLOCK_BITS) + (numbers & (_BLOCK - 1))]
        return np.where(self._blocks[places] == blocks, scores, 0.0)


def fused(similarities: Scores, lexical: Scores, reachable: float) -> Scores:
    """One score a chunk: the cosine, and the share of the BM25 that the query could reach at all.

    A share and not a rank: where the words of a question are found nowhere together, BM25 counts little.
    """
    share = lexical / reachable if reachable > 0 else np.zeros(len(lexical))
    scores: Scores = DENSE_WEIGHT * similarities + (1 - DENSE_WEIGHT) * share
    return scores


def order(scores: Scores, numbers: Numbers) -> NDArray[np.intp]:
    """Indices of the best scores first, the lower number first among equals."""
    return np.lexsort((numbers, -scores))
