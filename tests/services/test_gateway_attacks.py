"""What an attacker sends to the gateway, over raw sockets: refused with a status of 4xx, or harmless, and told nothing.

The whole platform's attacks are in test_attacks.py; tokens of foreign issuers in the unit tests of authentication.
"""

import dataclasses
import gzip
import json
import resource
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from slipway.base.callers import Scope
from slipway.runtime.http.routes import MAX_BODY_BYTES
from slipway.services.gateway.nesting import LONG_BODY_BYTES, MAX_LEVELS
from tests.services.gateway_serving import (
    DEADLINES,
    Served,
    credential,
    put_on_plan,
    served_app,
    served_gateway,
    usage_rows,
)
from tests.services.processes import until
from tests.services.provider_simulator import KEY, Simulator
from tests.services.simulator_anthropic import AnthropicSimulator
from tests.services.simulator_bedrock import BedrockSimulator

CHAT = {"model": "plain", "messages": [{"role": "user", "content": "How many days?"}]}
INJECTIONS = (
    "'; DROP TABLE usage; --",
    "' OR '1'='1",
    "\\'; SELECT pg_sleep(10); --",
    "%s %(tenant)s {0} $1 :name ?",
    "$$; COMMIT; $$",
    "a\x00b",
)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture(scope="module")
def served(simulator, postgres, tmp_path_factory) -> Iterator[Served]:
    with (
        served_app(simulator) as upstream,
        served_app(AnthropicSimulator()) as anthropic,
        served_app(BedrockSimulator()) as bedrock,
        served_gateway(
            tmp_path_factory.mktemp("gateway"), postgres, upstream, anthropic=anthropic, bedrock=bedrock
        ) as served,
    ):
        yield served


@pytest.fixture
def caller(new_caller):
    return new_caller(Scope.MODELS_USE, Scope.USAGE_READ)


@pytest.fixture
def key(caller) -> str:
    return credential(caller)


@pytest.fixture
def client(served, key) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=20) as client:
        yield client


def opened(served: Served) -> socket.socket:
    """A connection to the gateway."""
    url = httpx.URL(served.url)
    return socket.create_connection((url.host, url.port or 80), timeout=10)


def sent(served: Served, content: bytes, wait_s: float = 3.0) -> bytes:
    """Everything that comes back to `content` until the connection ends or is quiet."""
    with opened(served) as connection:
        connection.settimeout(wait_s)
        answer = b""
        try:
            connection.sendall(content)
            while piece := connection.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionError):
            pass
        return answer


