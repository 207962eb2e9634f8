"""Each caller's wire with each provider: envelopes as the wire's owner documents them, whoever answers.

Plain, streamed, one tool, parallel tools, refused, broken off within a stream. The clients are plain HTTP, so that no
SDK mends what is wrong; the providers are simulators that refuse what their wire does not have.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from slipway.base.callers import Scope
from tests.services.gateway_serving import Served, credential, served_app, served_gateway, usage_rows
from tests.services.provider_bill import Bill
from tests.services.provider_simulator import KEY, Simulator
from tests.services.simulator_anthropic import AnthropicSimulator
from tests.services.simulator_bedrock import BedrockSimulator

TEXT = "Fourteen days, says the handbook."
CITIES = [("call_a", "weather", {"city": "Bern"}), ("call_b", "weather", {"city": "Oslo"})]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PROVIDERS = ("openai", "anthropic", "bedrock")
WIRES = ("openai", "anthropic")
COST_USD_MICROS = 98  # 11 tokens in at 2.50 and 7 out at 10 dollars a million, rounded up


@pytest.fixture(scope="module")
def providers() -> dict[str, Any]:
    return {"openai": Simulator(), "anthropic": AnthropicSimulator(), "bedrock": BedrockSimulator()}


@pytest.fixture(scope="module")
def served(providers, postgres, tmp_path_factory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("gateway")
    with (
        served_app(providers["openai"]) as openai,
        served_app(providers["anthropic"]) as anthropic,
        served_app(providers["bedrock"]) as bedrock,
        served_gateway(home, postgres, openai, anthropic=anthropic, bedrock=bedrock) as served,
    ):
        yield served


@pytest.fixture
def caller(new_caller):
    return new_caller(Scope.MODELS_USE, Scope.USAGE_READ)


class Wire:
    """What a caller of one wire sends, and what must come back."""

    path = ""

    def __init__(self, url: str, key: str) -> None:
        self.client = httpx.Client(base_url=url, headers=self.headers(key), timeout=20)

    def headers(self, key: str) -> dict[str, str]:
        raise NotImplementedError

    def body(self, question: str, *, tools: bool) -> dict[str, Any]:
        raise NotImplementedError

    def ask(self, model: str, question: str = "How many days?", *, tools: bool = False, **more: Any) -> httpx.Response:
        return self.client.post(self.path, json={"model": model, **self.body(question, tools=tools), **more})

    def whole(self, body: dict[str, Any], model: str) -> tuple[str | None, list[tuple[str, str, Any]], str]:
        """Text, calls and the reason of a whole answer whose envelope is right."""
        raise NotImplementedError

    def streamed(self, text: str, model: str) -> tuple[str | None, list[tuple[str, str, Any]], str]:
        """The same of a stream."""
        raise NotImplementedError

    def broken(self, text: str) -> str:
        """What was said before a stream broke with an error as the wire has it."""
        raise NotImplementedError

    def refused(self, response: httpx.Response, case: str) -> None:
        """Holds an error against the wire."""
        raise NotImplementedError


class OpenAIWire(Wire):
    path = "/v1/chat/completions"
    reasons = {"end": "stop", "tools": "tool_calls", "limit": "length"}
    errors = {
        "broken": (502, "server_error", "upstream_failed"),
        "overloaded": (503, "server_error", "unavailable"),
        "rate-limited": (429, "rate_limit_error", "rate_limit_exceeded"),
        "strict": (400, "invalid_request_error", None),
        "wrong-key": (502, "server_error", "upstream_failed"),
    }

    def headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def body(self, question: str, *, tools: bool) -> dict[str, Any]:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
        function = {"name": "weather", "description": "The weather.", "parameters": SCHEMA}
        return {"messages": messages, **({"tools": [{"type": "function", "function": function}]} if tools else {})}

    def whole(self, body: dict[str, Any], model: str) -> tuple[str | None, list[tuple[str, str, Any]], str]:
        assert {"id", "object", "created", "model", "choices", "usage"} <= set(body)
        assert (body["object"], body["model"]) == ("chat.completion", model)
        assert isinstance(body["id"], str) and body["id"] and isinstance(body["created"], int)
        self._usage(body["usage"])
        [choice] = body["choices"]
        assert {"index", "message", "finish_reason"} <= set(choice) and choice["index"] == 0
        message = choice["message"]
        assert message["role"] == "assistant" and "content" in message
        calls = message.get("tool_calls") or []
        assert all(set(call) == {"id", "type", "function"} and call["type"] == "function" for call in calls)
        return message["content"], [self._call(call) for call in calls], choice["finish_reason"]

    def streamed(self, text: str, model: str) -> tuple[str | None, list[tuple[str, str, Any]], str]:
        chunks = self._chunks(text)
        assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("chat.completion.chunk", model)}
        assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
        assert chunks[-1]["choices"] == []
        self._usage(chunks[-1]["usage"])
        assert all(chunk.get("usage") is None for chunk in chunks[:-1])
        choices = [choice for chunk in chunks[:-1] for choice in chunk["choices"]]
        assert {choice["index"] for choice in choices} == {0}
        assert choices[0]["delta"]["role"] == "assistant"
        assert all(choice["delta"].get("role") in (None, "assistant") for choice in choices)
        assert [choice["finish_reason"] is not None for choice in choices] == [False] * (len(choices) - 1) + [True]
        calls: dict[int, dict[str, Any]] = {}
        for delta in (choice["delta"] for choice in choices):
            for part in delta.get("tool_calls") or ():
                if part["index"] not in calls:
                    assert part["index"] == len(calls) and part["type"] == "function"
                    calls[part["index"]] = {"id": part["id"], "function": {"name": part["function"]["name"]}}
                function = calls[part["index"]]["function"]
                function["arguments"] = function.get("arguments", "") + part["function"].get("arguments", "")
        content = "".join(choice["delta"].get("content") or "" for choice in choices)
        return content or None, [self._call(call) for call in calls.values()], choices[-1]["finish_reason"]

    def broken(self, text: str) -> str:
        *chunks, last = [json.loads(line) for line in self._data(text) if line != "[DONE]"]
        assert set(last) == {"error"} and set(last["error"]) == {"message", "type", "param", "code"}
        assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "upstream_failed")
        assert all(choice["finish_reason"] is None for chunk in chunks for choice in chunk["choices"])
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])

    def refused(self, response: httpx.Response, case: str) -> None:
        status, kind, code = self.errors[case]
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert set(response.json()) == {"error"} and set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"]) == (kind, code) and error["message"]
        assert response.headers["x-request-id"].startswith("req_")

    def _chunks(self, text: str) -> list[dict[str, Any]]:
        lines = self._data(text)
        assert lines[-1] == "[DONE]" and lines.count("[DONE]") == 1
        return [json.loads(line) for line in lines[:-1]]

    @staticmethod
    def _data(text: str) -> list[str]:
        assert text.endswith("\n\n")
        events = text[:-2].split("\n\n")
        assert all(event.startswith("data: ") and "\n" not in event for event in events)
        return [event.removeprefix("data: ") for event in events]

    @staticmethod
    def _call(call: dict[str, Any]) -> tuple[str, str, Any]:
        return call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])

    @staticmethod
    def _usage(usage: dict[str, Any]) -> None:
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (11, 7, 18)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 3


class AnthropicWire(Wire):
    path = "/v1/messages"
    reasons = {"end": "end_turn", "tools": "tool_use", "limit": "max_tokens"}
    errors = {
        "broken": (502, "api_error"),
        "overloaded": (529, "overloaded_error"),
        "rate-limited": (429, "rate_limit_error"),
        "strict": (400, "invalid_request_error"),
        "wrong-key": (502, "api_error"),
    }

    def headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}

    def body(self, question: str, *, tools: bool) -> dict[str, Any]:
        asked: dict[str, Any] = {"max_tokens": 50, "system": "Be brief."}
        asked["messages"] = [{"role": "user", "content": question}]
        if tools:
            asked["tools"] = [{"name": "weather", "description": "The weather.", "input_schema": SCHEMA}]
        return asked

    def whole(self, body: dict[str, Any], model: str) -> tuple[str | None, list[tuple[str, str, Any]], str]:
        assert {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"} <= set(body)
        assert (body["type"], body["role"], body["model"]) == ("message", "assistant", model)
        assert isinstance(body["id"], str) and body["id"]
        self._usage(body["usage"])
        return self._content(body["content"], body["stop_reason"])

    def streamed(self, text: str, model: str) -> tuple[str | None, list[tuple[str, str, Any]], str]:
        events = [event for event in self._events(text) if event["type"] != "ping"]
        start, *blocks, delta, stop = events
        assert [each["type"] for each in (start, delta, stop)] == ["message_start", "message_delta", "message_stop"]
        message = start["message"]
        assert {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"} <= set(message)
        assert (message["type"], message["role"], message["model"]) == ("message", "assistant", model)
        assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], None, None)
        assert {"input_tokens", "output_tokens"} <= set(message["usage"])
        assert {"stop_reason", "stop_sequence"} <= set(delta["delta"])
        self._usage({**message["usage"], **{key: n for key, n in delta["usage"].items() if n is not None}})
        return self._content(self._blocks(blocks), delta["delta"]["stop_reason"])

    def broken(self, text: str) -> str:
        *events, last = [event for event in self._events(text) if event["type"] != "ping"]
        assert set(last) >= {"type", "error"} and set(last["error"]) == {"type", "message"}
        assert (last["type"], last["error"]["type"]) in (("error", "api_error"), ("error", "overloaded_error"))
        assert "message_stop" not in [event["type"] for event in events]
        return "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")

    def refused(self, response: httpx.Response, case: str) -> None:
        status, kind = self.errors[case]
        assert response.status_code == status, response.text
        body = response.json()
        assert set(body) == {"type", "error", "request_id"} and set(body["error"]) == {"type", "message"}
        assert (body["type"], body["error"]["type"]) == ("error", kind) and body["error"]["message"]
        assert response.headers["request-id"] == body["request_id"]

    @staticmethod
    def _events(text: str) -> list[dict[str, Any]]:
        assert text.endswith("\n\n")
        events = []
        for event in text[:-2].split("\n\n"):
            name, data = event.split("\n")
            payload = json.loads(data.removeprefix("data: "))
            assert name == f"event: {payload['type']}"
            events.append(payload)
        return events

    @staticmethod
    def _blocks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        open_index: int | None = None
        for event in events:
            if event["type"] == "content_block_start":
                assert open_index is None and event["index"] == len(blocks)
                open_index = event["index"]
                blocks.append({**event["content_block"], "json": ""})
                assert event["content_block"].get("text", "") == "" and event["content_block"].get("input", {}) == {}
            elif event["type"] == "content_block_delta":
                assert event["index"] == open_index
                delta = event["delta"]
                if delta["type"] == "text_delta":
                    blocks[-1]["text"] += delta["text"]
                else:
                    assert delta["type"] == "input_json_delta"
                    blocks[-1]["json"] += delta["partial_json"]
            else:
                assert event["type"] == "content_block_stop" and event["index"] == open_index
                open_index = None
        assert open_index is None
        for block in blocks:
            if block["type"] == "tool_use":
                block["input"] = json.loads(block["json"] or "{}")
        return blocks

    @staticmethod
    def _content(blocks: list[dict[str, Any]], reason: str) -> tuple[str | None, list[tuple[str, str, Any]], str]:
        assert {block["type"] for block in blocks} <= {"text", "tool_use"}
        calls = [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
        return "".join(block.get("text", "") for block in blocks) or None, calls, reason

    @staticmethod
    def _usage(usage: dict[str, Any]) -> None:
        counted = (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"])
        assert counted == (8, 3, 7)
        assert not usage.get("cache_creation_input_tokens")


@pytest.fixture(params=WIRES)
def wire(request, served, caller) -> Iterator[Wire]:
    made = {"openai": OpenAIWire, "anthropic": AnthropicWire}[request.param](served.url, credential(caller))
    with made.client:
        yield made


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


def named(provider: str, behaviour: str) -> str:
    """The name of a provider's model."""
    return behaviour if provider == "openai" else f"{provider}-{behaviour}"


