"""How well and how fast retrieval finds: ranking, recall, latency and ingestion. It backs the figures in ADR 0010.

    python -m bench.retrieval [--quick] [--cranfield FOLDER]

1. Cranfield through the API of a platform started for it: one Markdown file a document, its title as the
   heading. nDCG@10 of `/v1/search`, and of each of its two rankings alone. Anything tuned was tuned on the odd
   queries: the even ones count. The rate of ingestion stands beside that of the bare embedder on the same passages.
2. Tenants of 30, 1,000 and 100,000 chunks, asked in turn over one pooled connection: recall@10 of the dense part
   against an exact ranking by numpy, and the time of a search without the embedding of its query. 100,000 texts cannot
   be embedded in a benchmark: their vectors are mixtures of real vectors of Cranfield's passages with noise, their
   texts are recombined from Cranfield's sentences, and their queries are Cranfield's.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.cranfield import Cranfield, cranfield_read, mean_ndcg10
from slipway.base.callers import Caller, Scope
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.postgres import EmbeddedAddresses, EmbeddedPostgres
from slipway.services.gateway.minilm import MiniLM
from slipway.services.retrieval.adapter_chunks import Chunks
from slipway.services.retrieval.adapter_chunks_index import VectorIndexes
from slipway.services.retrieval.adapter_chunks_reading import ChunkViews
from slipway.services.retrieval.ranking import LexicalScores
from slipway.services.retrieval.search import DEPTH, Search
from tests.platforms import Platform, platform

NDCG_TARGET, RECALL_TARGET, P50_TARGET_MS, INGEST_TARGET = 0.42, 0.99, 8.0, 0.70
UPLOADS_AT_ONCE = 8
CHUNKS_A_DOCUMENT = 500
INGEST_DEADLINE_S = 900.0


@dataclass
class Outcome:
    """What is printed, and whether a target was missed."""

    gated: bool
    missed: bool = False

    def line(
        self, name: str, value: float, unit: str = "", *, least: float | None = None, most: float | None = None
    ) -> None:
        target = f"target >= {least:g}" if least is not None else f"target < {most:g}" if most is not None else ""
        bad = (least is not None and value < least) or (most is not None and value >= most)
        self.missed |= bad and self.gated
        print(f"  {name:<52}{value:>10.3f} {unit:<11}{target}{'   MISSED' if bad else ''}", flush=True)


class NoEmbedder:
    """The benchmark brings its own vectors."""

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:  # noqa: ARG002
        raise AssertionError("the query's embedding is not part of this measurement")


# 1. Cranfield through the API -----------------------------------------------------------------------------


async def ingested(running: Platform, collection: Cranfield) -> tuple[dict[str, int], int, float]:
    """Uploads every document; the Cranfield id of each of ours, the chunks, the seconds until all were searchable."""
    ids: dict[str, int] = {}
    turn = asyncio.Semaphore(UPLOADS_AT_ONCE)
    start = time.perf_counter()
    async with httpx.AsyncClient(base_url=running.url, headers=running.headers(), timeout=120) as client:

        async def upload(key: int, title: str, body: str) -> None:
            async with turn:
                file = (f"cranfield-{key:04}.md", f"# {title}\n\n{body}\n".encode(), "text/markdown")
                response = await client.post("/v1/documents", files={"file": file})
                response.raise_for_status()
                ids[response.json()["id"]] = key

        await asyncio.gather(*(upload(k, *text) for k, text in collection.documents.items() if any(text)))
        while True:
            row = (await client.get("/v1/collections")).raise_for_status().json()["items"][0]
            if row["document_count"] >= len(ids):
                return ids, row["chunk_count"], time.perf_counter() - start
            failed = (await client.get("/v1/documents", params={"status": "failed"})).raise_for_status().json()["items"]
            if failed or time.perf_counter() - start > INGEST_DEADLINE_S:
                raise SystemExit(f"ingestion stopped at {row['document_count']} of {len(ids)}: {failed[:1]}")
            await asyncio.sleep(0.25)


async def searched(running: Platform, collection: Cranfield, ids: dict[str, int]) -> dict[int, list[int]]:
    """The documents that `/v1/search` ranks for each query, best first, by the best of their passages."""
    rankings = {}
    async with httpx.AsyncClient(base_url=running.url, headers=running.headers(), timeout=120) as client:
        for position, query in collection.queries.items():
            response = await client.post("/v1/search", json={"query": query, "limit": 50})
            response.raise_for_status()
            rankings[position] = distinct(ids[item["document_id"]] for item in response.json()["results"])
    return rankings


async def ranked_alone(
    database: Database, caller: Caller, collection: Cranfield, ids: dict[str, int], vectors: np.ndarray
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """The same by the dense ranking alone and by BM25 alone."""
    dense, lexical = {}, {}
    for (position, query), vector in zip(collection.queries.items(), vectors, strict=True):
        async with ChunkViews(database)(caller) as view:
            extent = await view.extent(query, None)
            async with view.candidates(extent, vector, DEPTH) as (postings, nearest):
                best = LexicalScores(postings, extent.statistics).best(DEPTH)
                numbers, _ = await nearest
            dense[position] = distinct(ids[chunk.document_id] for chunk in await view.chunks(numbers.tolist(), vector))
            lexical[position] = distinct(ids[chunk.document_id] for chunk in await view.chunks(best.tolist(), vector))
    return dense, lexical


def distinct(keys: Any) -> list[int]:
    return list(dict.fromkeys(keys))


async def only_tenant(database: Database) -> Caller:
    """The tenant that has what was ingested, for reading its tables directly."""
    async with database.platform_transaction() as connection:
        cursor = await connection.execute("SELECT tenant_id FROM collection WHERE chunk_count > 0")
        [row] = await cursor.fetchall()
    return Caller(row["tenant_id"], "usr_bench", frozenset(Scope))


async def passages(database: Database, caller: Caller) -> tuple[list[str], np.ndarray]:
    """Texts and vectors (float32[n, 384]) of what was ingested."""
    async with database.transaction(caller) as connection:
        cursor = await connection.execute(
            "SELECT c.text, v.embedding::vector(384)::real[] AS embedding FROM chunk c"
            " JOIN chunk_vector v USING (tenant_id, number) WHERE c.tenant_id = %s ORDER BY number",
            (caller.tenant_id,),
            binary=True,
        )
        rows = await cursor.fetchall()
    return [row["text"] for row in rows], np.array([row["embedding"] for row in rows], dtype=np.float32)


# 2. Tenants of many sizes ---------------------------------------------------------------------------------


@dataclass
class Tenant:
    """A tenant of the second part: its vectors in the order of their chunks' numbers."""

    caller: Caller
    vectors: np.ndarray
    numbers: np.ndarray


