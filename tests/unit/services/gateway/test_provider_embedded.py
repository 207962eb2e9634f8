"""The embedded models beside the event loop: questions do not wait for documents, and too much is refused."""

import asyncio
import threading
import time

import numpy as np
import pytest

from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest, Unavailable
from slipway.services.gateway.adapter_embedded import PIECE_TEXTS, EmbeddedEmbeddings, encoded
from slipway.services.gateway.minilm import Embedded
from slipway.services.gateway.models import EmbeddingRequest

pytestmark = pytest.mark.anyio
CALLER = Caller(tenant_id="ten_a", subject="usr_a", scopes=frozenset())


class Slow:
    """A model that takes 2 ms a text; the real one would only make the test slower."""

    dimensions = 384

    def __init__(self) -> None:
        self.pieces: list[int] = []
        self.threads: set[str] = set()

    def embed(self, texts):
        self.pieces.append(len(texts))
        self.threads.add(threading.current_thread().name)
        time.sleep(0.002 * len(texts))
        vectors = np.zeros((len(texts), 384), np.float32)
        vectors[:, 0] = [float(text) for text in texts]
        return Embedded(vectors, (1,) * len(texts))


@pytest.fixture
def model():
    return Slow()


@pytest.fixture
def provider(model):
    provider = EmbeddedEmbeddings(model)
    yield provider
    provider.close()


def request(count: int, **options) -> EmbeddingRequest:
    return EmbeddingRequest("m", tuple(str(index) for index in range(count)), **options)


async def test_a_question_and_another_document_do_not_wait_behind_a_document(provider, model):
    document = asyncio.create_task(provider.embed(CALLER, request(1000)))
    await asyncio.sleep(0.1)
    started_s = time.monotonic()
    question = await provider.embed(CALLER, request(1))
    question_s = time.monotonic() - started_s
    other = await provider.embed(CALLER, request(64))
    assert not document.done()
    assert question_s < 0.1 and len(question.rows) == 1 and len(other.rows) == 64
    document.cancel()
    with pytest.raises(asyncio.CancelledError):
        await document
    assert sum(model.pieces) < 800, "a document that nobody waits for was embedded to its end"


async def test_vectors_keep_the_order_of_the_texts_and_pieces_are_small(provider, model):
    answer = await provider.embed(CALLER, request(100))
    assert [row[: row.index(b",")] for row in answer.rows] == [f"[{index}.0".encode() for index in range(100)]
    assert max(model.pieces) <= PIECE_TEXTS and answer.prompt_tokens == 100
    assert len(model.threads) == 1


async def test_the_largest_request_never_holds_the_event_loop(provider, model):
    longest_s, running = 0.0, True

    async def watch() -> None:
        nonlocal longest_s
        while running:
            before_s = time.monotonic()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.monotonic() - before_s)

    watching = asyncio.create_task(watch())
    await provider.embed(CALLER, request(2048))
    running = False
    await watching
    assert longest_s < 0.35  # room for a busy machine; the numbers of all 2048 at once held it for 0.5 s


async def test_more_than_can_wait_is_refused(provider):
    waiting = [asyncio.create_task(provider.embed(CALLER, request(2048))) for _ in range(8)]
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable):
        await provider.embed(CALLER, request(1))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len((await provider.embed(CALLER, request(1))).rows) == 1


async def test_other_dimensions_are_refused(provider):
    assert (await provider.embed(CALLER, request(1, dimensions=384))).rows
    with pytest.raises(InvalidRequest, match="384"):
        await provider.embed(CALLER, request(1, dimensions=256))


async def test_base64_is_little_endian_float32():
    assert encoded(np.array([1.0], np.float32), "base64") == b'"AACAPw=="'
    assert encoded(np.array([1.0], ">f4"), "base64") == b'"AACAPw=="'
    assert encoded(np.array([1.0, -0.5], np.float32), "float") == b"[1.0,-0.5]"
