"""One accepted request from its model to its usage row: choice, fallback before the first byte, tokens, cost, row.

The hot routes call it with a verified caller and a checked request. A request is accepted once its model is known and a
place in the usage log is taken; from then on exactly one row is recorded, however it ends.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeVar

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import SlipwayError, UpstreamFailed
from slipway.services.gateway.chunks import ChunkStream, usage_body
from slipway.services.gateway.directory import Directory, ServedModel
from slipway.services.gateway.models import (
    ChatRequest,
    EmbeddingRequest,
    Embeddings,
    Operation,
    Status,
    Tokens,
    UsageRow,
)
from slipway.services.gateway.ports import ChatProvider, EmbeddingProvider, UsageLog
from slipway.services.gateway.wire import text_length

_CHARACTERS_PER_TOKEN: Final = 4  # OpenAI's own rule of thumb for English
Answer = TypeVar("Answer")


class Account:
    """The usage row of one accepted request while it is being written."""

    def __init__(
        self, log: UsageLog, clock: Clock, caller: Caller, request_id: str, operation: Operation, asked: str
    ) -> None:
        log.admit()
        self._log, self._clock = log, clock
        self._caller, self._request_id = caller, request_id
        self._operation: Operation = operation
        self._asked = asked
        self._at: datetime = clock.now()
        self._started_s = clock.monotonic_s()
        self._ttft_ms: int | None = None
        self._open = True

    def first_byte(self) -> None:
        """Notes that the answer begins."""
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed_ms()

    def close(self, model: ServedModel, tokens: Tokens, status: Status, error_code: str | None = None) -> int:
        """Records the row, once, and returns its cost in micro-dollars."""
        cost_usd_micros = model.price.cost_usd_micros(tokens)
        if self._open:
            self._open = False
            self._log.record(
                UsageRow(
                    request_id=self._request_id,
                    caller=self._caller,
                    at=self._at,
                    operation=self._operation,
                    requested_model=self._asked,
                    model=model.name,
                    provider=model.provider,
                    tokens=tokens,
                    cost_usd_micros=cost_usd_micros,
                    latency_ms=self._elapsed_ms(),
                    ttft_ms=self._ttft_ms,
                    status=status,
                    error_code=error_code,
                )
            )
        return cost_usd_micros

    def fail(self, model: ServedModel, error: BaseException, tokens: Tokens) -> None:
        """Records how it ended without an answer: cancelled when nobody waits any more, else with the error's code."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.close(model, tokens, "cancelled")
        else:
            self.close(model, tokens, "error", error.code if isinstance(error, SlipwayError) else "internal")

    def _elapsed_ms(self) -> int:
        return round((self._clock.monotonic_s() - self._started_s) * 1000)


class Gateway:
    """Serves requests with the models of a directory and accounts for each."""

    def __init__(self, directory: Directory, log: UsageLog, clock: Clock) -> None:
        self.directory = directory
        self._log = log
        self._clock = clock

    async def complete(self, caller: Caller, request_id: str, request: ChatRequest) -> tuple[dict[str, Any], int]:
        """A whole `chat.completion` and its cost in micro-dollars. Raises what the last model tried raised."""
        models = self.directory.candidates(request.model, "chat.completions")
        account = Account(self._log, self._clock, caller, request_id, "chat.completions", request.model)

        async def ask(model: ServedModel) -> tuple[dict[str, Any], int]:
            completion = await _chat(model).complete(caller, replace(request, model=model.name))
            tokens = completion.tokens or _estimated(request, _answer_length(completion.body))
            cost_usd_micros = account.close(model, tokens, "ok")
            body = completion.body
            given = body.get("usage")
            body["model"] = model.name
            body["usage"] = usage_body(tokens, cost_usd_micros, given if isinstance(given, dict) else {})
            return body, cost_usd_micros

        return await _first_that_answers(models, account, ask)

    async def embed(
        self, caller: Caller, request_id: str, request: EmbeddingRequest
    ) -> tuple[str, Embeddings, int, int]:
        """The model that answered, its vectors, prompt tokens and cost in micro-dollars."""
        models = self.directory.candidates(request.model, "embeddings")
        account = Account(self._log, self._clock, caller, request_id, "embeddings", request.model)

        async def ask(model: ServedModel) -> tuple[str, Embeddings, int, int]:
            embeddings = await _embeddings(model).embed(caller, replace(request, model=model.name))
            counted = embeddings.prompt_tokens
            estimate = sum(map(len, request.inputs)) // _CHARACTERS_PER_TOKEN
            tokens = Tokens(estimate, estimated=True) if counted is None else Tokens(counted)
            return model.name, embeddings, tokens.prompt, account.close(model, tokens, "ok")

        return await _first_that_answers(models, account, ask)

    async def stream(
        self, caller: Caller, request_id: str, request: ChatRequest
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The chunks of an answer. What goes wrong before the first one is raised by asking for it.

        Closing this early cancels the call at the provider and records what had been used by then.
        """
        models = self.directory.candidates(request.model, "chat.completions")
        account = Account(self._log, self._clock, caller, request_id, "chat.completions", request.model)
        for index, model in enumerate(models):
            state = ChunkStream(model.name, include_usage=request.include_usage)
            begun = False
            try:
                async with aclosing(_chat(model).stream(caller, replace(request, model=model.name))) as chunks:
                    async for chunk in chunks:
                        sent = state.take(chunk)
                        if sent is not None:
                            account.first_byte()
                            begun = True
                            yield sent
                if not begun:
                    raise UpstreamFailed("The model's provider ended the answer before it began.")
                tokens = state.tokens or _estimated(request, state.text_length)
                cost_usd_micros = account.close(model, tokens, "ok")
                if request.include_usage:
                    yield state.usage_chunk(tokens, cost_usd_micros)
                return
            except BaseException as error:
                if not begun and index + 1 < len(models) and _may_pass(error):
                    continue
                account.fail(model, error, state.tokens or _used(request, state.text_length, begun))
                raise


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, SlipwayError) and error.retryable


async def _first_that_answers(
    models: list[ServedModel], account: Account, ask: Callable[[ServedModel], Awaitable[Answer]]
) -> Answer:
    for model in models[:-1]:
        try:
            return await ask(model)
        except BaseException as error:
            if not _may_pass(error):
                account.fail(model, error, Tokens(0))
                raise
    try:
        return await ask(models[-1])
    except BaseException as error:
        account.fail(models[-1], error, Tokens(0))
        raise


def _chat(model: ServedModel) -> ChatProvider:
    assert model.chat is not None, "the directory only offers models that do the operation"
    return model.chat


def _embeddings(model: ServedModel) -> EmbeddingProvider:
    assert model.embeddings is not None, "the directory only offers models that do the operation"
    return model.embeddings


def _estimated(request: ChatRequest, answer_length: int) -> Tokens:
    prompt = text_length(request.body["messages"]) // _CHARACTERS_PER_TOKEN
    return Tokens(max(prompt, 1), -(-answer_length // _CHARACTERS_PER_TOKEN), estimated=True)


def _used(request: ChatRequest, answer_length: int, begun: bool) -> Tokens:
    """What a request that did not end well had used: nothing before its answer began, an estimate after."""
    return _estimated(request, answer_length) if begun else Tokens(0)


def _answer_length(body: dict[str, Any]) -> int:
    choices = body.get("choices") or []
    messages = [choice.get("message") for choice in choices if isinstance(choice, dict)]
    return text_length([message for message in messages if isinstance(message, dict)])
