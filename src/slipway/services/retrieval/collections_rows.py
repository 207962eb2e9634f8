"""What others need of the table `collection`: that the one they name is there, on the transaction of whoever calls.

Uploads call `require` before a document joins a collection; `default` comes into being by itself.
"""

from slipway.base.callers import Caller
from slipway.base.errors import NotFound
from slipway.runtime.database import Connection
from slipway.services.retrieval.models import DEFAULT_COLLECTION


async def default_ensure(connection: Connection, caller: Caller) -> None:
    """The collection that a document is in when nobody says otherwise."""
    await connection.execute(
        "INSERT INTO collection (tenant_id, name) VALUES (%s, %s) ON CONFLICT (tenant_id, name) DO NOTHING",
        (caller.tenant_id, DEFAULT_COLLECTION),
    )


async def require(connection: Connection, caller: Caller, name: str) -> None:
    """Raises NotFound unless the collection is there or is `default`; it stays until this transaction has ended."""
    if name == DEFAULT_COLLECTION:
        return  # nobody can delete it
    cursor = await connection.execute(
        "SELECT 1 FROM collection WHERE tenant_id = %s AND name = %s FOR KEY SHARE", (caller.tenant_id, name)
    )
    if await cursor.fetchone() is None:
        raise NotFound(f"There is no collection {name!r}: create it with POST /v1/collections.")
