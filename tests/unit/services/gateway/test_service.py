"""One request from its limits to its row, every await of which is a gate: callers leave there, and stores fail.

The tests close one gate after the other, so that a new await is tried too.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from slipway.base.callers import Caller
from slipway.base.clock import SystemClock
from slipway.base.errors import LimitExceeded, SlipwayError, StorageFull, Unavailable, UpstreamFailed
from slipway.runtime.limits import Limit, LocalLimiter, Verdict
from slipway.services.gateway.account import Books
from slipway.services.gateway.admission import Admission, Terms
from slipway.services.gateway.attempts import Policy
from slipway.services.gateway.bounds import ModelFacts
from slipway.services.gateway.directory import Directory, ServedModel
from slipway.services.gateway.escrow import Escrow
from slipway.services.gateway.health import Health
from slipway.services.gateway.lease_models import Account as Budget
from slipway.services.gateway.lease_models import Ask, State
from slipway.services.gateway.models import ChatRequest, Opening, Price, UsageRow
from slipway.services.gateway.service import Gateway

pytestmark = pytest.mark.anyio
CALLER = Caller("ten_x", "usr_x", frozenset())
RESETS = datetime(2999, 12, 1, tzinfo=UTC)
MONEY = Budget("tenant:ten_x:usd_micros:2999-11", "ten_x", "usd_micros", 10**9, RESETS)
TOKENS = Budget("tenant:ten_x:tokens:2999-11", "ten_x", "tokens", 10**9, RESETS)
BILL = 15  # of one call, in tokens and micro-dollars


class Gates:
    """Counts awaits; at the one that is to be closed something happens instead of going on."""

    def __init__(self, closed: int, happens: Callable[[], None]) -> None:
        self._left = closed
        self._happens = happens
        self.names: list[str] = []

    @property
    def all_passed(self) -> bool:
        return self._left > 0

    async def __call__(self, name: str) -> None:
        self.names.append(name)
        self._left -= 1
        if self._left == 0:
            self._happens()
        await asyncio.sleep(0)


class Leases:
    """Grants what is needed and nothing ahead, so that every hold asks."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    async def lease_sync(self, ask: Ask) -> State:
        await self._gates("hold")
        state = State(granted=max(ask.spent, ask.keep, ask.need), available=0)
        await self._gates("granted")
        return state


class Log:
    must_sync = True

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self.open_ids: set[str] = set()
        self.rows: list[UsageRow] = []

    def open(self, opening: Opening) -> None:
        self.open_ids.add(opening.request_id)

    async def synced(self) -> None:
        await self._gates("synced")

    def withdraw(self, request_id: str) -> None:
        self.open_ids.remove(request_id)

    def leasing(self, account: str) -> None:
        pass

    def close(self, row: UsageRow) -> None:
        self.open_ids.remove(row.request_id)
        self.rows.append(row)