def streaming(wire: Wire) -> dict[str, Any]:
    """What asks for a stream, with usage."""
    if isinstance(wire, OpenAIWire):
        return {"stream": True, "stream_options": {"include_usage": True}}
    return {"stream": True}


@pytest.mark.requirement("SVC-01", "R")
def test_plain(wire, provider, providers, served, caller):
    model = named(provider, "plain")
    billed = len(providers[provider].bill.lines)
    response = wire.ask(model)
    assert response.status_code == 200, response.text
    assert wire.whole(response.json(), model) == (TEXT, [], wire.reasons["end"])
    assert response.headers["x-slipway-cost-usd-micros"] == str(COST_USD_MICROS)
    booked(served, caller, providers[provider].bill, billed)


@pytest.mark.requirement("SVC-01", "R")
def test_stream(wire, provider, providers, served, caller):
    model = named(provider, "plain")
    billed = len(providers[provider].bill.lines)
    response = wire.ask(model, **streaming(wire))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert wire.streamed(response.text, model) == (TEXT, [], wire.reasons["end"])
    booked(served, caller, providers[provider].bill, billed)


def booked(served: Served, caller: Any, bill: Bill, billed: int) -> None:
    """Holds the one usage row against the provider's one new line on its bill."""
    [row] = usage_rows(served, caller, 1)
    [line] = bill.lines[billed:]
    assert row["status"] == "ok"
    assert (row["prompt_tokens"], row["completion_tokens"]) == (line.counted.prompt, line.counted.completion)
    assert row["cost_usd_micros"] == line.usd_micros == COST_USD_MICROS
    assert line.complete


