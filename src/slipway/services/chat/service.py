"""Answers a question: find passages, ask a model, rewrite its markers into quotes, keep both messages in the session.

Called by the routes. Refuses nothing itself: an unknown session, collection or model is refused by the part that knows.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from slipway.api.chat import ChatRequest, ChatUsage
from slipway.api.sessions import Citation
from slipway.base.callers import Caller
from slipway.services.chat.citations import Citations
from slipway.services.chat.models import Passage, Spent, Token, Turn
from slipway.services.chat.ports import Models, Retrieval, Sessions
from slipway.services.chat.prompt import messages

NOTHING_FOUND: Final = "I found nothing about this in your documents."

_PASSAGES: Final = 8  # with chunks of 200 word pieces some 1,600 tokens of sources: fits every model's window
_LEAST_SIMILARITY: Final = 0.2  # cosine of all-MiniLM-L6-v2; when no passage has it, all are noise to the question
_FOLLOW_UP_WORDS: Final = 6  # a shorter question leans on the one before: it is searched with it
_TURNS: Final = 6  # arbitrary: how much of the conversation the model is shown


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer."""

    session_id: str
    model: str


ChatEvent = Token | list[Citation] | ChatUsage | Finished


class ChatService:
    """Orchestrates the three parts; holds no state."""

    def __init__(self, retrieval: Retrieval, models: Models, sessions: Sessions) -> None:
        self._retrieval = retrieval
        self._models = models
        self._sessions = sessions

    async def answer(self, caller: Caller, request: ChatRequest, request_id: str) -> AsyncGenerator[ChatEvent, None]:
        """The answer's tokens, then its citations, its usage and its end.

        The user's message is kept before the model is asked and the answer once it is whole; an answer whose reader
        left is not kept. Raises NotFound for an unknown session, collection or model.
        """
        turns: list[Turn] = []
        if request.session_id is not None:
            turns = (await self._sessions.turns(caller, request.session_id))[-_TURNS:]
        passages = await self._passages(caller, request, turns)
        session_id = request.session_id or await self._sessions.open(caller, request.message[:80])
        await self._sessions.append(caller, session_id, "user", request.message, [], f"{request_id}.user")

        citations = Citations(passages)
        answer: list[str] = []
        spent = Spent(model="none", prompt_tokens=0, completion_tokens=0, cost_usd_micros=0)
        async with aclosing(self._asked(caller, request, passages, turns)) as events:
            async for event in events:
                if isinstance(event, Spent):
                    spent = event
                    continue
                text = citations.feed(event.text)
                if text:
                    answer.append(text)
                    yield Token(text)
        rest = citations.end()
        if rest:
            answer.append(rest)
            yield Token(rest)

        await self._sessions.append(
            caller, session_id, "assistant", "".join(answer) or " ", citations.found, f"{request_id}.assistant"
        )
        yield citations.found
        yield ChatUsage(
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            cost_usd_micros=spent.cost_usd_micros,
        )
        yield Finished(session_id=session_id, model=spent.model)

    async def _passages(self, caller: Caller, request: ChatRequest, turns: Sequence[Turn]) -> list[Passage]:
        query = request.message
        asked_before = [turn.content for turn in turns if turn.role == "user"]
        if asked_before and len(query.split()) < _FOLLOW_UP_WORDS:
            query = f"{query}\n{asked_before[-1]}"  # the new words first: the end may be cut
        found = await self._retrieval.passages(caller, query, request.collection, _PASSAGES)
        # Judged together: a long passage with the answer in one sentence was best by its words and 0.19 alike, and when
        # such were left out one by one, 2 of 43 questions to the examples lost their answer (2026-11-21).
        near = any(item.similarity is None or item.similarity >= _LEAST_SIMILARITY for item in found)
        return found if near else []

    async def _asked(
        self, caller: Caller, request: ChatRequest, passages: Sequence[Passage], turns: Sequence[Turn]
    ) -> AsyncGenerator[Token | Spent, None]:
        if not passages:
            # No model is asked: without sources it could only invent.
            yield Token(NOTHING_FOUND)
            return
        asked = messages(passages, turns, request.message)
        async with aclosing(self._models.answer(caller, request.model, asked)) as events:
            async for event in events:
                yield event