class Provider:
    """Breaks off twice after it has charged, then answers."""

    wire = "openai"
    model_id = "m"

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self.calls = 0
        self.billed = 0

    async def complete(self, caller, body, headers, left_s=None) -> dict[str, Any]:
        await self._sent()
        message = {"role": "assistant", "content": "Hello"}
        return {"id": "c1", "choices": [{"message": message}], "usage": self._usage()}

    async def stream(self, caller, body, headers, left_s=None):
        await self._sent()
        yield [{"id": "c1", "choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}]
        await self._gates("usage")
        yield [{"choices": [], "usage": self._usage()}]

    def redacted(self, text: str) -> str:
        return text

    def _usage(self) -> dict[str, int]:
        return {"prompt_tokens": 5, "completion_tokens": BILL - 5}

    async def _sent(self) -> None:
        await self._gates("connect")
        self.calls += 1
        self.billed += BILL
        await self._gates("answer")
        if self.calls < 3:
            raise UpstreamFailed("cut", effect_unknown=True)


class Limits(LocalLimiter):
    def __init__(self, gates: Gates) -> None:
        super().__init__(SystemClock())
        self._gates = gates
        self.back: list[int] = []

    async def acquire(self, limits) -> Verdict:
        await self._gates("limits")
        return await super().acquire(limits)

    async def give_back(self, limits) -> None:
        self.back += [limit.cost for limit in limits]


class Stand:
    """One gateway with two models behind gates."""

    def __init__(self, gates: Gates, rate_per_s: int = 1000) -> None:
        self.log, self.provider, self.limits = Log(gates), Provider(gates), Limits(gates)
        self.escrow = Escrow(Leases(gates), SystemClock(), "run_1", wait_s=1.0)  # type: ignore[arg-type]
        models = {
            name: ServedModel(
                name,
                "openai",
                Health(SystemClock(), name, 99),
                chat=self.provider,  # type: ignore[arg-type]
                price=Price(1_000_000, 1_000_000),
                facts=ModelFacts(1000, 10),
                fallback=("b",) if name == "a" else (),
                limit=Limit(f"model:{name}:requests", rate_per_s, rate_per_s, 1, f"requests of {name}"),
            )
            for name in ("a", "b")
        }
        admission = Admission(self.limits, None, None, SystemClock())  # type: ignore[arg-type]
        books = Books(self.escrow, self.log, SystemClock())
        directory = Directory(models, default_chat="a", default_embeddings="a")
        self.gateway = Gateway(directory, books, admission, Policy(attempts=2, backoff_s=0.0))
        minute = Limit("tenant:ten_x:tokens", 1000.0, 10_000, 0)
        self.terms = Terms(None, RESETS, (), 0, (minute,), (MONEY, TOKENS), None, True)  # type: ignore[arg-type]

    async def ask(self, *, stream: bool) -> None:
        body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
        request = ChatRequest("openai", "a", body, 100, stream=stream)
        if not stream:
            await self.gateway.complete(CALLER, self.terms, "req_1", request)
            return
        async with aclosing(self.gateway.stream(CALLER, self.terms, "req_1", request)) as pieces:
            async for _ in pieces:
                pass

    def spent(self) -> dict[str, int]:
        return {key: amount for key, (_, amount) in self.escrow.totals().items()}

    def check(self, where: str) -> None:
        assert not self.log.open_ids, where
        assert all(lease.held == 0 for lease in self.escrow._leases.values()), where
        booked = sum(row.cost_usd_micros for row in self.log.rows)
        assert booked >= self.provider.billed, where
        assert self.spent().get(MONEY.key, 0) == booked, where
        assert self.spent().get(TOKENS.key, 0) == sum(row.charged_tokens for row in self.log.rows), where
        assert len(self.log.rows) <= 1 and (self.log.rows or not self.provider.billed), where
        assert len(self.limits.back) <= 1, f"{where}: limits by the minute are settled once"


def _leave(asking: list[asyncio.Task[None]]) -> None:
    asking[0].cancel()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_leaves_at_any_await_is_booked_for_what_was_billed(stream):
    passed: list[str] = []
    for closed in range(1, 200):
        asking: list[asyncio.Task[None]] = []
        gates = Gates(closed, partial(_leave, asking))
        stand = Stand(gates)
        asking.append(asyncio.create_task(stand.ask(stream=stream)))
        async with asyncio.timeout(5):
            (ended,) = await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.sleep(0)
        stand.check(f"left at await {closed}, {gates.names[-1]}")
        if gates.all_passed:
            assert ended is None and stand.provider.calls == 3 and len(stand.log.rows) == 1
            passed = gates.names
            break
        assert isinstance(ended, asyncio.CancelledError) or gates.names[-1] == "granted"
    assert passed.count("connect") == 3 and passed.count("synced") == 3 and passed.count("hold") == 6
    assert passed.count("limits") == 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [Unavailable("away"), StorageFull("full")])
async def test_a_store_that_fails_at_any_await_leaves_what_was_billed_booked(stream, error):
    for closed in range(1, 200):

        def fails() -> None:
            raise error

        gates = Gates(closed, fails)
        stand = Stand(gates)
        async with asyncio.timeout(5):
            (ended,) = await asyncio.gather(stand.ask(stream=stream), return_exceptions=True)
        await asyncio.sleep(0)
        if gates.all_passed:
            break
        if gates.names[-1] != "limits":  # which fail open: they never raise
            stand.check(f"failed at await {closed}, {gates.names[-1]}")
            assert ended is None or isinstance(ended, SlipwayError)
    assert closed > 20


@pytest.mark.parametrize("after", range(1, 4))
async def test_who_leaves_with_a_piece_of_a_stream_in_hand_is_settled_once(after):
    stand = Stand(Gates(10**6, lambda: None))
    body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
    request = ChatRequest("openai", "a", body, 100, stream=True, include_usage=True)
    pieces = stand.gateway.stream(CALLER, stand.terms, "req_1", request)
    for _ in range(after):
        if await anext(pieces, None) is None:
            break
    await pieces.aclose()
    await asyncio.sleep(0)
    stand.check(f"left after {after} pieces")


async def test_a_first_model_without_room_gives_way_and_no_model_is_asked_beyond_its_own_limit():
    stand = Stand(Gates(10**6, lambda: None), rate_per_s=1)
    stand.provider.calls = 2  # from now on it answers
    await stand.ask(stream=False)
    await stand.ask(stream=True)
    assert [row.model for row in stand.log.rows] == ["a", "b"]
    with pytest.raises(LimitExceeded, match="requests of b"):
        await stand.ask(stream=False)
    assert len(stand.log.rows) == 2 and stand.provider.calls == 4, "what is refused has no row"


async def test_a_fallback_is_not_asked_beyond_its_own_limit():
    stand = Stand(Gates(10**6, lambda: None), rate_per_s=1)
    await stand.limits.acquire([Limit("model:b:requests", 1, 1)])
    with pytest.raises(UpstreamFailed, match="cut"):
        await stand.ask(stream=False)
    assert stand.provider.calls == 1, "neither the retry nor the fallback has room"
    (row,) = stand.log.rows
    assert (row.model, row.cost_basis) == ("a", "bound")
