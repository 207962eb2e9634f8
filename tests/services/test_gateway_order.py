"""The order of a request's path, and its limits to the request, on a clock that stands still.

A request that is wrong at one stage and at all that follow is refused by that stage, and has taken nothing of another.
"""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from slipway.app.assembly import assemble
from slipway.app.probes import Readiness
from slipway.base.callers import Caller, Scope
from slipway.manifest.schema import Manifest
from slipway.runtime.database import Database
from slipway.runtime.postgres import EmbeddedAddresses
from slipway.services.gateway.wiring import wire
from tests.services.gateway_serving import (
    DEADLINES,
    POLICY,
    TokenAuthenticator,
    credential,
    foundation,
    manifest,
    put_on_plan,
    secret,
    served_app,
)
from tests.services.provider_simulator import Simulator
from tests.unit.runtime.authentication.conftest import StillClock

pytestmark = pytest.mark.anyio
CHAT = {"model": "plain", "messages": [{"role": "user", "content": "How many days?"}]}
NO_CHAT = b"no JSON at all"
PLANS = {
    "five": {"requests_per_second": 5, "burst": 7},
    "one": {"requests_per_second": 1, "tokens_per_month": 100, "max_output_tokens": 10},
}


class Witness(Simulator):
    """A provider that calls back when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.on_call: Callable[[], None] = lambda: None

    async def serve(self, path: str, model: str, request: dict[str, Any], answer: Any) -> None:
        self.on_call()
        await super().serve(path, model, request, answer)


@dataclasses.dataclass
class Stand:
    """A gateway in this process, over its ASGI application: its usage rows stay in the journal until it stops."""

    app: ASGIApp
    clock: StillClock
    provider: Witness
    journal: Path
    on_send: Callable[[Message], None] = lambda message: None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            self.on_send(message)
            await send(message)

        await self.app(scope, receive, noted)

    def client(self, caller: Caller, *scopes: Scope) -> httpx.AsyncClient:
        """A client of `caller`."""
        headers = {"authorization": f"Bearer {credential(caller, *scopes)}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self), base_url="http://gateway", headers=headers)

    def written(self) -> bytes:
        """Everything that stands in the journal."""
        return b"".join(path.read_bytes() for path in sorted(self.journal.rglob("*")) if path.is_file())


@pytest.fixture
async def stand(database: Database, postgres: EmbeddedAddresses, tmp_path: Path) -> AsyncIterator[Stand]:
    provider, clock = Witness(), StillClock()
    with served_app(provider) as upstream:
        plain = manifest(upstream)
        models = Manifest.model_validate({**plain.model_dump(exclude={"plans"}, exclude_unset=True), "plans": PLANS})
        made = dataclasses.replace(foundation(tmp_path, postgres, database, models), clock=clock)
        part = wire(made, secret=secret, deadlines=DEADLINES, policy=POLICY)
        readiness = Readiness([part], {})
        readiness.started = True
        stand = Stand(assemble([part], TokenAuthenticator(), readiness), clock, provider, tmp_path / "journal")
        try:
            yield stand
        finally:
            for work in reversed(part.stop):
                await work()


async def statuses(client: httpx.AsyncClient, count: int) -> list[int]:
    """What so many requests are answered; their bodies are wrong, so that each is 400 as soon as its rate is right."""
    return [(await client.post("/v1/chat/completions", content=NO_CHAT)).status_code for _ in range(count)]


@pytest.mark.requirement("API-03", "R")
async def test_a_thousand_requests_a_second_pass_from_all_callers_with_a_burst_of_two_thousand(
    stand: Stand, new_caller
) -> None:
    async with stand.client(new_caller(Scope.MODELS_USE)) as one, stand.client(new_caller(Scope.MODELS_USE)) as other:
        assert {*await statuses(one, 1_200), *await statuses(other, 800)} == {400}
        refused = await other.post("/v1/chat/completions", content=NO_CHAT)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert "1000 requests per second of all callers" in error["message"]
        assert refused.headers["retry-after"] == "1"
        assert await statuses(one, 1) == [429]
        stand.clock.forward(0.25)
        assert await statuses(one, 251) == [400] * 250 + [429]
        stand.clock.forward(1)
        assert [*await statuses(other, 500), *await statuses(one, 501)] == [400] * 1_000 + [429]


@pytest.mark.requirement("API-03", "R")
async def test_each_client_is_held_to_its_own_plan(stand: Stand, postgres: EmbeddedAddresses, new_caller) -> None:
    planned, same, free = new_caller(), new_caller(), new_caller()
    for caller in (planned, same):
        put_on_plan(postgres, caller, "five")
    async with stand.client(planned) as mine, stand.client(same) as theirs, stand.client(free) as unlimited:
        answer = await mine.post("/v1/chat/completions", content=NO_CHAT)
        assert (answer.headers["x-ratelimit-limit-requests"], answer.headers["x-ratelimit-remaining-requests"]) == (
            "7",
            "6",
        )
        assert await statuses(mine, 7) == [400] * 6 + [429]
        assert await statuses(theirs, 8) == [400] * 7 + [429]
        assert await statuses(unlimited, 20) == [400] * 20
        stand.clock.forward(0.4)
        assert await statuses(mine, 3) == [400, 400, 429]
        refused = await mine.post("/v1/messages", content=NO_CHAT)
        assert refused.status_code == 429, "one limit for every wire"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert "5 requests per second of your tenant" in refused.json()["error"]["message"]


@pytest.mark.requirement("API-04", "R")
async def test_each_stage_refuses_before_the_next_is_asked(
    stand: Stand, postgres: EmbeddedAddresses, new_caller
) -> None:
    caller = new_caller(Scope.MODELS_USE, Scope.USAGE_READ)
    put_on_plan(postgres, caller, "one")
    async with stand.client(caller) as client, stand.client(caller, Scope.USAGE_READ) as narrow:

        async def asked(by: httpx.AsyncClient, status: int, **request: Any) -> dict[str, Any]:
            answer = await by.post("/v1/chat/completions", **request)
            assert answer.status_code == status, answer.text
            if status == 429:  # who is refused is told what is left as well
                assert (answer.headers["x-ratelimit-limit-requests"], answer.headers["retry-after"]) == ("1", "1")
                assert answer.headers["x-ratelimit-remaining-requests"] == "0"
            error: dict[str, Any] = answer.json()["error"]
            return error

        # the one request of this second, of which a wrong token or scope would have taken
        nobody = {"authorization": "Bearer nonsense"}
        assert (await asked(client, 401, content=NO_CHAT, headers=nobody))["code"] == "invalid_api_key"
        assert (await asked(narrow, 403, content=NO_CHAT))["code"] == "insufficient_permissions"
        broken = {**CHAT, "model": "broken"}
        refused = await asked(client, 402, json=broken)
        assert refused["code"] == "insufficient_quota" and "100 tokens" in refused["message"]
        # token before rate, also when there is none left; then rate before everything behind it
        assert (await asked(client, 401, content=NO_CHAT, headers=nobody))["code"] == "invalid_api_key"
        assert (await asked(narrow, 403, content=NO_CHAT))["code"] == "insufficient_permissions"
        for request in ({"content": NO_CHAT}, {"json": broken}, {"json": {**CHAT, "model": "no-such-model"}}):
            assert (await asked(client, 429, **request))["code"] == "rate_limit_exceeded"
        assert stand.provider.seen.requests == []
        assert b'"bound_tokens"' not in stand.written(), "nothing was accepted, so nothing was opened"


@pytest.mark.requirement("API-04", "R")
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_request_is_written_down_before_the_model_is_asked_and_again_before_its_answer_is_complete(
    stand: Stand, new_caller, stream: bool
) -> None:
    caller = new_caller(Scope.MODELS_USE, Scope.USAGE_READ)
    order: list[str] = []

    def state() -> str:
        written = stand.written()
        if caller.subject.encode() not in written:
            return "nothing"
        return "closed" if b'"status":"ok"' in written else "opened"

    def sent(message: Message) -> None:
        if message["type"] == "http.response.body" and (not stream or b"[DONE]" in message.get("body", b"")):
            order.append(f"answer: {state()}")
        elif message["type"] == "http.response.start" and not stream:
            order.append(f"head: {state()}")

    stand.provider.on_call = lambda: order.append(f"model: {state()}")
    stand.on_send = sent
    order.append(f"before: {state()}")
    async with stand.client(caller) as client:
        answer = await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    assert answer.status_code == 200, answer.text
    head = [] if stream else ["head: closed"]
    assert order == ["before: nothing", "model: opened", *head, "answer: closed"]