def status(answer: bytes) -> int:
    """The first status in an answer; 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def request(key: str, *lines: str, body: bytes = b"", target: str = "/v1/chat/completions") -> bytes:
    """A POST with these header lines, as they are."""
    head = [f"POST {target} HTTP/1.1", "host: gateway", f"authorization: Bearer {key}", "connection: close", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["evil.example:1"],
        ["user@evil.example"],
        ["gateway", "evil.example"],
        ["169.254.169.254"],
        ["evil.example/../.."],
        ["a" * 10_000],
        [],
        [""],
    ],
    ids=lambda hosts: ",".join(host[:20] for host in hosts) or "none",
)
def test_the_host_decides_nothing_and_comes_back_nowhere(served, key, simulator, hosts):
    body = json.dumps(CHAT).encode()
    forwarded = ["x-forwarded-host: evil.example", "x-forwarded-proto: ftp", "forwarded: host=evil.example"]
    head = ["POST /v1/chat/completions HTTP/1.1", *[f"host: {host}" for host in hosts], *forwarded]
    head += [f"authorization: Bearer {key}", "connection: close", f"content-length: {len(body)}"]
    answer = sent(served, "\r\n".join(head).encode() + b"\r\n\r\n" + body)
    assert status(answer) in (200, 400)
    assert b"evil.example" not in answer and b"location:" not in answer.lower()
    assert all("evil" not in value for value in simulator.seen.headers[-1].values())


# What is encoded would lead elsewhere, or hides where it leads: refused before there is a route.
HIDDEN_PATHS = (
    *("/v1/models/..%2f..%2fv1%2fusage", "/v1/models/%2e%2e/usage", "/v1/models/%2E/plain", "/v1/models/a%2f..%2Fb"),
    *("/v1/models/%00", "/v1/models/plain%00", "/v1/models/plain%0d%0aset-cookie:%20a=b", "/v1/models/plain%5c.."),
    *("/v1/models/%70lain", "/v1/models/plai%6e", "/v1/models/plain%7f", "/v1/models%2fplain", "/v1/models%2Fplain"),
    *("/v1/%6dodels%2fplain", "/v1/%6dodels/plain", "/v1%2fmodels/plain", "/%76%31/models", "/v1/models%5cplain"),
    *("/v1%00/models", "/v1/x/%2e%2e/models/plain", "/%2e/v1/models/plain", "/v1/usage%2f", "/v1/us%61ge"),
    *("/v1%2fusage", "/v1/plans%2ftenants%2fx", "/%68ealth", "/v1/plans/..%2fusage", "/v1/plans/keys/a%5cb"),
)
# The name of a model that does not exist, or no route at all.
ABSENT_PATHS = (
    *("/v1/models/plain%2f", "/v1/models/plain%2Fx", "/v1/models/%ff%fe", "/v1/models/%252e%252e"),
    *("/v1/models/plain%E0%80%AF..", "/v1/models/plain/", "/v1/models//plain", "/v1/models/plain;x=y"),
    *("/v1/models/plain%3fx", "/v1/models/plain\\..\\usage", "/v1/models/ ", "/v1/models/" + "a" * 20_000),
    *("//v1/models/plain", "/v1//models/plain", "/V1/MODELS/plain", "/v1/../v1/models/plain", "/v1/%F0%9F%98%80"),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [*((path, 400) for path in HIDDEN_PATHS), *((path, 404) for path in ABSENT_PATHS)],
    ids=lambda value: str(value)[:40],
)
def test_no_spelling_of_a_path_reaches_another_route(served, key, path, expected):
    lines = ["host: gateway", f"authorization: Bearer {key}", "connection: close"]
    head = f"GET {path} HTTP/1.1\r\n".encode("latin-1")
    answer = sent(served, head + "\r\n".join(lines).encode() + b"\r\n\r\n")
    assert status(answer) == expected, answer[:300]
    assert b"set-cookie" not in answer.lower().split(b"\r\n\r\n")[0]
    assert b"\r\nlocation:" not in answer.lower()
    stranger = sent(served, head + b"host: gateway\r\nconnection: close\r\n\r\n")
    assert status(stranger) in (400, 401, 404), stranger[:300]


@pytest.mark.parametrize("path", ["/v1/chat%2fcompletions", "/v1%2fchat/completions", "/v1/ch%61t/completions"])
def test_a_path_that_is_encoded_where_it_must_not_be_is_refused_in_words(client, simulator, path):
    before = len(simulator.seen.requests)
    for answer in (client.post(path, json=CHAT), client.get(path.replace("chat", "ordinary"))):
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["code"] == "invalid_request" and body["request_id"] == answer.headers["x-request-id"]
        assert body["error"]["message"] == body["detail"] and "encoded" in body["detail"]
    assert len(simulator.seen.requests) == before


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "//v1/chat/completions"])
def test_a_slash_too_many_is_no_route(client, simulator, path):
    before = len(simulator.seen.requests)
    assert client.post(path, json=CHAT).status_code == 404
    assert len(simulator.seen.requests) == before


def test_a_models_name_with_a_slash_is_found_as_openais_clients_write_it(client):
    for path in ("/v1/models/org/model:7b@x", "/v1/models/org%2Fmodel%3A7b%40x", "/v1/models/org%2fmodel:7b@x"):
        answer = client.get(path)
        assert (answer.status_code, answer.json().get("id")) == (200, "org/model:7b@x"), answer.text


HIDDEN = json.dumps({**CHAT, "model": "roleless"}).encode()


def smuggled(key: str) -> bytes:
    """A second request, which must never be answered when it stands where the first one's body does."""
    return request(key, f"content-length: {len(HIDDEN)}", body=HIDDEN)


