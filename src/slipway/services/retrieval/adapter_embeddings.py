"""Vectors from the gateway, over its public API, on somebody's behalf: for queries and for documents."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slipway.api.client import Client
from slipway.base.callers import Caller, Scope
from slipway.base.errors import SlipwayError, UpstreamFailed
from slipway.runtime.authentication.internal import InternalTokens
from slipway.services.retrieval.ports import Embedder

_MOST_TEXTS: Final = 64  # of one request, as long documents send them
_AT_ONCE: Final = 2  # one is computed while the next is sent


class Embeddings:
    """Embeds texts with one model of the gateway, charged to the caller's tenant."""

    def __init__(self, gateway: Client, tokens: InternalTokens, model: str) -> None:
        self._gateway = gateway
        self._tokens = tokens
        self._model = model

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:
        """One vector a text, each as little-endian float32 in bytes; retryable errors while the gateway is away."""
        if not texts:
            return []

        def credential() -> str:
            return self._tokens.mint(caller, {Scope.MODELS_USE}, actor="retrieval")

        vectors = await self._gateway.acting(credential).embeddings(texts, self._model)
        if len(vectors) != len(texts):
            raise UpstreamFailed(
                "The embedding model gave an answer that does not fit the question.",
                detail=f"{len(vectors)} vectors for {len(texts)} texts",
            )
        return vectors


@dataclass(eq=False)
class _Asked:
    """The texts of one document that wait to be sent."""

    caller: Caller
    texts: Sequence[str]
    answer: "asyncio.Future[list[bytes]]"


class SharedEmbeddings:
    """Sends what documents of one caller ask for at the same time in one request.

    Most documents are short: a request for each costs more than its way to the model should, and one text at a time
    keeps one core busy. Whoever gets a turn takes along what the others wait for.
    """

    def __init__(self, embeddings: Embedder) -> None:
        self._embeddings = embeddings
        self._waiting: list[_Asked] = []
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:
        """See Embedder. Cancelling it does not disturb the others whose texts went along."""
        asked = _Asked(caller, texts, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        try:
            async with self._turns:
                if asked in self._waiting:
                    task = asyncio.create_task(self._serve(self._taken(asked)))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                    await asyncio.shield(task)
            return await asked.answer
        finally:
            if asked in self._waiting:
                self._waiting.remove(asked)

    async def close(self) -> None:
        """Ends requests that nobody waits for any more."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _taken(self, first: _Asked) -> list[_Asked]:
        together, count = [first], len(first.texts)
        for other in self._waiting:
            if other is not first and other.caller == first.caller and count + len(other.texts) <= _MOST_TEXTS:
                together.append(other)
                count += len(other.texts)
        self._waiting = [asked for asked in self._waiting if asked not in together]
        return together

    async def _serve(self, together: list[_Asked]) -> None:
        try:
            vectors = await self._embeddings.embed(together[0].caller, [text for one in together for text in one.texts])
        except SlipwayError as error:
            if error.retryable or len(together) == 1:
                for asked in together:
                    _settle(asked, error)
                return
            # One of them is refused: it must fail alone.
            for asked in together:
                await self._serve([asked])
        except asyncio.CancelledError:
            for asked in together:
                asked.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - a defect is each step's own to report
            for asked in together:
                _settle(asked, error)
        else:
            for asked in together:
                _settle(asked, vectors[: len(asked.texts)])
                vectors = vectors[len(asked.texts) :]


def _settle(asked: _Asked, outcome: list[bytes] | Exception) -> None:
    if asked.answer.done():
        return
    if isinstance(outcome, Exception):
        asked.answer.set_exception(outcome)
        asked.answer.exception()  # nobody may be left to ask for it
    else:
        asked.answer.set_result(outcome)
