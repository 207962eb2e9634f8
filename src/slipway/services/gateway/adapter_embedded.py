# ruff: noqa: ARG002 - every call of a port takes its caller
"""The models that come with Slipway, extractive answers and MiniLM embeddings, run in threads of this process.

Short embedding requests (a question) and long ones (a document) have a thread each, and a long one is cut into pieces
that wait their turn among the pieces of others: a question never waits behind a document. Work that waits is bounded;
beyond the bound requests are refused.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import Unavailable
from slipway.base.ids import new_id
from slipway.manifest.sections.models import EXTRACTIVE
from slipway.services.gateway.extractive import Answer
from slipway.services.gateway.minilm import Embedded
from slipway.services.gateway.models import (
    EmbeddingRequest,
    Embeddings,
    Encoding,
    Headers,
    InvalidParameter,
    WireName,
    WrittenBody,
)

PIECE_TEXTS: Final = 32
_SHORT_TEXTS, _SHORT_CHARACTERS = 4, 8_000  # some 0.1 s of one core at most
_MAX_WAITING_TEXTS: Final = 8 * 2048  # arbitrary; four minutes of work at 65 a second
_MAX_WAITING_ANSWERS: Final = 64  # arbitrary

# What the extractive model cannot do, by parameter: what it would have to be to mean nothing.
_REFUSED: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "n": (lambda value: value in (None, 1), "gives one answer: leave n out or send 1"),
    "response_format": (
        lambda value: value is None or (isinstance(value, dict) and value.get("type") == "text"),
        "quotes text and writes no JSON: leave response_format out",
    ),
    "tool_choice": (lambda value: value in (None, "auto", "none"), "calls no tools: leave tool_choice out"),
    "logprobs": (lambda value: value in (None, False), "has no probabilities: leave logprobs out"),
    "modalities": (lambda value: value in (None, ["text"]), "answers in text only: leave modalities out"),
}


class Embedder(Protocol):
    """What is used of MiniLM."""

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Embedded: ...


class Answerer(Protocol):
    """What is used of Extractive."""

    def answer(self, messages: Sequence[Mapping[str, Any]]) -> Answer: ...


class EmbeddedEmbeddings:
    """Implements EmbeddingProvider with MiniLM."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        self._short = ThreadPoolExecutor(1, thread_name_prefix="embed-short")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="embed-long")
        self._waiting_texts = 0

    def close(self) -> None:
        """Ends the threads after what they are doing."""
        self._short.shutdown(wait=True, cancel_futures=True)
        self._long.shutdown(wait=True, cancel_futures=True)

    async def embed(self, caller: Caller, request: EmbeddingRequest, left_s: float | None = None) -> Embeddings:
        """Vectors of 384 numbers, each of length 1."""
        if request.dimensions not in (None, self._model.dimensions):
            raise InvalidParameter(
                "dimensions", f"This model has {self._model.dimensions} dimensions: leave dimensions out."
            )
        texts = request.inputs
        if self._waiting_texts and self._waiting_texts + len(texts) > _MAX_WAITING_TEXTS:
            raise Unavailable("Too many texts wait for the embedding model: try again shortly.", retry_after_s=5.0)
        short = len(texts) <= _SHORT_TEXTS and sum(map(len, texts)) <= _SHORT_CHARACTERS
        threads = self._short if short else self._long
        loop = asyncio.get_running_loop()
        rows: list[bytes] = []
        tokens = 0
        self._waiting_texts += len(texts)
        try:
            for start in range(0, len(texts), PIECE_TEXTS):
                piece = texts[start : start + PIECE_TEXTS]
                found, count = await loop.run_in_executor(threads, self._embedded, piece, request.encoding)
                rows += found
                tokens += count
        finally:
            self._waiting_texts -= len(texts)
        return Embeddings(rows, tokens)

    def _embedded(self, texts: Sequence[str], encoding: Encoding) -> tuple[list[bytes], int]:
        embedded = self._model.embed(texts)
        # Here in the thread and piece by piece: 2048 vectors as text would hold the GIL for half a second at once.
        return [encoded(vector, encoding) for vector in embedded.vectors], sum(embedded.tokens)


def encoded(vector: NDArray[np.float32], encoding: Encoding) -> bytes:
    """`float32[d]` as a JSON value: numbers, or base64 of its little-endian bytes in quotes."""
    if encoding == "base64":
        return b'"%b"' % base64.b64encode(vector.astype("<f4", copy=False).tobytes())
    return json.dumps(vector.tolist(), separators=(",", ":")).encode()


class EmbeddedAnswers:
    """Implements ChatProvider with the extractive answerer."""

    wire: WireName = "openai"
    model_id = EXTRACTIVE

    def __init__(self, answerer: Answerer, clock: Clock) -> None:
        self._answerer = answerer
        self._clock = clock
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="extractive")
        self._waiting = 0

    def close(self) -> None:
        """Ends the threads after what they are doing."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def complete(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> dict[str, Any]:
        """An answer of quotes."""
        answer = await self._answer(body.fields)
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(answer)}

    async def stream(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The same answer, word by word."""
        answer = await self._answer(body.fields)
        head = self._head("chat.completion.chunk")
        yield [_chunk(head, {"role": "assistant", "content": ""})]
        for piece in answer.pieces:
            yield [_chunk(head, {"content": piece})]
        yield [_chunk(head, {}, answer.finish_reason), {**head, "choices": [], "usage": _usage(answer)}]

    def redacted(self, text: str) -> str:
        """There is no secret."""
        return text

    async def count_tokens(self, caller: Caller, body: WrittenBody, headers: Headers) -> int | None:
        """None: its prompt is counted once it is answered."""
        return None

    async def _answer(self, body: Mapping[str, Any]) -> Answer:
        for param, (allowed, sentence) in _REFUSED.items():
            if not allowed(body.get(param)):
                raise InvalidParameter(param, f"The model {self.model_id!r} {sentence}.")
        if self._waiting >= _MAX_WAITING_ANSWERS:
            raise Unavailable("Too many questions wait for this model: try again shortly.", retry_after_s=2.0)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._answerer.answer, body["messages"])
        finally:
            self._waiting -= 1

    def _head(self, kind: str) -> dict[str, Any]:
        created = int(self._clock.now().timestamp())
        return {"id": new_id("chatcmpl").replace("_", "-"), "object": kind, "created": created, "model": ""}


def _usage(answer: Answer) -> dict[str, int]:
    return {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}


def _chunk(head: Mapping[str, Any], delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {**head, "choices": [{"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": finish_reason}]}
