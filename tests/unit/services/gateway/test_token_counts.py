"""What providers say of themselves and of tokens: kept where it means something, nothing where it does not."""

import pytest

from slipway.services.gateway.models import MOST_TOKENS, Tokens
from slipway.services.gateway.token_counts import anthropic_tokens, converse_tokens, openai_tokens, provider_id


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("chatcmpl-1", "chatcmpl-1"),
        ("", None),
        (None, None),
        (7, None),
        ({"id": "x"}, None),
        ("a\0b\nc\u2028d\ud800e", "abcde"),
        ("\x1b[31m", "[31m"),
        ("ü", None),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_providers_id_is_printable_and_short(given, kept):
    assert provider_id(given) == kept


def test_a_count_that_no_request_means_is_cut_so_that_books_can_hold_it():
    assert openai_tokens({"prompt_tokens": 2**70, "completion_tokens": 1}) == Tokens(MOST_TOKENS, 1)
    counted = anthropic_tokens({"input_tokens": 2**70, "output_tokens": 2**70})
    assert counted is not None and counted.prompt <= MOST_TOKENS and counted.completion == MOST_TOKENS


@pytest.mark.parametrize("wrong", [None, -1, 1.5, "3", True, [], {}])
def test_what_is_no_count_is_absent(wrong):
    assert openai_tokens({"prompt_tokens": wrong, "completion_tokens": 1}) is None
    assert openai_tokens({"prompt_tokens": 1, "completion_tokens": wrong}) in (Tokens(1, 0), None)


def test_converses_counts_are_cut_too_and_their_sums_with_them():
    many = {"inputTokens": 2**70, "outputTokens": 2**70, "cacheDetails": [{"ttl": "1h", "inputTokens": 2**60}] * 1000}
    counted = converse_tokens(many)
    assert counted is not None and counted.completion == counted.cache_write_1h == MOST_TOKENS
    assert counted.prompt == 2 * MOST_TOKENS and counted.cache_write == 0
