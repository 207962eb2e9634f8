"""The issuer's grants in PostgreSQL. Codes and refresh tokens are found by their hash, across tenants."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg.types.json import Jsonb

from slipway.base.callers import Caller, Role
from slipway.base.ids import new_id
from slipway.runtime.database import Connection, Database, one
from slipway.services.identity.models import Account, CodeGrant, OAuthClient, RefreshGrant, StoredSigningKey

_FREE_TRIES: Final = 5
_LONGEST_WAIT_S: Final = 300
_SIGNING_LOCK: Final = 0x51195A2  # arbitrary; any two processes of one platform must agree


class PostgresGrants:
    """Implements `Grants`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def client(self, client_id: str) -> OAuthClient | None:
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "SELECT tenant_id, id, name, redirect_uris, secret_hash, role, scopes FROM oauth_client"
                " WHERE id = %s AND deleted_at IS NULL",
                (client_id,),
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        return OAuthClient(
            tenant_id=row["tenant_id"],
            id=row["id"],
            name=row["name"],
            redirect_uris=tuple(row["redirect_uris"]),
            secret_hash=row["secret_hash"],
            role=Role(row["role"]),
            scopes=frozenset(row["scopes"]),
        )

    async def account_by_email(self, tenant_id: str, email: str) -> Account | None:
        return await self._account(tenant_id, "email = lower(%(value)s)", email)

    async def account(self, tenant_id: str, user_id: str) -> Account | None:
        return await self._account(tenant_id, "id = %(value)s", user_id)

    async def _account(self, tenant_id: str, condition: str, value: str) -> Account | None:
        async with self._database.transaction(_issuer_in(tenant_id)) as connection:
            cursor = await connection.execute(
                "SELECT tenant_id, id, email, role, password_hash FROM user_account"
                f" WHERE tenant_id = %(tenant)s AND deleted_at IS NULL AND {condition}",
                {"tenant": tenant_id, "value": value},
            )
            row = await cursor.fetchone()
        return None if row is None else Account(**{**row, "role": Role(row["role"])})

    async def login_begin(self, tenant_id: str, email: str, now: datetime) -> datetime | None:
        values = {
            "tenant": tenant_id,
            "email": _email_hash(email),
            "now": now,
            "free": _FREE_TRIES,
            "longest": _LONGEST_WAIT_S,
        }
        async with self._database.transaction(_issuer_in(tenant_id)) as connection:
            # Counted before the password is looked at, so that tries at the same moment are all counted. The wait
            # doubles from the sixth try on, and a day without tries forgets.
            cursor = await connection.execute(
                "INSERT INTO login_attempt AS seen (tenant_id, email_hash, failures, not_before)"
                " VALUES (%(tenant)s, %(email)s, 1, %(now)s)"
                " ON CONFLICT (tenant_id, email_hash) DO UPDATE SET"
                " failures = CASE WHEN seen.not_before < %(now)s - interval '1 day' THEN 1 ELSE seen.failures + 1 END,"
                " not_before = CASE WHEN seen.failures + 1 < %(free)s THEN %(now)s ELSE %(now)s"
                "   + least(%(longest)s, power(2, least(seen.failures + 1 - %(free)s, 20))) * interval '1 second' END"
                " WHERE seen.not_before <= %(now)s RETURNING failures",
                values,
            )
            if await cursor.fetchone() is not None:
                return None
            cursor = await connection.execute(
                "SELECT not_before FROM login_attempt WHERE tenant_id = %(tenant)s AND email_hash = %(email)s", values
            )
            row = await cursor.fetchone()
        return now if row is None else row["not_before"]

    async def login_succeeded(self, tenant_id: str, email: str) -> None:
        async with self._database.transaction(_issuer_in(tenant_id)) as connection:
            await connection.execute(
                "DELETE FROM login_attempt WHERE tenant_id = %s AND email_hash = %s", (tenant_id, _email_hash(email))
            )

    async def code_add(self, digest: bytes, grant: CodeGrant) -> None:
        async with self._database.platform_transaction() as connection:
            await connection.execute(
                "INSERT INTO authorization_code (tenant_id, id, hash, client_id, user_id, redirect_uri, code_challenge,"
                " scopes, openid, nonce, family, created_at, expires_at) VALUES (%(tenant_id)s, %(id)s, %(hash)s,"
                " %(client_id)s, %(user_id)s, %(redirect_uri)s, %(code_challenge)s, %(scopes)s, %(openid)s, %(nonce)s,"
                " %(family)s, %(created_at)s, %(expires_at)s)",
                {**vars(grant), "scopes": list(grant.scopes), "id": new_id("code"), "hash": digest},
            )

    async def code_take(self, digest: bytes, client_id: str, now: datetime) -> CodeGrant | None:
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "SELECT tenant_id, client_id, user_id, redirect_uri, code_challenge, scopes, openid, nonce, family,"
                " created_at, expires_at, used_at"
                " FROM authorization_code WHERE hash = %s AND client_id = %s FOR UPDATE",
                (digest, client_id),
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            if row.pop("used_at") is not None:
                await _family_lock(connection, row["family"])
                await connection.execute(
                    "UPDATE authorization_code SET replayed_at = %s WHERE hash = %s", (now, digest)
                )
                await _family_revoke(connection, row["family"], now)
                return None
            await connection.execute("UPDATE authorization_code SET used_at = %s WHERE hash = %s", (now, digest))
        return CodeGrant(**{**row, "scopes": tuple(row["scopes"])}) if row["expires_at"] > now else None

    async def refresh_add(self, digest: bytes, grant: RefreshGrant) -> bool:
        async with self._database.platform_transaction() as connection:
            await _family_lock(connection, grant.family)
            cursor = await connection.execute(
                "SELECT 1 FROM authorization_code WHERE family = %s AND replayed_at IS NOT NULL", (grant.family,)
            )
            if await cursor.fetchone() is not None:
                return False
            await _refresh_insert(connection, digest, grant)
        return True

    async def refresh_rotate(
        self, digest: bytes, successor: bytes, client_id: str, now: datetime, permit: Callable[[RefreshGrant], object]
    ) -> RefreshGrant | None:
        async with self._database.platform_transaction() as connection:
            row = await _refresh_row(connection, digest, client_id)
            if row is None:
                return None
            used_at, revoked_at = row.pop("used_at"), row.pop("revoked_at")
            if used_at is not None:
                await _family_revoke(connection, row["family"], now)
                return None
            if revoked_at is not None or row["expires_at"] <= now:
                return None
            grant = RefreshGrant(**{**row, "scopes": tuple(row["scopes"]), "created_at": now})
            permit(grant)
            await connection.execute("UPDATE refresh_token SET used_at = %s WHERE hash = %s", (now, digest))
            await _refresh_insert(connection, successor, grant)
        return grant

    async def refresh_revoke(self, digest: bytes, client_id: str, now: datetime) -> None:
        async with self._database.platform_transaction() as connection:
            row = await _refresh_row(connection, digest, client_id)
            if row is not None:
                await _family_revoke(connection, row["family"], now)

    async def purge(self, now: datetime) -> None:
        before = now - timedelta(days=1)
        async with self._database.platform_transaction() as connection:
            await connection.execute("DELETE FROM authorization_code WHERE expires_at < %s", (before,))
            await connection.execute("DELETE FROM refresh_token WHERE expires_at < %s", (before,))
            await connection.execute("DELETE FROM login_attempt WHERE not_before < %s", (before,))


