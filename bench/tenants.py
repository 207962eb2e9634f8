"""Tenants of many sizes for the retrieval benchmark: made up from real passages, published, asked in turn."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.base.callers import Caller, Scope
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.services.retrieval.adapter_chunks import Chunks
from slipway.services.retrieval.adapter_chunks_reading import ChunkViews
from slipway.services.retrieval.search import DEPTH, Search

CHUNKS_A_DOCUMENT = 500
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass
class Tenant:
    """Its vectors (float32[n, 384]) in the order of its chunks' numbers."""

    caller: Caller
    vectors: np.ndarray
    numbers: np.ndarray


@dataclass
class Figures:
    """What one tenant was measured at."""

    recall: float
    p50_ms: float
    p99_ms: float
    process_ms: float  # CPU time of this process in one search, median


class NoEmbedder:
    """The benchmark brings its own vectors."""

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:  # noqa: ARG002
        raise AssertionError("the query's embedding is not part of this measurement")


def synthesized(texts: list[str], real: np.ndarray, count: int) -> tuple[list[str], np.ndarray]:
    """`count` texts of five sentences of two passages that are near; vectors mixed of theirs, a third and noise."""
    random = np.random.default_rng(count)
    sentences = [_SENTENCE.split(" ".join(text.split())) for text in texts]
    near = np.argsort(-(real @ real.T), axis=1)[:, 1:101]
    base, third = random.integers(0, len(real), count), random.integers(0, len(real), count)
    other = near[base, random.integers(0, near.shape[1], count)]
    weights = random.dirichlet((4, 2, 1), count).astype(np.float32)
    mixed = weights[:, :1] * real[base] + weights[:, 1:2] * real[other] + weights[:, 2:] * real[third]
    mixed += (random.standard_normal(mixed.shape) * 0.3 / np.sqrt(mixed.shape[1])).astype(np.float32)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    places = random.integers(0, 2**31, (count, 5))
    made = [
        " ".join(
            [sentences[first][place % len(sentences[first])] for place in chosen[:3]]
            + [sentences[second][place % len(sentences[second])] for place in chosen[3:]]
        )
        for first, second, chosen in zip(base.tolist(), other.tolist(), places.tolist(), strict=True)
    ]
    return made, mixed


async def loaded(database: Database, texts: list[str], vectors: np.ndarray) -> Tenant:
    """A tenant with these chunks, published as ingestion does it, without extraction and embedding."""
    caller = Caller(new_id("ten"), "usr_bench", frozenset(Scope))
    async with database.platform_transaction() as connection:
        await connection.execute("INSERT INTO tenant (id, name) VALUES (%s, 'bench')", (caller.tenant_id,))
    for start in range(0, len(texts), CHUNKS_A_DOCUMENT):
        document = new_id("doc")
        rows = [
            (caller.tenant_id, document, place - start, len(texts[place]), texts[place], vectors[place])
            for place in range(start, min(start + CHUNKS_A_DOCUMENT, len(texts)))
        ]
        async with database.transaction(caller) as connection:
            await connection.cursor().executemany(
                "INSERT INTO staged_chunk"
                " (tenant_id, document_id, ordinal, page, start_char, end_char, text, embedding)"
                " VALUES (%s, %s, %s, 1, 0, %s, %s, %b)",
                rows,
            )
            await Chunks().publish(connection, caller, document, "default", "")
    async with database.transaction(caller) as connection:
        cursor = await connection.execute(
            "SELECT number FROM chunk WHERE tenant_id = %s ORDER BY number", (caller.tenant_id,)
        )
        numbers = np.array([row["number"] for row in await cursor.fetchall()])
    return Tenant(caller, vectors, numbers)


async def asked_in_turn(
    database: Database, tenants: dict[int, Tenant], queries: list[str], vectors: np.ndarray
) -> dict[int, Figures]:
    """Each query to each tenant in turn, once, with a search that has kept nothing yet; then recall."""
    search = Search(ChunkViews(database), NoEmbedder())
    times: dict[int, list[tuple[float, float]]] = {size: [] for size in tenants}
    recalls: dict[int, list[float]] = {size: [] for size in tenants}
    for query, vector in zip(queries, vectors, strict=True):
        for size, tenant in tenants.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            await search.ranked(tenant.caller, query, vector, 10)
            times[size].append((time.perf_counter() - start, time.process_time() - start_cpu))
    for query, vector in zip(queries, vectors, strict=True):
        for size, tenant in tenants.items():
            recalls[size].append(await recall10(database, tenant, query, vector))
    figures = {}
    for size, pairs in times.items():
        wall_ms, cpu_ms = np.array(pairs).T * 1000
        p50, p99 = np.percentile(wall_ms, [50, 99])
        figures[size] = Figures(float(np.mean(recalls[size])), float(p50), float(p99), float(np.median(cpu_ms)))
    return figures


async def recall10(database: Database, tenant: Tenant, query: str, vector: np.ndarray) -> float:
    """The share of the ten nearest chunks, by numpy over float32, among the first ten of the dense part."""
    async with ChunkViews(database)(tenant.caller) as view:
        extent = await view.extent(query, None)
        async with view.candidates(extent, vector, DEPTH) as (_, nearest):
            numbers, _ = await nearest
    count = min(10, len(tenant.numbers))
    exact = tenant.numbers[np.argsort(-(tenant.vectors @ vector))[:count]]
    return len(set(numbers[:count].tolist()) & set(exact.tolist())) / count
