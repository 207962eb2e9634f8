"""Collections: named parts of a tenant's documents. Routes call it.

It refuses names that are taken, and to delete a collection that still has documents: nobody loses documents by a
name. `default` is there without being made, and cannot be deleted.
"""

from slipway.api.documents import Collection, CollectionRequest
from slipway.api.wire import Page
from slipway.base.callers import Caller
from slipway.base.errors import Conflict, NotFound
from slipway.runtime.database import Database, one
from slipway.services.retrieval.collections_rows import default_ensure
from slipway.services.retrieval.models import DEFAULT_COLLECTION

_COLUMNS = "name, description, document_count, chunk_count, created_at"


class Collections:
    """The collections of a tenant; document and chunk counts are of what can be searched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def collection_list(self, caller: Caller) -> Page[Collection]:
        """All of them, newest first."""
        async with self._database.transaction(caller) as connection:
            await default_ensure(connection, caller)
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM collection WHERE tenant_id = %s ORDER BY created_at DESC, slot DESC",  # noqa: S608
                (caller.tenant_id,),
            )
            return Page(items=[Collection.model_validate(row) for row in await cursor.fetchall()])

    async def collection_create(self, caller: Caller, request: CollectionRequest) -> Collection:
        """A new, empty one; raises Conflict when the name is taken."""
        async with self._database.transaction(caller) as connection:
            await default_ensure(connection, caller)
            cursor = await connection.execute(
                "INSERT INTO collection (tenant_id, name, description) VALUES (%s, %s, %s)"  # noqa: S608
                f" ON CONFLICT (tenant_id, name) DO NOTHING RETURNING {_COLUMNS}",
                (caller.tenant_id, request.name, request.description),
            )
            row = await cursor.fetchone()
        if row is None:
            raise Conflict(f"There is a collection {request.name!r} already.")
        return Collection.model_validate(row)

    async def collection_delete(self, caller: Caller, name: str) -> None:
        """Deletes an empty one; raises NotFound, or Conflict while documents are in it, also unfinished ones."""
        if name == DEFAULT_COLLECTION:
            raise Conflict(f"The collection {DEFAULT_COLLECTION!r} is always there: delete its documents instead.")
        async with self._database.transaction(caller) as connection:
            cursor = await connection.execute(
                "SELECT document_count FROM collection WHERE tenant_id = %s AND name = %s FOR UPDATE",
                (caller.tenant_id, name),
            )
            row = await cursor.fetchone()
            if row is None:
                raise NotFound(f"There is no collection {name!r}.")
            cursor = await connection.execute(
                "SELECT count(*) AS documents FROM document WHERE tenant_id = %s AND collection = %s"
                " AND deleted_at IS NULL",
                (caller.tenant_id, name),
            )
            documents = max(row["document_count"], one(await cursor.fetchone())["documents"])
            if documents:
                raise Conflict(f"The collection {name!r} has documents ({documents}): delete them first.")
            await connection.execute(
                "DELETE FROM collection WHERE tenant_id = %s AND name = %s", (caller.tenant_id, name)
            )