@pytest.mark.parametrize(
    "lines",
    [
        ["content-length: {whole}", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "content-length: {whole}"],
        ["content-length: {short}", "content-length: {whole}"],
        ["content-length: {whole}", "content-length: {short}"],
        ["content-length: {short}, {whole}"],
        ["content-length: +{short}"],
        ["content-length: 0x10"],
        ["content-length: -1"],
        ["content-length: {short} {short}"],
        ["content-length: 99999999999999999999999999"],
        ["transfer-encoding: identity, chunked", "content-length: {short}"],
        ["transfer-encoding: xchunked", "content-length: {short}"],
        ["transfer-encoding : chunked", "content-length: {whole}"],
        ["transfer-encoding: chunked", "transfer-encoding: identity", "content-length: {short}"],
        ["transfer-encoding:\x0bchunked", "content-length: {whole}"],
        ["x: y", " transfer-encoding: chunked", "content-length: {whole}"],
        ["x: y\n\ttransfer-encoding: chunked", "content-length: {whole}"],
        ["content-length\x00: {short}", "content-length: {whole}"],
    ],
    ids=str,
)
def test_a_request_has_one_length_and_hides_no_other(served, key, simulator, lines):
    first = json.dumps(CHAT).encode()
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(first), first) + smuggled(key)
    lengths = {"whole": len(body), "short": len(body) - len(smuggled(key))}
    hidden = simulator.seen.by_model["roleless"]
    whole = request(key, *[line.format(**lengths) for line in lines], body=body)
    # kept open, so that what stood behind the first request would be read as a second one
    answer = sent(served, whole.replace(b"connection: close\r\n", b"", 1), wait_s=1.0)
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
    assert status(answer) in (0, 400), answer[:300]
    assert simulator.seen.by_model["roleless"] == hidden


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        ("GET http://evil.example/v1/models HTTP/1.1", (200, 400, 404)),  # RFC 9112, 3.2.2: the path of our own
        ("GET http://169.254.169.254/latest/meta-data HTTP/1.1", (400, 404)),
        ("GET http://127.0.0.1:9/v1/embeddings HTTP/1.1", (400, 404, 405)),
        ("GET file:///etc/passwd HTTP/1.1", (400, 404)),
        ("CONNECT evil.example:443 HTTP/1.1", (400, 404, 405)),
        ("OPTIONS * HTTP/1.1", (400, 404, 405)),
        ("GET /v1/models HTTP/9.9", (0, 400, 505)),
        ("GET /v1/models", (0, 200, 400)),  # HTTP/0.9
        ("G@T /v1/models HTTP/1.1", (0, 400)),
        ("GET  /v1/models HTTP/1.1", (0, 200, 400)),
        ("TRACE /v1/models HTTP/1.1", (400, 404, 405)),
    ],
)
def test_a_target_is_a_path_of_ours_and_nothing_is_fetched_for_anybody(served, key, simulator, line, statuses):
    before = len(simulator.seen.requests)
    tail = f"\r\nhost: gateway\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    answer = sent(served, line.encode() + tail.encode(), wait_s=1.0)
    assert status(answer) in statuses, answer[:300]
    assert key.encode() not in answer and b"root:" not in answer
    assert len(simulator.seen.requests) == before


