"""What the simulated providers share: what they saw, what they billed, their texts, and one response's writing.

A wire of its own (`provider_simulator`, `simulator_anthropic`, `simulator_bedrock`) says how a request is read and an
answer written. The model's id chooses the behaviour, under the same names on every wire.
"""

import asyncio
import base64
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.services.provider_bill import Bill, Billing, Line, Rates

KEY = "sk-upstream-0123456789"
WORDS = ("Fourteen", " days", ",", " says", " the", " handbook", ".")
BREAKS_AFTER = 2  # index of the last word before `midway`, `cut` and the like break
CALLS = (("call_a", "weather", '{"city":"Bern"}'), ("call_b", "weather", '{"city":"Oslo"}'))
REPORT = "It is sunny in Bern."
THOUGHT = ("The handbook", " has it.")
SIGNATURE = "c2lnbmVkIGJ5IHRoZSBtb2RlbA=="


@dataclass
class Seen:
    """What reached the provider."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    by_model: Counter[str] = field(default_factory=Counter)
    clients: set[tuple[str, int]] = field(default_factory=set)
    hung_up: Counter[str] = field(default_factory=Counter)
    hung_up_at_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What decides about an answer, read from a request of any wire."""

    model: str
    stream: bool
    question: str
    characters: int
    limit: int | None
    has_tools: bool
    answers_tool: bool
    images: tuple[str, ...] = ()

    @property
    def calls(self) -> tuple[tuple[str, str, str], ...]:
        """The tool calls that answer it: of the model `tools` two when it is asked for two, and none to a result."""
        if not self.has_tools or (self.model == "tools" and self.answers_tool):
            return ()
        return CALLS if self.model != "tools" or "two" in self.question else CALLS[:1]

    @property
    def reason(self) -> str:
        """Why it ends, as Anthropic and Bedrock name it."""
        if self.calls:
            return "tool_use"
        return {"limited": "max_tokens", "stopped": "stop_sequence"}.get(self.model, "end_turn")

    @property
    def words(self) -> tuple[str, ...]:
        """The text that answers it, in pieces."""
        if self.model == "images":
            return self.images or ("no image",)
        return (REPORT,) if self.model == "tools" and self.answers_tool else WORDS


def image_seen(media_type: str, data: str | bytes) -> str:
    """What the model `images` says of a picture: its type, its size and the beginning of its digest."""
    content = base64.b64decode(data, validate=True) if isinstance(data, str) else data
    return f"{media_type} {len(content)} bytes {hashlib.sha256(content).hexdigest()[:12]}"


class SimulatedProvider:
    """The ASGI application; `seen` is what it got, `bill` what it charged."""

    def __init__(self, billing: Billing | None = None) -> None:
        self.seen = Seen()
        self.bill = Bill()
        self.billing = billing or Billing()
        self.recovers_after = 2
        self._numbers = itertools.count(1)

    async def __call__(self, scope, receive, send) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = json.loads(body)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        answer = Answer(send, f"req_upstream_{next(self._numbers)}", self.request_id_header)
        model = self.model(scope, request)
        self.seen.requests.append(request)
        self.seen.headers.append(headers)
        self.seen.paths.append(scope["raw_path"].decode())
        self.seen.clients.add(tuple(scope["client"]))
        self.seen.by_model[model] += 1
        work = asyncio.ensure_future(self._answer(scope, headers, body, request, answer))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.seen.hung_up[model] += 1
            self.seen.hung_up_at_s[model] = asyncio.get_running_loop().time()
            work.cancel()
        gone.cancel()
        results = await asyncio.gather(work, gone, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    request_id_header = b"x-request-id"

    def model(self, scope: Mapping[str, Any], request: dict[str, Any]) -> str:
        """The model's id."""
        raise NotImplementedError

    async def refuses(self, scope, headers: dict[str, str], body: bytes, answer: "Answer") -> bool:
        """Whether the credential is not this provider's; the refusal is then written."""
        raise NotImplementedError

    async def serve(self, path: str, model: str, request: dict[str, Any], answer: "Answer") -> None:
        """Writes the answer to an admitted request."""
        raise NotImplementedError

    async def _answer(self, scope, headers, body: bytes, request: dict[str, Any], answer: "Answer") -> None:
        if not await self.refuses(scope, headers, body, answer):
            await self.serve(scope["path"], self.model(scope, request), request, answer)

    def book(self, asked: Asked, answer: "Answer") -> Line:
        """Puts the request on the bill, as the answer reports it."""
        counted = self.billing.count(asked.characters, asked.limit)
        rates = self.billing.rates.get(asked.model, Rates())
        line = Line(answer.request_id, asked.model, counted, rates.usd_micros(counted))
        self.bill.lines.append(line)
        return line

    def recovers(self, model: str) -> bool:
        """Whether the model `recovers` has not yet done so."""
        return model == "recovers" and self.seen.by_model[model] <= self.recovers_after


class Answer:
    """Writes one response."""

    def __init__(self, send, request_id: str = "req_upstream", request_id_header: bytes = b"x-request-id") -> None:
        self._send = send
        self.request_id = request_id
        self._id = (request_id_header, request_id.encode())
        self._held: list[bytes] | None = None

    async def whole(self, status: int, content: bytes, headers=()) -> None:
        length = (b"content-length", str(len(content)).encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [length, self._id, *headers]})
        await self._send({"type": "http.response.body", "body": content})

    async def json(self, body: Any, status: int = 200, headers=()) -> None:
        await self.whole(status, json.dumps(body).encode(), [(b"content-type", b"application/json"), *headers])

    async def begin(self, content_type: bytes = b"text/event-stream") -> None:
        headers = [(b"content-type", content_type), self._id]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    def hold(self) -> None:
        """From now on all pieces leave together with the last one."""
        self._held = []

    async def piece(self, content: bytes, more: bool = True) -> None:
        if self._held is not None:
            self._held.append(content)
            if more:
                return
            content = b"".join(self._held)
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


async def fails(model: str) -> bool:
    """Whether a stream that breaks does so with an error: `midway` a moment later, `together` at once."""
    if model == "midway":
        await asyncio.sleep(0.03)  # so that it is read by itself
    return model in ("midway", "together")


def breaks(model: str, index: int) -> bool:
    """Whether a model's stream breaks after its word number `index`."""
    return index == BREAKS_AFTER and model in ("midway", "together", "cut", "severed")


async def pace(model: str, index: int) -> None:
    """How long a model takes before its word number `index`."""
    if model == "slow":
        await asyncio.sleep(0.1)
    if model == "stalls" and index == BREAKS_AFTER + 1:
        await asyncio.sleep(30)


Failures = Mapping[str, Callable[[], Awaitable[None]]]
