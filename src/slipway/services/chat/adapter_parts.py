"""The other parts through their clients, with an internal token for the caller on each call."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, Literal

from slipway.api.client import Client
from slipway.api.documents import SearchRequest
from slipway.api.sessions import Citation, MessageRequest, SessionRequest
from slipway.api.transport import Event
from slipway.base.callers import Caller, Scope
from slipway.base.errors import UpstreamFailed
from slipway.runtime.authentication.internal import InternalTokens
from slipway.services.chat.models import Passage, Spent, Token, Turn

_ACTOR: Final = "chat"


class RetrievalPart:
    """Implements Retrieval."""

    def __init__(self, client: Client, tokens: InternalTokens) -> None:
        self._client = client
        self._tokens = tokens

    async def passages(self, caller: Caller, query: str, collection: str | None, limit: int) -> list[Passage]:
        client = self._client.acting(lambda: self._tokens.mint(caller, [Scope.SEARCH_USE], _ACTOR))
        answer = await client.search(SearchRequest(query=query[:8_000], limit=limit, collection=collection))
        return [
            Passage(item.document_id, item.title, item.page, item.start, item.text, item.similarity)
            for item in answer.results
        ]


class GatewayPart:
    """Implements Models."""

    def __init__(self, client: Client, tokens: InternalTokens, default_model: str) -> None:
        self._client = client
        self._tokens = tokens
        self._default_model = default_model

    async def answer(
        self, caller: Caller, model: str | None, messages: Sequence[dict[str, str]]
    ) -> AsyncGenerator[Token | Spent, None]:
        client = self._client.acting(lambda: self._tokens.mint(caller, [Scope.MODELS_USE], _ACTOR))
        name = model or self._default_model
        async with aclosing(client.completion_events({"model": name, "messages": list(messages)})) as events:
            async for event in events:
                for piece in _pieces(event, name):
                    yield piece


def _pieces(event: Event, model: str) -> list[Token | Spent]:
    chunk = event.data
    if not isinstance(chunk, dict):  # `[DONE]`
        return []
    if "error" in chunk:
        raise UpstreamFailed(f"The model broke off: {chunk['error'].get('message', 'no reason given')}")
    pieces: list[Token | Spent] = [
        Token(_storable(choice["delta"]["content"]))
        for choice in chunk.get("choices", [])
        if choice.get("delta", {}).get("content")
    ]
    usage = chunk.get("usage")
    if usage:
        pieces.append(
            Spent(
                model=chunk.get("model") or model,  # with a fallback, the one that answered
                prompt_tokens=usage["prompt_tokens"],
                completion_tokens=usage.get("completion_tokens", 0),
                cost_usd_micros=usage.get("cost_usd_micros", 0),
            )
        )
    return pieces


def _storable(text: str) -> str:
    """A model's text as it can be sent and kept: PostgreSQL has no NUL, UTF-8 no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


class MemoryPart:
    """Implements Sessions."""

    def __init__(self, client: Client, tokens: InternalTokens) -> None:
        self._client = client
        self._tokens = tokens

    def _acting(self, caller: Caller) -> Client:
        return self._client.acting(
            lambda: self._tokens.mint(caller, [Scope.SESSIONS_READ, Scope.SESSIONS_WRITE], _ACTOR)
        )

    async def open(self, caller: Caller, title: str) -> str:
        session = await self._acting(caller).session_create(SessionRequest(title=title))
        return session.id

    async def turns(self, caller: Caller, session_id: str) -> list[Turn]:
        session = await self._acting(caller).session_view(session_id)
        return [Turn(message.role, message.content) for message in session.messages]

    async def append(
        self,
        caller: Caller,
        session_id: str,
        role: Literal["user", "assistant"],
        content: str,
        citations: Sequence[Citation],
        key: str,
    ) -> None:
        request = MessageRequest(role=role, content=content, citations=list(citations), idempotency_key=key)
        await self._acting(caller).message_append(session_id, request)
