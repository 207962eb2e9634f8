"""Search: a question to one tenant's chunks, answered by meaning and by words at once (ADR 0010).

The routes call `search`; the benchmark and tests call `ranked` with a vector of their own. It refuses unknown
collections. One transaction, so that the ranking and the texts that are shown belong together; the query is embedded
before it, so that no connection waits for a model.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from prometheus_client import Histogram

from slipway.api.documents import SearchRequest, SearchResponse, SearchResult
from slipway.base.callers import Caller
from slipway.base.errors import UpstreamFailed
from slipway.services.retrieval.ports import Embedder
from slipway.services.retrieval.ranking import LexicalScores, fused, order
from slipway.services.retrieval.search_models import Found, Numbers, Scores, Vector
from slipway.services.retrieval.search_ports import Views

DIMENSIONS: Final = 384
# Chunks that each ranking puts forward; both scores of each are then known exactly. The largest `limit` must fit.
DEPTH: Final = 100

_SECONDS = Histogram(
    "slipway_search_seconds",
    "Time of one search by stage.",
    ["stage"],
    buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1, 2, 4),
)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One chunk with the score it was ordered by and its cosine to the query."""

    chunk: Found
    score: float
    similarity: float


class Search:
    """Answers questions to a tenant's chunks."""

    def __init__(self, views: Views, embedder: Embedder) -> None:
        self._views = views
        self._embedder = embedder

    async def search(self, caller: Caller, request: SearchRequest) -> SearchResponse:
        """The best chunks for the query; raises NotFound for an unknown collection."""
        query = storable(request.query)
        with _SECONDS.labels("embed").time():
            embedded = await self._embedder.embed(caller, [query])
        vector = _unit(embedded[0])
        with _SECONDS.labels("rank").time():
            ranked = await self.ranked(caller, query, vector, request.limit, request.collection)
        return SearchResponse(results=[_result(item) for item in ranked])

    async def ranked(
        self, caller: Caller, query: str, vector: Vector, limit: int, collection: str | None = None
    ) -> list[Ranked]:
        """The `limit` best chunks by fused score; `vector` is float32[384] of length 1."""
        async with self._views(caller) as view:
            extent = await view.extent(query, collection)
            if not extent.statistics.chunk_count:
                return []
            async with view.candidates(extent, vector, DEPTH) as (postings, nearest):
                absent = sum(extent.occurrences.values()) - sum(item.occurrences for item in postings)
                lexical = LexicalScores(postings, extent.statistics, absent)
                numbers, cosines = await nearest
            hopeful = _hopeful(numbers, cosines, lexical, limit)
            chunks = await view.chunks(hopeful.tolist(), vector)
        return _ordered(chunks, lexical, limit)


def storable(text: str) -> str:
    """The text as PostgreSQL takes it: without the zero character and halves of surrogate pairs."""
    return text.replace("\x00", " ").encode("utf-8", "replace").decode("utf-8")


def _hopeful(nearest: Numbers, cosines: Scores, lexical: LexicalScores, limit: int) -> Numbers:
    """The chunks that may be among the `limit` best: of the nearest, and of those with the best words.

    A chunk that is not among the nearest is not nearer than the last of them, so its fused score has a bound.
    """
    scores = fused(cosines, lexical.of(nearest), lexical.reachable)
    best = order(scores, nearest)[:limit]
    known = set(nearest.tolist())
    numbers: Numbers = np.array([n for n in lexical.best(DEPTH).tolist() if n not in known], np.int64)
    if len(best) == limit and len(numbers):
        ceilings = fused(np.full(len(numbers), cosines[-1]), lexical.of(numbers), lexical.reachable)
        numbers = numbers[ceilings >= scores[best[-1]]]
    return np.concatenate((nearest[best], numbers))


def _ordered(chunks: list[Found], lexical: LexicalScores, limit: int) -> list[Ranked]:
    numbers: Numbers = np.array([chunk.number for chunk in chunks], np.int64)
    cosines = np.clip(np.array([chunk.similarity for chunk in chunks], np.float64), -1.0, 1.0)
    scores = fused(cosines, lexical.of(numbers), lexical.reachable)
    return [Ranked(chunks[i], float(scores[i]), float(cosines[i])) for i in order(scores, numbers)[:limit]]


def _unit(embedding: bytes) -> Vector:
    vector = np.frombuffer(embedding, dtype="<f4")
    if vector.shape != (DIMENSIONS,):
        raise UpstreamFailed(
            f"The embedding model gives vectors of {vector.size} dimensions; search is built for {DIMENSIONS}.",
            retryable=False,
        )
    length = float(np.linalg.norm(vector))
    return (vector / length).astype(np.float32) if length > 0 else vector


def _result(ranked: Ranked) -> SearchResult:
    chunk = ranked.chunk
    return SearchResult(
        document_id=chunk.document_id,
        chunk_id=f"{chunk.document_id}.{chunk.ordinal}",
        title=chunk.title,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        score=ranked.score,
        similarity=ranked.similarity,
    )
