"""What documents ask the gateway for together: one request, each its own vectors, and each its own failure."""

import asyncio
from collections.abc import Sequence

import pytest

from slipway.base.callers import Caller, Scope
from slipway.base.errors import InvalidRequest, Unavailable
from slipway.services.retrieval.adapter_embeddings import SharedEmbeddings

pytestmark = pytest.mark.anyio

CALLER = Caller("ten_1", "usr_1", frozenset({Scope.MODELS_USE}))
OTHER = Caller("ten_2", "usr_1", frozenset({Scope.MODELS_USE}))


class Gateway:
    """Answers each text with its own bytes, when `open`; refuses requests with a `bad` text."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, list[str]]] = []
        self.open = asyncio.Event()
        self.away = False

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:
        self.requests.append((caller.tenant_id, list(texts)))
        await self.open.wait()
        if self.away:
            raise Unavailable("away")
        if "bad" in texts:
            raise InvalidRequest("no")
        return [text.encode() for text in texts]


async def asked(shared: SharedEmbeddings, *questions: tuple[Caller, list[str]]) -> list[asyncio.Task[list[bytes]]]:
    tasks = []
    for caller, texts in questions:
        tasks.append(asyncio.create_task(shared.embed(caller, texts)))
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    return tasks


async def test_those_who_wait_go_together_and_tenants_apart() -> None:
    gateway = Gateway()
    shared = SharedEmbeddings(gateway)
    questions = [(CALLER, ["a"]), (CALLER, ["b"]), (CALLER, ["c", "d"]), (OTHER, ["e"]), (CALLER, ["f"] * 60)]
    tasks = await asked(shared, *questions, (CALLER, ["g"] * 3))
    assert gateway.requests == [("ten_1", ["a"]), ("ten_1", ["b"])]
    gateway.open.set()
    answers = await asyncio.gather(*tasks)
    assert answers == [[text.encode() for text in texts] for _, texts in [*questions, (CALLER, ["g"] * 3)]]
    sent = gateway.requests[2:]
    assert ("ten_1", ["c", "d", *["f"] * 60]) in sent
    assert ("ten_2", ["e"]) in sent
    assert ("ten_1", ["g"] * 3) in sent


async def test_a_refused_text_fails_alone_and_an_absence_is_everyones() -> None:
    gateway = Gateway()
    shared = SharedEmbeddings(gateway)
    tasks = await asked(shared, *[(CALLER, [text]) for text in ("a", "b", "c", "bad", "d")])
    gateway.open.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, InvalidRequest) for answer in answers] == [False, False, False, True, False]
    assert answers[4] == [b"d"]
    gateway.away = True
    gateway.open.clear()
    tasks = await asked(shared, *[(CALLER, [text]) for text in "abcd"])
    gateway.open.set()
    assert all(isinstance(answer, Unavailable) for answer in await asyncio.gather(*tasks, return_exceptions=True))


async def test_whoever_leaves_disturbs_nobody() -> None:
    gateway = Gateway()
    shared = SharedEmbeddings(gateway)
    first, second, third, waits = await asked(shared, *[(CALLER, [text]) for text in "abcd"])
    first.cancel()
    third.cancel()
    gateway.open.set()
    assert await waits == [b"d"]
    assert await second == [b"b"]
    assert ["c"] not in [texts for _, texts in gateway.requests]
    assert first.cancelled() and third.cancelled()


async def test_closing_ends_what_is_under_way() -> None:
    shared = SharedEmbeddings(Gateway())
    [task] = await asked(shared, (CALLER, ["a"]))
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await task
