"""Bounds of requests: never below what a tokenizer counts, without reading texts, and refused where there is none."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.services.gateway.bounds import (
    ADDED_TOKENS,
    MAX_CHOICES,
    UNKNOWN_IMAGE_TOKENS,
    UNKNOWN_OUTPUT_TOKENS,
    Bound,
    ModelFacts,
    Wire,
    capped,
    chat_bound,
    embedding_bound,
)
from slipway.services.gateway.minilm import MiniLM
from slipway.services.gateway.models import MOST_AMOUNT, MOST_TOKENS, InvalidParameter, Price, Tokens

KNOWN = ModelFacts(context_tokens=200_000, max_output_tokens=8_000, image_tokens=1_500)
NOTHING = ModelFacts()
HELLO = [{"role": "user", "content": "Hello"}]


def bound(
    body: dict[str, Any],
    facts: ModelFacts = NOTHING,
    *,
    wire: Wire = "openai",
    cap: int | None = None,
    exact: bool = False,
) -> Bound:
    return chat_bound(wire, body, len(json.dumps(body)), facts, cap_tokens=cap, exact=exact)


def parts(*given: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*given]}], "max_tokens": 10}


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniLM]:
    made = MiniLM(tmp_path_factory.mktemp("minilm"))
    yield made
    made.close()


@settings(deadline=None)  # the first call loads the tokenizer
@given(texts=st.lists(st.text(), min_size=1, max_size=5))
def test_no_text_has_more_tokens_than_its_bound(minilm: MiniLM, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    body = {"messages": [{"role": "user", "content": text} for text in texts]}
    worst = sum(len(text.encode()) for text in texts)  # a tokenizer that makes one token of each byte
    for raw in (json.dumps(body), json.dumps(body, ensure_ascii=False, separators=(",", ":"))):
        most = chat_bound("openai", body, len(raw.encode()), NOTHING, cap_tokens=None, exact=False).prompt_tokens
        assert most >= worst
        assert most >= sum(minilm.count_tokens(texts))
    assert embedding_bound(texts).prompt_tokens >= max(worst, sum(minilm.count_tokens(texts)))


@settings(deadline=None)
@given(text=st.text(alphabet=st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1))
def test_letters_that_a_tokenizer_takes_apart_stay_below_their_bytes(minilm: MiniLM, text: str) -> None:
    assert embedding_bound([text]).prompt_tokens >= minilm.count_tokens([text])[0]


def test_a_bound_costs_at_least_what_any_split_of_its_tokens_does() -> None:
    price = Price(1_000_000, 5_000_000, 100_000, 1_250_000, 2_000_000)
    most = Bound(1_000, 100)
    assert most.tokens == 1_100
    for tokens in (Tokens(1_000, 100), Tokens(1_000, 100, cache_write_1h=1_000), Tokens(1_000, 0, cache_read=1_000)):
        assert price.cost_usd_micros(tokens) <= most.usd_micros(price)


@pytest.mark.parametrize(
    ("body", "facts", "cap", "completion"),
    [
        ({"max_tokens": 7}, KNOWN, None, 7),
        ({"max_completion_tokens": 7}, KNOWN, 50, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, KNOWN, None, 9),
        ({"max_tokens": 7, "n": 3}, KNOWN, None, 21),
        ({}, KNOWN, 50, 50),
        ({}, KNOWN, 50_000, 8_000),
        ({"n": 3}, KNOWN, 50, 48),
        ({}, KNOWN, None, 8_000),
        ({"n": 2}, KNOWN, None, 16_000),
        ({"max_tokens": 7, "prediction": {"type": "content", "content": "twenty letters, so."}}, KNOWN, None, 33),
        ({}, NOTHING, None, UNKNOWN_OUTPUT_TOKENS),
    ],
)
def test_output_is_bounded_by_the_request_the_plan_or_the_model(
    body: dict[str, Any], facts: ModelFacts, cap: int | None, completion: int
) -> None:
    assert bound({"messages": HELLO, **body}, facts, cap=cap).completion_tokens == completion


def test_more_output_than_the_plan_lets_one_request_write_is_refused() -> None:
    for body in ({"max_tokens": 51}, {"max_completion_tokens": 51}, {"max_tokens": 26, "n": 2}):
        with pytest.raises(InvalidParameter, match="write 50 tokens: ask for that many or fewer") as refused:
            bound({"messages": HELLO, **body}, KNOWN, cap=50)
        assert refused.value.param in body


def test_a_cap_is_put_into_the_body_only_where_the_caller_states_nothing() -> None:
    assert capped("openai", {"messages": HELLO}, 50) == 50
    assert capped("openai", {"messages": HELLO, "n": 4}, 50) == 12
    assert capped("openai", {"messages": HELLO, "max_completion_tokens": 5}, 50) is None
    assert capped("anthropic", {"messages": HELLO, "max_tokens": 5}, 50) is None
    assert capped("openai", {"messages": HELLO}, None) is None
    assert capped("openai", {"messages": HELLO}, 50_000, KNOWN) == 8_000


PICTURE = "data:image/png;base64," + "A" * 60_000


@pytest.mark.parametrize(
    ("wire", "part", "facts", "more"),
    [
        ("openai", {"type": "image_url", "image_url": {"url": "http://a/b.png"}}, KNOWN, 1_500),
        ("openai", {"type": "image_url", "image_url": {"url": "http://a/b.png"}}, NOTHING, UNKNOWN_IMAGE_TOKENS),
        ("openai", {"type": "image_url", "image_url": {"url": PICTURE}}, KNOWN, 1_500 - len(PICTURE)),
        ("openai", {"type": "image_url", "image_url": {"url": PICTURE}}, NOTHING, 0),
        ("anthropic", {"type": "image", "source": {"type": "url", "url": "http://a"}}, KNOWN, 1_500),
        ("anthropic", {"type": "image", "source": {"type": "base64", "data": "A" * 9_000}}, KNOWN, -7_500),
        (
            "anthropic",
            {"type": "tool_result", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]},
            KNOWN,
            1_500,
        ),
        ("anthropic", {"type": "document", "source": {"type": "text", "data": "x"}}, KNOWN, 0),
        (
            "anthropic",
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]},
            },
            KNOWN,
            1_500,
        ),
    ],
)
def test_an_image_takes_what_the_model_says_or_a_lot(
    wire: Wire, part: dict[str, Any], facts: ModelFacts, more: int
) -> None:
    body = parts({"type": "text", "text": "look"}, part)
    size_bytes = len(json.dumps(body))
    assert bound(body, facts, wire=wire, exact=True).prompt_tokens == size_bytes + ADDED_TOKENS + more


@pytest.mark.parametrize(
    ("wire", "part"),
    [
        ("openai", {"type": "file", "file": {"file_id": "file-1"}}),
        ("openai", {"type": "video_url", "video_url": {"url": "http://a"}}),
        ("anthropic", {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}),
        ("anthropic", {"type": "document", "source": {"type": "url", "url": "http://a"}}),
        ("anthropic", {"type": "document", "source": {"type": "file", "file_id": "f"}}),
        ("anthropic", {"type": "container_upload", "file_id": "f"}),
        ("anthropic", {"type": "tool_result", "content": [{"type": "document", "source": {"type": "url"}}]}),
        ("anthropic", {"type": "from next year"}),
    ],
)
def test_what_has_no_size_in_the_body_takes_the_whole_context(wire: Wire, part: dict[str, Any]) -> None:
    assert bound(parts(part), KNOWN, wire=wire, exact=True).prompt_tokens == 200_000
    assert bound(parts(part), NOTHING, wire=wire).prompt_tokens < 2_000
    with pytest.raises(InvalidParameter, match="send its text instead, or have the model's context_tokens") as refused:
        bound(parts(part), NOTHING, wire=wire, exact=True)
    assert refused.value.param == "messages"


def test_a_stored_conversation_takes_the_whole_context() -> None:
    body = {"messages": HELLO, "max_tokens": 1, "previous_response_id": "resp_1"}
    assert bound(body, KNOWN, exact=True).prompt_tokens == 200_000
    body = {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}], "max_tokens": 1}
    assert bound(body, KNOWN, exact=True).prompt_tokens == 200_000


def test_no_prompt_is_longer_than_the_context() -> None:
    body = {"messages": [{"role": "user", "content": "x" * 300_000}], "max_tokens": 1}
    assert bound(body, KNOWN).prompt_tokens == 200_000


def test_tools_of_anthropic_that_run_here_bring_instructions_with_them() -> None:
    body = {"messages": HELLO, "max_tokens": 1, "tools": [{"type": "bash_20250124"}, {"type": "text_editor_20250728"}]}
    assert bound(body, wire="anthropic", exact=True).prompt_tokens == len(json.dumps(body)) + 3 * ADDED_TOKENS


def test_without_any_bound_of_the_output_a_caller_with_a_budget_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="state max_tokens") as refused:
        bound({"messages": HELLO}, exact=True)
    assert refused.value.param == "max_tokens"


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize("value", [0, -5, 60.0, "60", True, [], 10**18, 2**62, 2**63 - 1])
def test_a_figure_that_means_nothing_is_refused_by_name(wire: Wire, key: str, value: Any, exact: bool) -> None:
    body = {"messages": HELLO, "max_tokens": 5, key: value}
    for cap in (None, 50):
        with pytest.raises(InvalidParameter, match=f"{key} must be a whole number") as refused:
            bound(body, KNOWN, wire=wire, cap=cap, exact=exact)
        assert refused.value.param == key


def test_the_largest_bound_is_one_that_the_books_hold() -> None:
    facts = ModelFacts(context_tokens=10**18)
    most = bound({"previous_response_id": "x", "max_tokens": MOST_TOKENS, "n": MAX_CHOICES}, facts)
    assert most.tokens <= MOST_AMOUNT
    assert most.usd_micros(Price(10**9, 10**9)) <= MOST_AMOUNT


def test_more_choices_than_tokens_are_refused_since_each_writes_one() -> None:
    with pytest.raises(InvalidParameter, match="fewer choices") as refused:
        bound({"messages": HELLO, "n": 100}, KNOWN, cap=50)
    assert refused.value.param == "n"


@pytest.mark.parametrize(
    ("wire", "key", "value"),
    [
        *(
            (wire, key, ["x"])
            for wire in ("openai", "anthropic")
            for key in ("models", "route", "preset", "provider", "plugins")
        ),
        ("openai", "best_of", 50),
        ("openai", "best_of", True),
        ("openai", "service_tier", "priority"),
        ("openai", "service_tier", "fast"),
        ("openai", "web_search_options", {}),
        ("openai", "modalities", ["text", "audio"]),
        ("openai", "audio", {"voice": "alloy", "format": "wav"}),
        ("openai", "tools", [{"type": "web_search"}]),
        ("openai", "prompt_cache_retention", "24h"),
        ("openai", "extra_body", {"google": {}}),
        ("openai", "messages", [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]),
        ("anthropic", "tools", [{"type": "web_search_20250305", "name": "web_search"}]),
        ("anthropic", "tools", [{"name": "mine"}, {"type": "code_execution_20250825", "name": "code_execution"}]),
        ("anthropic", "tools", [{"type": "from_next_year"}]),
        ("anthropic", "mcp_servers", [{"type": "url", "url": "https://a"}]),
        ("anthropic", "container", "container_1"),
        ("anthropic", "service_tier", "priority"),
        ("anthropic", "speed", "fast"),
        ("anthropic", "inference_geo", "us"),
        ("anthropic", "context_management", {"edits": [{"type": "compact_20260112"}]}),
    ],
)
def test_what_changes_the_price_is_refused_to_callers_with_a_budget_only(wire: Wire, key: str, value: object) -> None:
    body = {"messages": HELLO, "max_tokens": 1, key: value}
    with pytest.raises(InvalidParameter, match="This caller has a budget, and") as refused:
        bound(body, KNOWN, wire=wire, exact=True)
    assert refused.value.param == key
    assert bound(body, KNOWN, wire=wire).completion_tokens == 1


@pytest.mark.parametrize(
    ("wire", "more"),
    [
        ("openai", {"service_tier": "default", "modalities": ["text"], "tools": [{"type": "function"}], "audio": None}),
        ("openai", {"service_tier": "flex", "tools": [{"type": "custom"}], "prompt_cache_retention": "in_memory"}),
        ("anthropic", {"service_tier": "auto", "speed": "standard", "tools": [{"name": "a"}, {"type": "custom"}]}),
        ("anthropic", {"mcp_servers": [], "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    ],
)
def test_what_changes_nothing_is_let_through(wire: Wire, more: dict[str, Any]) -> None:
    assert bound({"messages": HELLO, "max_tokens": 1, **more}, KNOWN, wire=wire, exact=True).completion_tokens == 1


@pytest.mark.parametrize(
    "body",
    [
        {"messages": None, "max_tokens": 1},
        {"messages": [None, "x", {"content": [None, 7, {"type": None}]}], "max_tokens": 1},
        {"messages": HELLO, "tools": "all"},
        {"messages": [{"content": [{"type": "image_url", "image_url": 7}, {"type": "image", "source": []}]}]},
        {"messages": [{"content": [{"type": "document", "source": None}, {"type": "tool_result", "content": "x"}]}]},
    ],
)
def test_a_body_of_any_shape_has_a_bound(body: dict[str, Any]) -> None:
    for wire in ("openai", "anthropic"):
        assert bound(body, KNOWN, wire=wire).tokens > 0


class Unread(str):
    """A text that may be passed about and not looked at."""

    def _read(self, *_: object) -> NoReturn:
        raise AssertionError("the text was read")

    __len__ = __iter__ = __getitem__ = __contains__ = __eq__ = __hash__ = encode = isascii = startswith = _read


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("exact", [False, True])
def test_the_bound_of_an_ordinary_chat_reads_no_text(wire: Wire, exact: bool) -> None:
    """So it costs the same for texts of any length."""
    messages = [{"role": "system", "content": Unread("Be kind.")}, {"role": "user", "content": Unread("Hello")}]
    messages += [{"role": "user", "content": [{"type": "text", "text": Unread("Hello")}]}]
    body = {"model": "m", "messages": messages, "temperature": 0.2, "max_tokens": 100, "stream": True}
    found = chat_bound(wire, body, 200, KNOWN, cap_tokens=None, exact=exact)
    assert found == Bound(200 + ADDED_TOKENS, 100)