def test_credentials_that_differ_are_refused_wherever_they_stand(served, key, new_caller):
    other = credential(new_caller(Scope.MODELS_USE))
    url = f"{served.url}/v1/models"
    for pair in (
        [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {other}")],
        [("authorization", f"Bearer {key}"), ("x-api-key", other)],
        [("x-api-key", key), ("x-api-key", other)],
        [("authorization", f"Bearer {key}"), ("x-api-key", "")],
        [("authorization", f"Bearer {key}, Bearer {other}")],
        [("authorization", f"Basic {key}"), ("x-api-key", key)],
        [("authorization", key)],
        [("x-api-key", f"Bearer {key}")],
        [("cookie", f"authorization=Bearer {key}")],
        [("authorization_", f"Bearer {key}")],
        [("x_api_key", key)],
    ):
        assert httpx.get(url, headers=pair).status_code == 401, pair
    assert httpx.get(f"{url}?api_key={key}&access_token={key}").status_code == 401
    for same in ([("authorization", f"Bearer {key}"), ("x-api-key", key)], [("x-api-key", key)]):
        assert httpx.get(url, headers=same).status_code == 200


def test_a_key_that_begins_like_a_good_one_is_another(platform):
    good = platform.headers()["authorization"].removeprefix("Bearer ")
    url = f"{platform.url}/v1/models"
    assert httpx.get(url, headers={"x-api-key": good}).status_code == 200
    changed = "A" if good[-1] != "A" else "B"
    for other in (good[:-1], good + "A", good[:-1] + changed, good[: len(good) // 2], good.swapcase(), good * 2):
        for header in ({"x-api-key": other}, {"authorization": f"Bearer {other}"}):
            answer = httpx.get(url, headers=header)
            assert answer.status_code == 401, other
            assert good not in answer.text and other not in answer.text
    assert httpx.get(url, headers={"x-api-key": good}).status_code == 200


@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_in_any_text_of_a_chat_is_text(client, served, caller, simulator, text):
    bodies: list[dict[str, Any]] = [
        {**CHAT, "model": text},
        {**CHAT, "messages": [{"role": "user", "content": text}]},
        {**CHAT, "messages": [{"role": text, "content": "x"}]},
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
        {**CHAT, "messages": [{"role": "user", "name": text, "content": "x"}]},
        {**CHAT, "user": text, "safety_identifier": text, "stop": [text]},
        {**CHAT, "metadata": {text: text}},
        {**CHAT, text: text},
        {**CHAT, "tools": [{"type": "function", "function": {"name": text, "parameters": {}}}]},
    ]
    begun_s = time.monotonic()
    answers = [client.post("/v1/chat/completions", json=body) for body in bodies]
    accepted = [answer.headers["x-request-id"] for answer in answers if answer.status_code == 200]
    assert answers[0].status_code == 404
    assert len(accepted) >= 6
    for answer in answers:
        assert answer.status_code in (200, 400, 404), answer.text
        assert "psycopg" not in answer.text and "SELECT " not in answer.text.replace(text, "")
    rows = usage_rows(served, caller, len(accepted))
    assert sorted(row["request_id"] for row in rows) == sorted(accepted)
    assert time.monotonic() - begun_s < 9


@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_in_a_question_about_usage_is_text(client, text):
    for name in ("model", "key_id", "from", "to", "group_by", "cursor", "limit", "format", "tenant_id", text):
        answer = client.get("/v1/usage", params={name: text})
        assert answer.status_code in (200, 400, 403, 422), (name, answer.text)
        assert "psycopg" not in answer.text and "syntax error" not in answer.text
        if answer.status_code == 200 and answer.headers["content-type"].startswith("application/json"):
            assert answer.json().get("items", []) == []


def deep_bodies(levels: int) -> Iterator[tuple[str, str]]:
    """(path, body) for every hot route: a body that is right but for a value with this many levels."""
    for opening, value, closing in (("[", "", "]"), ('{"a":', "1", "}"), ('[{"\\ud800":', "1", "}]")):
        rounds = levels // (2 if closing == "}]" else 1)
        nested = opening * rounds + value + closing * rounds
        messages = '"messages":[{"role":"user","content":"x"}]'
        for path in ("/v1/chat/completions", "/v1/messages"):
            for model in ("plain", "anthropic-plain", "bedrock-plain"):
                yield path, f'{{"model":"{model}","max_tokens":5,{messages},"metadata":{nested}}}'
                yield path, f'{{"model":"{model}","max_tokens":5,{messages},"stream":true,"tools":{nested}}}'
            yield path, f'{{"model":"plain","max_tokens":5,"messages":{nested}}}'
            yield path, f'{{"model":"plain","max_tokens":5,"messages":[{{"role":"user","content":{nested}}}]}}'
        yield "/v1/messages/count_tokens", f'{{"model":"plain",{messages},"metadata":{nested}}}'
        yield "/v1/embeddings", f'{{"model":"vectors","input":"x","user":{nested}}}'
        yield "/v1/embeddings", f'{{"model":"vectors","input":{nested}}}'


@pytest.mark.parametrize("levels", [254, 256, 800, 900, 990, 1_000, 1_024, 1_026, 1_100, 5_000, 100_000])
def test_a_body_that_nests_too_deeply_is_refused_before_anything_is_held(client, served, caller, postgres, levels):
    put_on_plan(postgres, caller, "budgeted")
    for path, body in deep_bodies(levels):
        answer = client.post(path, content=body)
        assert answer.status_code == 400, (path, body[:90], answer.text[:300])
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        sentences: tuple[str, ...] = ("The body is nested too deeply",)
        if len(body) > LONG_BODY_BYTES and "\\ud800" in body:  # is not read to find out
            sentences += ("The body is not valid JSON, or has half of a surrogate pair",)
        assert error["message"].startswith(sentences), (path, body[:90], error)
    assert client.get("/v1/plans").json()["standing"][0]["taken"] == 0
    # and the plan does count: what comes behind takes of it, and is the only row
    accepted = client.post("/v1/chat/completions", json=CHAT)
    assert accepted.status_code == 200, accepted.text
    [row] = usage_rows(served, caller, 1)
    assert row["request_id"] == accepted.headers["x-request-id"]
    assert client.get("/v1/plans").json()["standing"][0]["taken"] > 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings"]
)
def test_a_method_that_a_route_does_not_have_is_said_with_the_one_that_it_has(client, method, path):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    if method != "HEAD":
        assert answer.json()["error"]["message"] == f"{method} is not allowed on {path}: send POST."


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_nests_and_never_ends_is_refused(client, opening):
    for levels in (200, 1_000, 1_024, 1_100, 100_000):
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings"):
            answer = client.post(path, content=opening * levels)
            assert answer.status_code == 400, (levels, path, answer.text[:300])
            assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["plain", "anthropic-plain", "bedrock-plain"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_deepest_body_that_is_taken_is_passed_on(client, model, stream):
    """A schema as deep as a body may be, which every wire carries to every provider."""
    around = 6  # the body, its list of tools, a tool, its function, and the schema's first two levels
    schema: dict[str, Any] = {"type": "string"}
    for _ in range((MAX_LEVELS - around) // 2):
        schema = {"type": "object", "properties": {"a": schema}}
    tool = {"type": "function", "function": {"name": "weather", "description": "x", "parameters": schema}}
    answer = client.post("/v1/chat/completions", json={**CHAT, "model": model, "tools": [tool], "stream": stream})
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.text
    theirs = {"name": "weather", "description": "x", "input_schema": schema}
    body = {**CHAT, "model": model, "max_tokens": 5, "tools": [theirs], "stream": stream}
    answer = client.post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.text


def test_arguments_that_nest_too_deeply_are_refused_by_their_name(client):
    arguments = '{"a":' * 1_000 + "1" + "}" * 1_000
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    messages = [*CHAT["messages"], {"role": "assistant", "tool_calls": [call]}]
    for model in ("anthropic-plain", "bedrock-plain"):
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": model, "messages": messages})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"].endswith("arguments")


@pytest.mark.parametrize(
    "content",
    [
        b'{"model":"plain","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"plain","messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 10_000 + b"}",
        b'{"model":"plain","messages":[{"role":"user","content":"x"}],"temperature":1e999999}',
        b'{"model":"plain","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"plain","messages":[{"role":"user","content":"x"}],"max_tokens":-9223372036854775809}',
        b'{"model":"plain","messages":[{"role":"user","content":"x"}],"max_tokens":1e300}',
        b'{"model":"plain","messages":[{"role":"user","content":"x"}],"max_tokens":"7"}',
        b'{"model":"plain","messages":[{"role":"user","content":"x"}],"max_tokens":true}',
        b'{"model":["plain"],"messages":[{"role":"user","content":"x"}]}',
        b'{"model":{"$ne":null},"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"plain","messages":{"role":"user","content":"x"}}',
        b'{"model":"plain","messages":[null]}',
        b'{"model":"plain","messages":[{"role":"user","content":[null,[],7]}]}',
        b'\xef\xbb\xbf{"model":"plain","messages":[{"role":"user","content":"x"}]}',
        b'\xff\xfe{\x00"\x00',
        b"",
        b"null",
        b'"plain"',
        b'{"model":"plain","messages":[{"role":"user","content":"x"}]}{"model":"slow"}',
    ],
    ids=lambda content: content[:90].decode("latin-1"),
)
def test_odd_json_is_answered_or_refused_but_breaks_nothing(client, content):
    answer = client.post("/v1/chat/completions", content=content)
    assert answer.status_code in (200, 400), answer.text
    assert set(answer.json()) & {"error", "choices"}


def test_of_a_key_that_stands_twice_provider_and_gateway_take_the_same(client, served, caller, simulator):
    before = simulator.seen.by_model.copy()
    content = b'{"model":"slow","messages":[{"role":"user","content":"x"}],"model":"plain"}'
    answer = client.post("/v1/chat/completions", content=content)
    if answer.status_code == 200:
        [row] = usage_rows(served, caller, 1)
        assert simulator.seen.by_model[row["model"]] == before[row["model"]] + 1
        assert simulator.seen.requests[-1]["model"] == row["model"]
    else:
        assert answer.status_code == 400


def test_a_body_of_100_mb_is_refused_unread(served, key):
    content = request(key, f"content-length: {100 * 2**20}", body=b'{"model":"plain"')
    begun_s = time.monotonic()
    answer = sent(served, content)
    assert status(answer) == 413
    assert time.monotonic() - begun_s < 2
    with opened(served) as connection:
        connection.settimeout(5)
        connection.sendall(request(key, "transfer-encoding: chunked"))
        piece, sent_bytes, answer = b"10000\r\n" + b" " * 2**16 + b"\r\n", 0, b""
        try:
            while sent_bytes < 100 * 2**20:
                connection.sendall(piece)
                sent_bytes += 2**16
        except (ConnectionError, TimeoutError):
            pass
        try:
            answer = connection.recv(65536)
        except ConnectionError:
            answer = b""  # what had come was discarded with the connection
    assert status(answer) in (0, 413)
    assert sent_bytes < MAX_BODY_BYTES + 16 * 2**20, "it read on"


def test_a_body_that_names_a_compression_is_not_unpacked(client):
    bomb = gzip.compress(b" " * 50 * 2**20)
    answer = client.post("/v1/chat/completions", content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code in (400, 415)


def test_slow_bodies_keep_nobody_else_waiting(served, key, client):
    slow = [opened(served) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(request(key, "content-length: 1000", body=b'{"model":'))
        begun_s = time.monotonic()
        for connection in slow[:50]:
            connection.sendall(b" ")
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
        assert time.monotonic() - begun_s < 2
    finally:
        for connection in slow:
            connection.close()
    assert client.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_a_provider_that_repeats_the_key_tells_nobody(client):
    for model in ("wrong-key", "midway", "broken", "strict"):
        for stream in (False, True):
            answer = client.post("/v1/chat/completions", json={**CHAT, "model": model, "stream": stream})
            assert KEY not in answer.text
            assert KEY[-10:] not in answer.text
            assert all(KEY not in value for value in answer.headers.values())


def test_two_thousand_idle_streams_cost_little_and_keep_nobody_waiting(postgres, tmp_path, new_caller):
    spread = ("stalls",) * 900 + ("anthropic-stalls",) * 900 + ("bedrock-stalls",) * 200  # a provider has 1,000 places
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    patient = dataclasses.replace(DEADLINES, connect_s=10.0, first_byte_s=30.0, total_s=60.0)
    providers = (Simulator(), AnthropicSimulator(), BedrockSimulator())
    # a tenant leaves as many places of a provider as it takes: one could not fill them
    keys = [credential(new_caller(Scope.MODELS_USE)) for _ in range(20)]
    process = psutil.Process()
    held: list[socket.socket] = []
    try:
        with (
            served_app(providers[0]) as upstream,
            served_app(providers[1]) as anthropic,
            served_app(providers[2]) as bedrock,
            served_gateway(
                tmp_path, postgres, upstream, anthropic=anthropic, bedrock=bedrock, deadlines=patient
            ) as served,
        ):
            headers = {"authorization": f"Bearer {keys[0]}"}
            httpx.post(f"{served.url}/v1/chat/completions", json=CHAT, headers=headers).raise_for_status()
            before_bytes = process.memory_info().rss
            for number, model in enumerate(spread):
                content = json.dumps({**CHAT, "model": model, "stream": True}).encode()
                held.append(opened(served))
                held[-1].sendall(request(keys[number % len(keys)], f"content-length: {len(content)}", body=content))
                if number % 100 == 99:  # no more at once than the gateway's queue of connections takes
                    assert held[-1].recv(4096).startswith(b"HTTP/1.1 200 ")
            until(lambda: sum(each.seen.by_model["stalls"] for each in providers) == len(spread), 30)
            begun_s = time.monotonic()
            answer = httpx.post(f"{served.url}/v1/chat/completions", json=CHAT, headers=headers, timeout=10)
            assert answer.status_code == 200
            assert time.monotonic() - begun_s < 2
            # gateway, provider and clients together, all in this process; arbitrary, about twice what was seen
            grown_bytes = process.memory_info().rss - before_bytes
            assert grown_bytes < len(spread) * 300 * 2**10, f"{grown_bytes / len(spread) / 2**10:.0f} KiB a stream"
            for connection in held:
                connection.close()
            until(lambda: sum(each.seen.hung_up["stalls"] for each in providers) == len(spread), 30)
    finally:
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