class PostgresSigningKeys:
    """Implements `SigningKeyStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key_list(self) -> list[StoredSigningKey]:
        async with self._database.platform_transaction() as connection:
            cursor = await connection.execute(
                "SELECT id, public_jwk, private_sealed, created_at, active_from FROM signing_key"
                " ORDER BY active_from DESC, id DESC"
            )
            return [StoredSigningKey(**row) for row in await cursor.fetchall()]

    async def key_add(self, key: StoredSigningKey, after: str | None, delete_before: datetime) -> bool:
        async with self._database.platform_transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SIGNING_LOCK,))
            cursor = await connection.execute("SELECT max(id) AS newest FROM signing_key")
            if one(await cursor.fetchone())["newest"] != after:
                return False
            await connection.execute(
                "INSERT INTO signing_key (id, algorithm, public_jwk, private_sealed, created_at, active_from)"
                " VALUES (%s, 'ES256', %s, %s, %s, %s)",
                (key.id, Jsonb(key.public_jwk), key.private_sealed, key.created_at, key.active_from),
            )
            # A key is of no use once its successor has signed for longer than any token lives.
            await connection.execute(
                "DELETE FROM signing_key AS old WHERE EXISTS (SELECT FROM signing_key AS new"
                " WHERE new.active_from > old.active_from AND new.active_from < %s)",
                (delete_before,),
            )
        return True


async def _refresh_row(connection: Connection, digest: bytes, client_id: str) -> dict[str, Any] | None:
    """A refresh token, with its whole family locked: a use and a revocation at the same moment take turns."""
    cursor = await connection.execute(
        "SELECT family FROM refresh_token WHERE hash = %s AND client_id = %s", (digest, client_id)
    )
    found = await cursor.fetchone()
    if found is None:
        return None
    await _family_lock(connection, found["family"])
    cursor = await connection.execute(
        "SELECT tenant_id, client_id, user_id, family, scopes, created_at, expires_at, used_at, revoked_at"
        " FROM refresh_token WHERE hash = %s",
        (digest,),
    )
    return one(await cursor.fetchone())


async def _refresh_insert(connection: Connection, digest: bytes, grant: RefreshGrant) -> None:
    await connection.execute(
        "INSERT INTO refresh_token (tenant_id, id, hash, family, client_id, user_id, scopes, created_at, expires_at)"
        " VALUES (%(tenant_id)s, %(id)s, %(hash)s, %(family)s, %(client_id)s, %(user_id)s, %(scopes)s, %(created_at)s,"
        " %(expires_at)s)",
        {**vars(grant), "scopes": list(grant.scopes), "id": new_id("rt"), "hash": digest},
    )


async def _family_lock(connection: Connection, family: str) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (family,))


async def _family_revoke(connection: Connection, family: str, now: datetime) -> None:
    await connection.execute(
        "UPDATE refresh_token SET revoked_at = %s WHERE family = %s AND revoked_at IS NULL", (now, family)
    )


def _issuer_in(tenant_id: str) -> Caller:
    """The issuer itself, at work in the tenant that a client belongs to."""
    return Caller(tenant_id=tenant_id, subject="issuer", scopes=frozenset(), role=Role.MEMBER, actor="identity")


def _email_hash(email: str) -> bytes:
    return hashlib.sha256(email.strip().lower().encode("utf-8", "surrogatepass")).digest()
