"""Bodies of OpenAI's wire: what is checked, what passes, what an error looks like."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.base.errors import ERRORS, InvalidRequest, LimitExceeded, UpstreamFailed
from slipway.services.gateway import upstream
from slipway.services.gateway.models import Embeddings, InvalidParameter, ModelNotFound
from slipway.services.gateway.nesting import MAX_LEVELS
from slipway.services.gateway.wire import (
    chat_request,
    dumped,
    embedding_request,
    embeddings_body,
    error_body,
    json_object,
)
from slipway.services.gateway.wire_errors import json_bytes

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_JSON = st.recursive(
    # Larger whole numbers are read as JSON's usual doubles (RFC 8259, section 6).
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@UNHURRIED
@given(st.dictionaries(st.text(max_size=8), _JSON, max_size=5))
def test_what_is_not_ours_passes_unchanged(extra):
    body = {**extra, "model": "m", "messages": [{"role": "user", "content": "x", "extra": extra}]}
    for key in ("stream", "stream_options", "n"):
        body.pop(key, None)
    request = chat_request(json_object(json.dumps(body).encode()), 100)
    assert request.body == body and (request.stream, request.include_usage) == (False, False)
    assert json.loads(dumped(request.body)) == body


@UNHURRIED
@given(_JSON)
def test_any_json_is_taken_or_refused_in_words(value):
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    for read, right in (
        (lambda body: chat_request(body, 100), chat),
        (embedding_request, {"model": "m", "input": "x"}),
    ):
        try:
            read(json_object(json.dumps(value).encode()))
        except InvalidRequest as error:
            assert error.public
        for key in ("model", "messages", "input", "stream", "stream_options", "n", "encoding_format", "dimensions"):
            body = {**right, key: value}
            try:
                read(body)
            except InvalidParameter as error:
                assert error.param.split(".")[0] == key


@UNHURRIED
@given(st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused_in_words(content):
    try:
        assert isinstance(json_object(content), dict)
    except InvalidRequest as error:
        assert error.public


def nested(levels: int, opening: bytes, closing: bytes) -> bytes:
    """A body of this many levels, the object itself among them, with shallow values before and behind."""
    return b'{"a":[[]],"b":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b',"c":[{}]}'


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'{"\\ud800":', b"}")])
def test_a_body_has_its_levels_and_not_one_more(opening: bytes, closing: bytes) -> None:
    assert json_object(nested(MAX_LEVELS, opening, closing))["a"] == [[]]
    for levels in (MAX_LEVELS + 1, 990, 1_000, 1_024, 1_025, 5_000):
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            json_object(nested(levels, opening, closing))


def test_what_was_read_can_be_written() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'{"\\ud800":', b"}")):
        body = json_object(nested(MAX_LEVELS, opening, closing))
        wrapped = {"a": {"b": [{"c": {"d": [{"e": body}]}}]}}  # as a translation may
        assert json.loads(json_bytes(wrapped))["a"]["b"][0]["c"]["d"][0]["e"] == body


def test_nesting_without_an_end_is_refused() -> None:
    for deep in (b'{"a":' * 100_000, b'{"messages":' + b"[" * 200_000, b"[" * 1_025):
        with pytest.raises(InvalidRequest):
            json_object(deep)


def test_a_provider_that_nests_too_deeply_has_failed() -> None:
    assert upstream.json_object(nested(MAX_LEVELS, b"[", b"]"))["c"] == [{}]
    with pytest.raises(UpstreamFailed, match="nested too deeply") as failed:
        upstream.json_object(nested(MAX_LEVELS + 1, b"[", b"]"))
    assert failed.value.effect_unknown


def test_stream_options_are_read():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    assert chat_request({**body, "stream_options": {"include_usage": True}}, 100).include_usage
    assert not chat_request({**body, "stream_options": None}, 100).include_usage
    with pytest.raises(InvalidParameter, match="include_usage"):
        chat_request({**body, "stream_options": {"include_usage": 1}}, 100)


@pytest.mark.parametrize("kind", ERRORS.values(), ids=ERRORS)
def test_every_error_has_its_envelope_without_its_detail(kind):
    failure = kind("Said aloud.", detail="secret")
    body = error_body(failure)
    error = body["error"]
    assert 400 <= failure.status <= 599 and "secret" not in str(body)
    assert set(error) == {"message", "type", "param", "code"} and error["message"] == "Said aloud."


def test_errors_carry_what_openais_clients_branch_on():
    assert error_body(LimitExceeded("Slow down."))["error"]["type"] == "rate_limit_error"
    missing = error_body(ModelNotFound("x" * 999))["error"]
    assert (missing["code"], missing["param"]) == ("model_not_found", "model") and len(missing["message"]) < 300
    assert error_body(InvalidParameter("n", "No."))["error"]["param"] == "n"


def test_embeddings_are_joined_in_order():
    body = json.loads(embeddings_body("m", Embeddings([b"[1.5]", b'"AAA="'], 3), 3, 4))
    assert [(item["index"], item["embedding"]) for item in body["data"]] == [(0, [1.5]), (1, "AAA=")]
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3, "cost_usd_micros": 4}


def test_an_embedding_request_drops_nothing_in_silence():
    asked = embedding_request({"model": "m", "input": "x", "user": "customer-7", "dimensions": 5})
    assert (asked.inputs, asked.user, asked.dimensions) == (("x",), "customer-7", 5)
    with pytest.raises(InvalidParameter, match="no 'input_type' here") as refused:
        embedding_request({"model": "m", "input": "x", "input_type": "query"})
    assert refused.value.param == "input_type"
    with pytest.raises(InvalidParameter, match="user must be a text"):
        embedding_request({"model": "m", "input": "x", "user": 7})
