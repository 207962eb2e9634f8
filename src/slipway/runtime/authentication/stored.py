"""What the database knows of credentials: API keys, users, clients, tenants, signing keys, and what changed lately.

Called by the authenticator alone. Every query runs across tenants, since a credential is what tells the tenant.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any, Final

from slipway.base.callers import Role, Scope, known_scopes
from slipway.runtime.database import Database, one

# A change is stamped while its transaction runs and seen when it commits, so the same window is asked for again and
# again; it bounds how long such a transaction may last.
_OVERLAP: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Standing:
    """A key, user or client that holds: `version` tells whether a cached copy is still what the database has."""

    id: str
    tenant_id: str
    role: Role
    scopes: frozenset[Scope] | None
    expires_at: datetime | None
    version: datetime


class StoredIdentities:
    """Reads identities with one query each; raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key(self, prefix: str, digest: bytes) -> Standing | None:
        """The API key with this prefix and hash, unless it is revoked. Whether it expired is for each use to tell."""
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "SELECT id, tenant_id, role, scopes, hash, expires_at, changed_at FROM api_key"
                " WHERE prefix = %s AND revoked_at IS NULL",
                (prefix,),
            )
            row = await cursor.fetchone()
        if row is None or not compare_digest(row["hash"], digest):
            return None
        return _standing(row)

    async def subject(self, tenant_id: str, subject: str) -> Standing | None:
        """The user or client behind a token of the built-in issuer, unless it was deleted."""
        statement = (
            "SELECT id, tenant_id, role, NULL AS scopes, NULL AS expires_at, changed_at FROM user_account"
            if subject.startswith("usr_")
            else "SELECT id, tenant_id, role, scopes, NULL AS expires_at, changed_at FROM oauth_client"
        )
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                statement + " WHERE tenant_id = %s AND id = %s AND deleted_at IS NULL",
                (tenant_id, subject),
            )
            row = await cursor.fetchone()
        return None if row is None else _standing(row)

    async def tenant_of(self, external_id: str) -> str | None:
        """The tenant that a foreign issuer's tokens call `external_id`."""
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute("SELECT id FROM tenant WHERE external_id = %s", (external_id,))
            row = await cursor.fetchone()
        return None if row is None else str(row["id"])

    async def signing_keys(self) -> list[dict[str, Any]]:
        """The public keys of the built-in issuer, as JWKs."""
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute("SELECT public_jwk FROM signing_key ORDER BY active_from DESC LIMIT 20")
            return [row["public_jwk"] for row in await cursor.fetchall()]

    async def changes(self, since: datetime | None) -> tuple[datetime, dict[str, datetime]]:
        """The database's time, and the version of every identity that changed since `since` or shortly before it."""
        async with self._database.platform_transaction() as connection:
            row = one(await (await connection.execute("SELECT clock_timestamp() AS now")).fetchone())
            now: datetime = row["now"]
            cursor = await connection.execute(
                "SELECT id, changed_at FROM api_key WHERE changed_at > %(since)s"
                " UNION ALL SELECT id, changed_at FROM user_account WHERE changed_at > %(since)s"
                " UNION ALL SELECT id, changed_at FROM oauth_client WHERE changed_at > %(since)s",
                {"since": (since or now) - _OVERLAP},
            )
            return now, {row["id"]: row["changed_at"] for row in await cursor.fetchall()}


def _standing(row: dict[str, Any]) -> Standing:
    scopes = row["scopes"]
    return Standing(
        id=row["id"],
        tenant_id=row["tenant_id"],
        role=Role(row["role"]),
        scopes=None if scopes is None else known_scopes(scopes),
        expires_at=row["expires_at"],
        version=row["changed_at"],
    )
