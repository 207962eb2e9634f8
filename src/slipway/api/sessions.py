"""Wire types of sessions and their messages (the memory service)."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from slipway.api.wire import Request, Response


class Citation(Response):
    """A quoted span that supports an answer: exactly the characters `start` to `end` of the document's text."""

    document_id: str
    title: str
    page: int = Field(ge=0, le=1_000_000)
    start: int
    end: int
    quote: str


class SessionRequest(Request):
    """A new conversation."""

    title: str = Field(default="", max_length=200)


class Session(Response):
    """A conversation; its messages are read with it or page by page."""

    id: str
    title: str
    message_count: int
    created_at: datetime
    updated_at: datetime


class MessageRequest(Request):
    """A message to append; a session only ever grows. The same `idempotency_key` twice appends once."""

    role: Literal["user", "assistant"]
    content: str = Field(min_length=1, max_length=200_000)
    citations: list[Citation] = Field(default_factory=list)
    idempotency_key: str | None = Field(default=None, max_length=64)


class Message(Response):
    """A message of a session, numbered from 1 in its order."""

    id: str
    sequence: int
    role: Literal["user", "assistant"]
    content: str
    citations: list[Citation]
    created_at: datetime


class SessionDetail(Session):
    """A session with its most recent messages, oldest first."""

    messages: list[Message]
