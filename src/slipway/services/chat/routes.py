"""`POST /v1/chat`: one answer, whole or as server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from slipway.api.chat import ChatRequest, ChatResponse, ChatUsage
from slipway.api.sessions import Citation
from slipway.base.callers import Scope
from slipway.base.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    LimitExceeded,
    NotFound,
    StorageFull,
    UpstreamFailed,
    as_ours,
    defect,
)
from slipway.runtime.http.events import encode_event, event_response
from slipway.runtime.http.problems import log_error, problem
from slipway.runtime.http.routes import CallerOf, RequestId, Routes
from slipway.services.chat.models import Token
from slipway.services.chat.service import ChatEvent, ChatService, Finished


def chat_routes(service: ChatService) -> Routes:
    """The route over the service."""
    routes = Routes("chat")

    @routes.add(
        "POST",
        "/v1/chat",
        access=Scope.CHAT_USE,
        response=ChatResponse,
        errors=(NotFound, BudgetExceeded, LimitExceeded, UpstreamFailed, DeadlineExceeded, StorageFull),
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def chat(caller: CallerOf, request_id: RequestId, body: ChatRequest) -> Any:
        """Answer a question from your documents, with citations.

        With `stream` the answer comes as events: `token` {text}, `citations` {citations}, `usage`, `done` {session_id};
        `error` (a problem) when it breaks off.
        """
        events = service.answer(caller, body, request_id)
        if body.stream:
            return await _streamed(events, request_id)
        async with aclosing(events):
            return await _whole(events)

    return routes


async def _whole(events: AsyncGenerator[ChatEvent, None]) -> ChatResponse:
    answer: list[str] = []
    citations: list[Citation] = []
    usage = ChatUsage(prompt_tokens=0, completion_tokens=0, cost_usd_micros=0)
    async for event in events:
        if isinstance(event, Token):
            answer.append(event.text)
        elif isinstance(event, ChatUsage):
            usage = event
        elif isinstance(event, Finished):
            return ChatResponse(
                session_id=event.session_id, answer="".join(answer), citations=citations, usage=usage, model=event.model
            )
        else:
            citations = event
    raise defect("an answer ended without its end")


async def _streamed(events: AsyncGenerator[ChatEvent, None], request_id: str) -> Response:
    # Awaited before the response begins, so that a refusal still has its status.
    first = await anext(events)

    async def encoded() -> AsyncIterator[bytes]:
        usage: dict[str, Any] = {}
        try:
            async with aclosing(_after(first, events)) as all_events:
                async for event in all_events:
                    if isinstance(event, ChatUsage):
                        usage = event.model_dump()  # sent with the model's name, which comes with the end
                    elif isinstance(event, Finished):
                        yield encode_event("usage", usage | {"model": event.model})
                        yield encode_event("done", {"session_id": event.session_id})
                    elif isinstance(event, Token):
                        yield encode_event("token", {"text": event.text})
                    else:
                        yield encode_event("citations", {"citations": [citation.model_dump() for citation in event]})
        except Exception as error:  # noqa: BLE001 - a defect of ours must not end the stream in silence
            log_error(error, request_id)
            yield encode_event("error", problem(as_ours(error), request_id)[2])

    return event_response(encoded())


async def _after(first: ChatEvent, rest: AsyncGenerator[ChatEvent, None]) -> AsyncGenerator[ChatEvent, None]:
    yield first
    async with aclosing(rest):
        async for event in rest:
            yield event