@pytest.mark.parametrize(("question", "calls"), [("The weather in Bern?", 1), ("The weather in two cities?", 2)])
def test_tools(wire, provider, question, calls):
    model = named(provider, "tools")
    expected = (None, CITIES[:calls], wire.reasons["tools"])
    response = wire.ask(model, question, tools=True)
    assert response.status_code == 200, response.text
    assert wire.whole(response.json(), model) == expected
    streamed = wire.ask(model, question, tools=True, **streaming(wire))
    assert wire.streamed(streamed.text, model) == expected


def test_limit(wire, provider):
    model = named(provider, "limited")
    assert wire.whole(wire.ask(model).json(), model) == (TEXT, [], wire.reasons["limit"])
    streamed = wire.ask(model, **streaming(wire))
    assert wire.streamed(streamed.text, model) == (TEXT, [], wire.reasons["limit"])


@pytest.mark.parametrize("case", ["broken", "overloaded", "rate-limited", "strict", "wrong-key"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_error(wire, provider, case, stream):
    response = wire.ask(named(provider, case), **(streaming(wire) if stream else {}))
    wire.refused(response, case)
    assert response.headers["content-type"] == "application/json"
    assert KEY not in response.text
    if case == "rate-limited":
        assert 1 <= int(response.headers["retry-after"]) <= 17  # what is left of it, when it was asked before


@pytest.mark.parametrize("case", ["midway", "together", "cut", "severed"])
def test_mid_stream_error(wire, provider, providers, served, caller, case):
    response = wire.ask(named(provider, case), **streaming(wire))
    assert response.status_code == 200, response.text
    assert wire.broken(response.text) == "Fourteen days,"
    assert KEY not in response.text
    [row] = usage_rows(served, caller, 1)
    assert row["status"] == "error"
    # what came before the error was computed and is charged: never less than nothing, never an unknown amount
    assert row["cost_usd_micros"] > 0


def test_a_request_that_is_no_request_is_refused_in_the_wires_own_envelope(wire, provider):
    for body in ({"model": named(provider, "plain")}, {"model": "nope", **wire.body("x", tools=False)}):
        response = wire.client.post(wire.path, json=body)
        assert response.status_code in (400, 404)
        error = response.json()["error"]
        if isinstance(wire, AnthropicWire):
            assert error["type"] in ("invalid_request_error", "not_found_error")
            assert response.json()["request_id"] == response.headers["request-id"]
        else:
            assert error["type"] == "invalid_request_error"


def test_a_stranger_is_turned_away_in_the_wires_own_envelope(wire, provider):
    for headers in ({"authorization": "Bearer nonsense", "x-api-key": "nonsense"}, {}):
        client = httpx.Client(base_url=wire.client.base_url, headers=headers)
        with client:
            response = client.post(wire.path, json={"model": named(provider, "plain"), **wire.body("x", tools=False)})
        assert response.status_code == 401
        kind = response.json()["error"]["type"]
        assert kind == ("authentication_error" if isinstance(wire, AnthropicWire) else "invalid_request_error")
