"""Gives each large tenant an HNSW index of its own, and takes it away again (ADR 0010).

A task of the retrieval part runs it; one process at a time does the work. An index is partial
(`WHERE tenant_id = …`), so that a search walks no other tenant's graph, and built CONCURRENTLY, so that nobody
waits. While there is none, search compares every vector: slower, and still right.
"""

import asyncio
import hashlib
import logging
from typing import Final

import psycopg
from psycopg import AsyncConnection, sql

from slipway.base.errors import SlipwayError
from slipway.runtime.database import Database
from slipway.services.retrieval.adapter_chunks_reading import EXACT_CHUNKS

_log = logging.getLogger(__name__)

_LOCK_KEY: Final = 0x51195B0  # arbitrary; any two processes of one platform must agree
_INTERVAL_S: Final = 30.0  # arbitrary: how long a tenant that grew large is searched exactly at most, besides the build
_PREFIX: Final = "chunk_vector_hnsw_"

_WANTED: Final = """
SELECT tenant_id, sum(chunk_count)::bigint AS chunks FROM collection
GROUP BY tenant_id HAVING sum(chunk_count) > %s
"""
_PRESENT: Final = """
SELECT c.relname AS name, i.indisvalid AS valid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE t.relname = 'chunk_vector' AND n.nspname = 'public' AND starts_with(c.relname, %s)
"""


class VectorIndexes:
    """The partial indexes of large tenants."""

    def __init__(
        self, database: Database, owner_url: str, interval_s: float = _INTERVAL_S, exact_chunks: int = EXACT_CHUNKS
    ) -> None:
        """`owner_url`: the login that owns the tables; only an owner makes indexes."""
        self._exact_chunks = exact_chunks
        self._database = database
        self._owner_url = owner_url
        self._interval_s = interval_s

    async def run(self) -> None:
        """Keeps the indexes right for as long as the process lives."""
        while True:
            try:
                await self.adjust()
            except (psycopg.Error, SlipwayError) as error:
                # Search answers without the index; what is missing is made at the next turn.
                _log.warning("vector indexes could not be adjusted: %s", error)
            await asyncio.sleep(self._interval_s)

    async def adjust(self) -> None:
        """Builds what is missing and drops what is not needed; does nothing while another process does."""
        tenants = await self._tenants()
        wanted = {index_name(tenant): tenant for tenant, chunks in tenants.items() if chunks > self._exact_chunks}
        kept = {index_name(tenant) for tenant in tenants}
        async with await AsyncConnection.connect(self._owner_url, autocommit=True) as connection:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,))
            row = await cursor.fetchone()
            if row is None or not row[0]:
                return
            cursor = await connection.execute(_PRESENT, (_PREFIX,))
            valid: dict[str, bool] = dict(await cursor.fetchall())
            for name, is_valid in valid.items():
                # One that is not valid is what a build that was interrupted left behind.
                if name not in kept or not is_valid:
                    await connection.execute(
                        sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name))
                    )
            for name, tenant in wanted.items():
                if not valid.get(name, False):
                    await _build(connection, name, tenant)

    async def _tenants(self) -> dict[str, int]:
        async with self._database.platform_transaction() as connection:
            # Down to half: a tenant near the limit must not have its index built and dropped by turns.
            cursor = await connection.execute(_WANTED, (self._exact_chunks // 2,))
            return {row["tenant_id"]: row["chunks"] for row in await cursor.fetchall()}


def index_name(tenant_id: str) -> str:
    """The index of a tenant; of a hash, because any text may be a tenant's id."""
    return _PREFIX + hashlib.sha256(tenant_id.encode()).hexdigest()[:32]


async def _build(connection: AsyncConnection[tuple[object, ...]], name: str, tenant_id: str) -> None:
    await connection.execute(
        sql.SQL(
            "CREATE INDEX CONCURRENTLY {} ON chunk_vector USING hnsw (embedding halfvec_ip_ops)"
            " WITH (m = 24, ef_construction = 200) WHERE tenant_id = {}"
        ).format(sql.Identifier(name), sql.Literal(tenant_id))
    )
    # Without counts of the tenant's rows the planner takes it for a small one and sorts it instead.
    await connection.execute("ANALYZE chunk_vector (tenant_id, number)")
