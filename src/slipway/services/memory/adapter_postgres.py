"""Sessions and messages in PostgreSQL."""

from typing import Any, Final

from psycopg.types.json import Jsonb

from slipway.api.sessions import Message, MessageRequest, Session
from slipway.api.wire import Page
from slipway.base.callers import Caller, Role
from slipway.base.errors import NotFound
from slipway.base.ids import new_id
from slipway.runtime.database import Connection, Database, one

_SESSION: Final = "id, title, message_count, created_at, updated_at"
_MESSAGE: Final = "id, sequence, role, content, citations, created_at"
# A member sees its own sessions; %(subject)s is NULL for callers that see all of their tenant's.
_VISIBLE: Final = "tenant_id = %(tenant)s AND (%(subject)s::text IS NULL OR subject = %(subject)s)"


class PostgresSessions:
    """Implements SessionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def session_create(self, caller: Caller, title: str) -> Session:
        async with self._database.transaction(caller) as connection:
            cursor = await connection.execute(
                "INSERT INTO session (tenant_id, id, subject, title) "
                f"VALUES (%(tenant)s, %(id)s, %(owner)s, %(title)s) RETURNING {_SESSION}",
                {"tenant": caller.tenant_id, "id": new_id("ses"), "owner": caller.subject, "title": title},
            )
            return Session.model_validate(one(await cursor.fetchone()))

    async def session_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Session]:
        async with self._database.transaction(caller) as connection:
            rows = await connection.execute(
                f"SELECT {_SESSION} FROM session WHERE {_VISIBLE} AND (%(cursor)s::text IS NULL OR id < %(cursor)s) "
                "ORDER BY id DESC LIMIT %(limit)s",
                {**_seen_by(caller), "cursor": cursor, "limit": limit + 1},
            )
            sessions = [Session.model_validate(row) for row in await rows.fetchall()]
        return Page.of(sessions, limit, lambda session: session.id)

    async def session_view(self, caller: Caller, session_id: str) -> Session:
        async with self._database.transaction(caller) as connection:
            return await _session(connection, caller, session_id)

    async def session_delete(self, caller: Caller, session_id: str) -> None:
        async with self._database.transaction(caller) as connection:
            deleted = await connection.execute(
                f"DELETE FROM session WHERE {_VISIBLE} AND id = %(id)s", {**_seen_by(caller), "id": session_id}
            )
            if deleted.rowcount == 0:
                raise _absent(session_id)

    async def message_append(self, caller: Caller, session_id: str, message: MessageRequest) -> Message:
        async with self._database.transaction(caller) as connection:
            # The row lock puts messages that arrive at once in one order.
            await _session(connection, caller, session_id, lock=True)
            if message.idempotency_key is not None:
                found = await connection.execute(
                    f"SELECT {_MESSAGE} FROM message WHERE tenant_id = %(tenant)s AND session_id = %(session)s "
                    "AND idempotency_key = %(key)s",
                    {"tenant": caller.tenant_id, "session": session_id, "key": message.idempotency_key},
                )
                row = await found.fetchone()
                if row is not None:
                    return Message.model_validate(row)
            counted = await connection.execute(
                "UPDATE session SET message_count = message_count + 1, updated_at = now() "
                "WHERE tenant_id = %(tenant)s AND id = %(session)s RETURNING message_count",
                {"tenant": caller.tenant_id, "session": session_id},
            )
            inserted = await connection.execute(
                "INSERT INTO message (tenant_id, session_id, sequence, id, role, content, citations, idempotency_key) "
                "VALUES (%(tenant)s, %(session)s, %(sequence)s, %(id)s, %(role)s, %(content)s, %(citations)s, %(key)s) "
                f"RETURNING {_MESSAGE}",
                {
                    "tenant": caller.tenant_id,
                    "session": session_id,
                    "sequence": one(await counted.fetchone())["message_count"],
                    "id": new_id("msg"),
                    "role": message.role,
                    "content": message.content,
                    "citations": Jsonb([citation.model_dump() for citation in message.citations]),
                    "key": message.idempotency_key,
                },
            )
            return Message.model_validate(one(await inserted.fetchone()))

    async def message_list(self, caller: Caller, session_id: str, after: int, limit: int) -> Page[Message]:
        async with self._database.transaction(caller) as connection:
            await _session(connection, caller, session_id)
            rows = await connection.execute(
                f"SELECT {_MESSAGE} FROM message WHERE tenant_id = %(tenant)s AND session_id = %(session)s "
                "AND sequence > %(after)s ORDER BY sequence LIMIT %(limit)s",
                {"tenant": caller.tenant_id, "session": session_id, "after": after, "limit": limit + 1},
            )
            messages = [Message.model_validate(row) for row in await rows.fetchall()]
        return Page.of(messages, limit, lambda message: str(message.sequence))

    async def message_latest(self, caller: Caller, session_id: str, limit: int) -> list[Message]:
        async with self._database.transaction(caller) as connection:
            rows = await connection.execute(
                f"SELECT {_MESSAGE} FROM message WHERE tenant_id = %(tenant)s AND session_id = %(session)s "
                "ORDER BY sequence DESC LIMIT %(limit)s",
                {"tenant": caller.tenant_id, "session": session_id, "limit": limit},
            )
            return [Message.model_validate(row) for row in reversed(await rows.fetchall())]


async def _session(connection: Connection, caller: Caller, session_id: str, *, lock: bool = False) -> Session:
    found = await connection.execute(
        f"SELECT {_SESSION} FROM session WHERE {_VISIBLE} AND id = %(id)s" + (" FOR UPDATE" if lock else ""),
        {**_seen_by(caller), "id": session_id},
    )
    row = await found.fetchone()
    if row is None:
        raise _absent(session_id)
    return Session.model_validate(row)


def _seen_by(caller: Caller) -> dict[str, Any]:
    return {"tenant": caller.tenant_id, "subject": caller.subject if caller.role is Role.MEMBER else None}


def _absent(session_id: str) -> NotFound:
    return NotFound(f"There is no session {session_id}.")