def synthesized(texts: list[str], real: np.ndarray, count: int) -> tuple[list[str], np.ndarray]:
    """`count` texts of five sentences of two passages that are near; vectors mixed of theirs, a third and noise."""
    random = np.random.default_rng(count)
    sentences = [
        [part.strip() + " ." for part in " ".join(text.split()).split(" . ") if part.strip()] for text in texts
    ]
    near = np.argsort(-(real @ real.T), axis=1)[:, 1:101]
    base, third = random.integers(0, len(real), count), random.integers(0, len(real), count)
    other = near[base, random.integers(0, near.shape[1], count)]
    weights = random.dirichlet((4, 2, 1), count).astype(np.float32)
    mixed = weights[:, :1] * real[base] + weights[:, 1:2] * real[other] + weights[:, 2:] * real[third]
    mixed += (random.standard_normal(mixed.shape) * 0.3 / np.sqrt(mixed.shape[1])).astype(np.float32)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    made = []
    for first, second in zip(base, other, strict=True):
        chosen = [*random.choice(sentences[first], 3), *random.choice(sentences[second], 2)]
        made.append(" ".join(chosen))
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
                " VALUES (%s, %s, %s, 1, 0, %s, %s, %s)",
                rows,
            )
            await Chunks().publish(connection, caller, document, "default", "")
    async with database.transaction(caller) as connection:
        cursor = await connection.execute(
            "SELECT number FROM chunk WHERE tenant_id = %s ORDER BY number", (caller.tenant_id,)
        )
        numbers = np.array([row["number"] for row in await cursor.fetchall()])
    return Tenant(caller, vectors, numbers)


async def recall10(database: Database, tenant: Tenant, query: str, vector: np.ndarray) -> float:
    """The share of the ten nearest chunks, by numpy over float32, among the first ten of the dense part."""
    async with ChunkViews(database)(tenant.caller) as view:
        extent = await view.extent(query, None)
        async with view.candidates(extent, vector, DEPTH) as (_, nearest):
            numbers, _ = await nearest
    count = min(10, len(tenant.numbers))
    exact = tenant.numbers[np.argsort(-(tenant.vectors @ vector))[:count]]
    return len(set(numbers[:count].tolist()) & set(exact.tolist())) / count


