"""What the memory service asks of its store."""

from typing import Protocol

from slipway.api.sessions import Message, MessageRequest, Session
from slipway.api.wire import Page
from slipway.base.callers import Caller


class SessionStore(Protocol):
    """Sessions of the caller's tenant. A member sees its own; services and administrators see every one.

    Each method raises NotFound for a session that is absent, another tenant's, or not the caller's to see.
    """

    async def session_create(self, caller: Caller, title: str) -> Session: ...

    async def session_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Session]: ...

    async def session_view(self, caller: Caller, session_id: str) -> Session: ...

    async def session_delete(self, caller: Caller, session_id: str) -> None: ...

    async def message_append(self, caller: Caller, session_id: str, message: MessageRequest) -> Message: ...

    async def message_list(self, caller: Caller, session_id: str, after: int, limit: int) -> Page[Message]: ...

    async def message_latest(self, caller: Caller, session_id: str, limit: int) -> list[Message]: ...
