"""The directory in PostgreSQL: tenants across the platform, everything else under row-level security."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString, TypeVar

from slipway.api.identity import Client, ClientRequest, Key, KeyRequest, Tenant, TenantRequest, User, UserRequest
from slipway.api.wire import Page
from slipway.base.callers import Caller, Scope
from slipway.base.ids import new_id
from slipway.runtime.authentication.api_keys import MadeKey
from slipway.runtime.database import Connection, Database, one

_TENANT: Final = "id, name, external_id, created_at"
_KEY: Final = "id, name, prefix, role, scopes, created_at, expires_at, revoked_at"
_USER: Final = "id, email, role, created_at"
_CLIENT: Final = "id, name, redirect_uris, secret_hash IS NOT NULL AS confidential, role, scopes, created_at"

Listed = TypeVar("Listed", Key, User, Client)


class PostgresDirectory:
    """Implements `Directory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenant_add(self, caller: Caller, request: TenantRequest) -> Tenant | None:  # noqa: ARG002 port shape
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "INSERT INTO tenant (id, name, external_id) VALUES (%s, %s, %s)"
                f" ON CONFLICT (external_id) DO NOTHING RETURNING {_TENANT}",
                (new_id("ten"), request.name, request.external_id),
            )
            row = await cursor.fetchone()
        return None if row is None else Tenant(**row)

    async def tenant_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Tenant]:  # noqa: ARG002
        async with self._database.platform_transaction() as connection:
            found = await connection.execute(
                f"SELECT {_TENANT} FROM tenant WHERE (%(cursor)s::text IS NULL OR id < %(cursor)s)"
                " ORDER BY id DESC LIMIT %(limit)s",
                {"cursor": cursor, "limit": limit + 1},
            )
            return Page.of([Tenant(**row) for row in await found.fetchall()], limit, lambda tenant: tenant.id)

    async def tenant_get(self, caller: Caller, tenant_id: str) -> Tenant | None:  # noqa: ARG002
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(f"SELECT {_TENANT} FROM tenant WHERE id = %s", (tenant_id,))
            row = await cursor.fetchone()
        return None if row is None else Tenant(**row)

    async def key_add(
        self, caller: Caller, tenant_id: str, request: KeyRequest, made: MadeKey, scopes: Sequence[Scope]
    ) -> Key:
        # The platform's transaction only where the key is not the caller's tenant's: the service has checked the right.
        own = tenant_id == caller.tenant_id
        transaction = self._database.transaction(caller) if own else self._database.platform_transaction()
        async with transaction as connection:
            return Key(**await key_insert(connection, tenant_id, caller.subject, request, made, scopes))

    async def key_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Key]:
        return await self._page(caller, Key, f"SELECT {_KEY} FROM api_key WHERE true", cursor, limit)

    async def key_get(self, caller: Caller, key_id: str) -> Key | None:
        row = await self._row(caller, f"SELECT {_KEY} FROM api_key WHERE true", key_id)
        return None if row is None else Key(**row)

    async def key_revoke(self, caller: Caller, key_id: str) -> None:
        async with self._database.transaction(caller) as connection:
            await connection.execute(
                "UPDATE api_key SET revoked_at = now()"
                " WHERE tenant_id = %(tenant)s AND id = %(id)s AND revoked_at IS NULL",
                {"tenant": caller.tenant_id, "id": key_id},
            )

    async def user_add(self, caller: Caller, request: UserRequest, password_hash: str | None) -> User | None:
        async with self._database.transaction(caller) as connection:
            cursor = await connection.execute(
                "INSERT INTO user_account (tenant_id, id, email, role, password_hash)"
                " VALUES (%(tenant)s, %(id)s, lower(%(email)s), %(role)s, %(hash)s)"
                f" ON CONFLICT (tenant_id, email) WHERE deleted_at IS NULL DO NOTHING RETURNING {_USER}",
                {
                    "tenant": caller.tenant_id,
                    "id": new_id("usr"),
                    "email": request.email,
                    "role": request.role,
                    "hash": password_hash,
                },
            )
            row = await cursor.fetchone()
        return None if row is None else User(**row)

    async def user_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[User]:
        return await self._page(
            caller, User, f"SELECT {_USER} FROM user_account WHERE deleted_at IS NULL", cursor, limit
        )

    async def user_get(self, caller: Caller, user_id: str) -> User | None:
        row = await self._row(caller, f"SELECT {_USER} FROM user_account WHERE deleted_at IS NULL", user_id)
        return None if row is None else User(**row)

    async def user_delete(self, caller: Caller, user_id: str) -> None:
        values = {"tenant": caller.tenant_id, "id": user_id}
        async with self._database.transaction(caller) as connection:
            # The password goes at once; the row stays, so that other processes see when it ended.
            await connection.execute(
                "UPDATE user_account SET deleted_at = now(), password_hash = NULL"
                " WHERE tenant_id = %(tenant)s AND id = %(id)s AND deleted_at IS NULL",
                values,
            )
            await connection.execute(
                "UPDATE refresh_token SET revoked_at = now()"
                " WHERE tenant_id = %(tenant)s AND user_id = %(id)s AND revoked_at IS NULL",
                values,
            )

    async def client_add(
        self, caller: Caller, request: ClientRequest, secret_hash: bytes | None, scopes: Sequence[Scope]
    ) -> Client:
        async with self._database.transaction(caller) as connection:
            cursor = await connection.execute(
                "INSERT INTO oauth_client (tenant_id, id, name, redirect_uris, secret_hash, role, scopes)"
                " VALUES (%(tenant)s, %(id)s, %(name)s, %(uris)s, %(hash)s, %(role)s, %(scopes)s)"
                f" RETURNING {_CLIENT}",
                {
                    "tenant": caller.tenant_id,
                    "id": new_id("cli"),
                    "name": request.name,
                    "uris": request.redirect_uris,
                    "hash": secret_hash,
                    "role": request.role,
                    "scopes": list(scopes),
                },
            )
            return Client(**one(await cursor.fetchone()))

    async def client_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Client]:
        return await self._page(
            caller, Client, f"SELECT {_CLIENT} FROM oauth_client WHERE deleted_at IS NULL", cursor, limit
        )

    async def client_get(self, caller: Caller, client_id: str) -> Client | None:
        row = await self._row(caller, f"SELECT {_CLIENT} FROM oauth_client WHERE deleted_at IS NULL", client_id)
        return None if row is None else Client(**row)

    async def client_delete(self, caller: Caller, client_id: str) -> None:
        values = {"tenant": caller.tenant_id, "id": client_id}
        async with self._database.transaction(caller) as connection:
            await connection.execute(
                "UPDATE oauth_client SET deleted_at = now(), secret_hash = NULL"
                " WHERE tenant_id = %(tenant)s AND id = %(id)s AND deleted_at IS NULL",
                values,
            )
            await connection.execute(
                "UPDATE refresh_token SET revoked_at = now()"
                " WHERE tenant_id = %(tenant)s AND client_id = %(id)s AND revoked_at IS NULL",
                values,
            )

    async def _page(
        self, caller: Caller, item: type[Listed], statement: LiteralString, cursor: str | None, limit: int
    ) -> Page[Listed]:
        """One page of what `statement` selects, newest first."""
        async with self._database.transaction(caller) as connection:
            found = await connection.execute(
                statement + " AND tenant_id = %(tenant)s AND (%(cursor)s::text IS NULL OR id < %(cursor)s)"
                " ORDER BY id DESC LIMIT %(limit)s",
                {"tenant": caller.tenant_id, "cursor": cursor, "limit": limit + 1},
            )
            return Page.of([item(**row) for row in await found.fetchall()], limit, lambda listed: listed.id)

    async def _row(self, caller: Caller, statement: LiteralString, row_id: str) -> Mapping[str, Any] | None:
        async with self._database.transaction(caller) as connection:
            cursor = await connection.execute(
                statement + " AND tenant_id = %(tenant)s AND id = %(id)s",
                {"tenant": caller.tenant_id, "id": row_id},
            )
            return await cursor.fetchone()


async def key_insert(
    connection: Connection,
    tenant_id: str,
    created_by: str,
    request: KeyRequest,
    made: MadeKey,
    scopes: Sequence[Scope],
) -> dict[str, Any]:
    """Writes a key in the caller's transaction and returns its row, without the hash."""
    cursor = await connection.execute(
        "INSERT INTO api_key (tenant_id, id, name, prefix, hash, role, scopes, created_by, expires_at)"
        " VALUES (%(tenant)s, %(id)s, %(name)s, %(prefix)s, %(hash)s, %(role)s, %(scopes)s, %(by)s, %(expires)s)"
        f" RETURNING {_KEY}",
        {
            "tenant": tenant_id,
            "id": new_id("key"),
            "name": request.name,
            "prefix": made.prefix,
            "hash": made.hash,
            "role": request.role,
            "scopes": list(scopes),
            "by": created_by,
            "expires": request.expires_at,
        },
    )
    return one(await cursor.fetchone())