async def asked_in_turn(
    database: Database, tenants: dict[int, Tenant], queries: list[str], vectors: np.ndarray, outcome: Outcome
) -> None:
    search = Search(ChunkViews(database), NoEmbedder())
    times: dict[int, list[float]] = {size: [] for size in tenants}
    recalls: dict[int, list[float]] = {size: [] for size in tenants}
    for query, vector in zip(queries, vectors, strict=True):
        for size, tenant in tenants.items():
            start = time.perf_counter()
            await search.ranked(tenant.caller, query, vector, 10)
            times[size].append((time.perf_counter() - start) * 1000)
    for query, vector in zip(queries, vectors, strict=True):
        for size, tenant in tenants.items():
            recalls[size].append(await recall10(database, tenant, query, vector))
    for size in tenants:
        outcome.line(f"recall@10, {size:,} chunks", float(np.mean(recalls[size])), least=RECALL_TARGET)
        outcome.line(f"search p50, {size:,} chunks", float(np.percentile(times[size], 50)), "ms", most=P50_TARGET_MS)
        outcome.line(f"search p99, {size:,} chunks", float(np.percentile(times[size], 99)), "ms")


# The two parts, one after the other -----------------------------------------------------------------------


async def cranfield_part(
    running: Platform, collection: Cranfield, outcome: Outcome
) -> tuple[dict[str, int], int, float]:
    ids, chunks, seconds = await ingested(running, collection)
    skipped = len(collection.documents) - len(ids)
    print(f"Cranfield through the API: {len(ids)} documents, {chunks} chunks ({skipped} empty or the same as another)")
    rankings = await searched(running, collection, ids)
    for name, parity in (("even", 0), ("odd, tuned on", 1)):
        value = mean_ndcg10(rankings, collection.relevant, parity)
        least = NDCG_TARGET if parity == 0 and outcome.gated else None
        outcome.line(f"nDCG@10 of /v1/search, {name} queries", value, least=least)
    return ids, chunks, seconds


async def direct_part(
    addresses: EmbeddedAddresses,
    collection: Cranfield,
    cranfield: tuple[dict[str, int], int, float],
    sizes: Sequence[int],
    model: MiniLM,
    outcome: Outcome,
) -> None:
    ids, chunks, seconds = cranfield
    database = await Database.open(addresses.app_url, max_connections=1)
    try:
        caller = await only_tenant(database)
        vectors = model.embed(list(collection.queries.values())).vectors
        for name, rankings in zip(
            ("dense", "BM25"), await ranked_alone(database, caller, collection, ids, vectors), strict=True
        ):
            for parity_name, parity in (("even", 0), ("odd", 1)):
                value = mean_ndcg10(rankings, collection.relevant, parity)
                outcome.line(f"nDCG@10 of {name} alone, {parity_name} queries", value)
        texts, real = await passages(database, caller)
        start = time.perf_counter()
        model.embed(texts)
        bare = len(texts) / (time.perf_counter() - start)
        outcome.line("ingestion, upload to searchable", chunks / seconds, "passages/s")
        outcome.line("bare embedder, the same passages", bare, "passages/s")
        outcome.line("ratio", chunks / seconds / bare, least=INGEST_TARGET)

        print(f"Tenants asked in turn over one connection, {len(collection.queries)} queries each")
        print("  (vectors mixed of real ones with noise, texts recombined from Cranfield's sentences)")
        tenants = {}
        for size in sizes:
            start = time.perf_counter()
            tenants[size] = await loaded(database, *synthesized(texts, real, size))
        outcome.line(f"publishing, {sizes[-1]:,} chunks", sizes[-1] / (time.perf_counter() - start), "chunks/s")
        start = time.perf_counter()
        await VectorIndexes(database, addresses.owner_url).adjust()
        outcome.line(f"building the index of {sizes[-1]:,} chunks", time.perf_counter() - start, "s")
        await asked_in_turn(database, tenants, list(collection.queries.values()), vectors, outcome)
    finally:
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--quick", action="store_true", help="a part of Cranfield and a tenant of 12,000, for regressions"
    )
    parser.add_argument("--cranfield", type=Path, default=Path("../shared/data/cranfield"), help="folder of Cranfield")
    given = parser.parse_args()
    if not (given.cranfield / "cran.all.1400").is_file():
        raise SystemExit(f"Cranfield is not at {given.cranfield}: name its folder with --cranfield.")
    collection = cranfield_read(given.cranfield)
    if given.quick:
        collection = collection.first(300)
    outcome = Outcome(gated=not given.quick)
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    try:
        home = folder / "home"
        with platform(home) as running:
            cranfield = asyncio.run(cranfield_part(running, collection, outcome))
        # Alone with PostgreSQL from here on, so that the platform's own tasks are not measured with it.
        server = EmbeddedPostgres(home)
        sizes = (30, 1_000, 12_000 if given.quick else 100_000)
        try:
            model = MiniLM(folder / "model")
            asyncio.run(direct_part(server.start(), collection, cranfield, sizes, model, outcome))
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if outcome.missed:
        raise SystemExit("a target is missed")


if __name__ == "__main__":
    main()
