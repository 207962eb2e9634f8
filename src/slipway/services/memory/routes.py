"""`/v1/sessions`: conversations and their messages."""

from typing import Annotated

from fastapi import Path, Query

from slipway.api.sessions import Message, MessageRequest, Session, SessionDetail, SessionRequest
from slipway.api.wire import Identifier, Page, cursor_of
from slipway.base.callers import Scope
from slipway.base.errors import NotFound
from slipway.runtime.http.routes import CallerOf, Routes
from slipway.services.memory.ports import SessionStore

_MESSAGES_WITH_SESSION = 50  # arbitrary: what fits a screen; the rest is read page by page

SessionId = Annotated[Identifier, Path()]
Limit = Annotated[int, Query(ge=1, le=500)]


def session_routes(store: SessionStore) -> Routes:
    """The routes over a store: there is nothing between them, for a session has no rules but the store's."""
    routes = Routes("sessions")

    @routes.add("POST", "/v1/sessions", access=Scope.SESSIONS_WRITE, status=201, response=Session)
    async def session_create(caller: CallerOf, body: SessionRequest) -> Session:
        """Open a conversation."""
        return await store.session_create(caller, body.title)

    @routes.add("GET", "/v1/sessions", access=Scope.SESSIONS_READ, response=Page[Session])
    async def session_list(
        caller: CallerOf, cursor: Annotated[Identifier | None, Query(), cursor_of("ses")] = None, limit: Limit = 50
    ) -> Page[Session]:
        """Conversations, newest first."""
        return await store.session_list(caller, cursor, limit)

    @routes.add(
        "GET", "/v1/sessions/{session_id}", access=Scope.SESSIONS_READ, response=SessionDetail, errors=(NotFound,)
    )
    async def session_view(caller: CallerOf, session_id: SessionId) -> SessionDetail:
        """A conversation with its latest messages."""
        session = await store.session_view(caller, session_id)
        messages = await store.message_latest(caller, session_id, _MESSAGES_WITH_SESSION)
        return SessionDetail(**session.model_dump(), messages=messages)

    @routes.add("DELETE", "/v1/sessions/{session_id}", access=Scope.SESSIONS_WRITE, status=204, errors=(NotFound,))
    async def session_delete(caller: CallerOf, session_id: SessionId) -> None:
        """Delete a conversation with all its messages."""
        await store.session_delete(caller, session_id)

    @routes.add(
        "POST",
        "/v1/sessions/{session_id}/messages",
        access=Scope.SESSIONS_WRITE,
        status=201,
        response=Message,
        errors=(NotFound,),
    )
    async def message_append(caller: CallerOf, session_id: SessionId, body: MessageRequest) -> Message:
        """Append a message; with an `idempotency_key` a repetition returns the first one."""
        return await store.message_append(caller, session_id, body)

    @routes.add(
        "GET",
        "/v1/sessions/{session_id}/messages",
        access=Scope.SESSIONS_READ,
        response=Page[Message],
        errors=(NotFound,),
    )
    async def message_list(
        caller: CallerOf, session_id: SessionId, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = 100
    ) -> Page[Message]:
        """Messages numbered above `after`, oldest first."""
        return await store.message_list(caller, session_id, after, limit)

    return routes
