"""The first tenant and its administrator's key. Called at start and by the command line."""

from dataclasses import dataclass, field
from typing import Final

from slipway.api.identity import KeyRequest
from slipway.base.callers import ROLE_SCOPES, Role
from slipway.base.errors import Misconfigured
from slipway.base.ids import new_id
from slipway.runtime.authentication.api_keys import api_key_make
from slipway.runtime.database import Connection, Database
from slipway.services.identity.adapter_postgres import key_insert

_LOCK: Final = 0x51195AB  # arbitrary; any two processes of one platform must agree
_ADMINISTRATOR: Final = KeyRequest(name="administrator", role=Role.PLATFORM_ADMIN)


@dataclass(frozen=True)
class Bootstrap:
    """An administrator's key; the secret exists nowhere else."""

    tenant_id: str
    key_secret: str = field(repr=False)


async def bootstrap(database: Database) -> Bootstrap | None:
    """On a database without tenants, the tenant "default" with an administrator's key; else None.

    Safe when many processes do it at once: one of them gets the key.
    """
    async with database.platform_transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor = await connection.execute("SELECT 1 FROM tenant LIMIT 1")
        if await cursor.fetchone() is not None:
            return None
        tenant_id = new_id("ten")
        await connection.execute("INSERT INTO tenant (id, name) VALUES (%s, 'default')", (tenant_id,))
        return await _key(connection, tenant_id)


async def admin_key_new(database: Database) -> Bootstrap:
    """Another administrator's key of the first tenant, for whoever lost theirs and has the database.

    Raises Misconfigured before `bootstrap` has run.
    """
    async with database.platform_transaction() as connection:
        cursor = await connection.execute("SELECT id FROM tenant ORDER BY created_at, id LIMIT 1")
        row = await cursor.fetchone()
        if row is None:
            raise Misconfigured("This database has no tenant yet: start the platform once.")
        return await _key(connection, row["id"])


async def _key(connection: Connection, tenant_id: str) -> Bootstrap:
    made = api_key_make()
    await key_insert(connection, tenant_id, "bootstrap", _ADMINISTRATOR, made, sorted(ROLE_SCOPES[Role.PLATFORM_ADMIN]))
    return Bootstrap(tenant_id, made.secret)
