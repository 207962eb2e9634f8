"""What the chat service asks of the other parts, each time on behalf of a caller."""

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, Protocol

from slipway.api.sessions import Citation
from slipway.base.callers import Caller
from slipway.services.chat.models import Passage, Spent, Token, Turn


class Retrieval(Protocol):
    """Finds passages in the caller's documents."""

    async def passages(self, caller: Caller, query: str, collection: str | None, limit: int) -> list[Passage]:
        """Best first; raises NotFound for an unknown collection."""
        ...


class Models(Protocol):
    """Asks a model."""

    def answer(
        self, caller: Caller, model: str | None, messages: Sequence[dict[str, str]]
    ) -> AsyncGenerator[Token | Spent, None]:
        """The pieces of an answer, then what it took; `model` None is the manifest's default. Closing it ends it."""
        ...


class Sessions(Protocol):
    """Keeps what was said."""

    async def open(self, caller: Caller, title: str) -> str:
        """The id of a new session."""
        ...

    async def turns(self, caller: Caller, session_id: str) -> list[Turn]:
        """The latest messages, oldest first; raises NotFound."""
        ...

    async def append(
        self,
        caller: Caller,
        session_id: str,
        role: Literal["user", "assistant"],
        content: str,
        citations: Sequence[Citation],
        key: str,
    ) -> None:
        """Adds a message; the same `key` twice adds it once."""
        ...
