"""Headers of Anthropic's wire: which reach a provider, and which are refused for callers with a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.services.gateway.bounds import ModelFacts
from slipway.services.gateway.models import InvalidParameter
from slipway.services.gateway.wire_anthropic_headers import BETA, DEFAULT, VERSION, asked_headers, refuse_betas

NEWER = b"2026-10-21"


def test_what_is_asked_for_is_passed_on_as_it_came():
    assert asked_headers([]) is DEFAULT
    assert asked_headers([(b"host", b"x"), (VERSION, b"2023-06-01"), (VERSION, b"2023-06-01")]) is DEFAULT
    assert asked_headers([(VERSION, NEWER)]) == ((VERSION, NEWER),)
    betas = [(BETA, b"a-2025-01-01, b"), (VERSION, NEWER), (BETA, b"c")]
    assert asked_headers(betas) == ((VERSION, NEWER), (BETA, b"a-2025-01-01, b,c"))


@given(st.lists(st.tuples(st.sampled_from([VERSION, BETA, b"x-other"]), st.binary(max_size=30)), max_size=4))
def test_any_headers_are_passed_on_in_a_form_that_cannot_break_a_request_or_are_refused(headers):
    try:
        asked = asked_headers(headers)
    except InvalidParameter as error:
        assert error.param in ("anthropic-version", "anthropic-beta")
        return
    assert {name for name, _ in asked} <= {VERSION, BETA} and asked[0][0] == VERSION
    assert all((value.isascii() and value.decode().isprintable()) or b"\t" in value for _, value in asked)
    assert not any(sign in value for _, value in asked for sign in (b"\r", b"\n", b"\0", b":"))


def test_a_longer_context_than_budgets_hold_for_is_refused():
    asked = ((VERSION, NEWER), (BETA, b"a,context-1m-2025-08-07"))
    for tokens in (None, 200_000):
        with pytest.raises(InvalidParameter) as caught:
            refuse_betas(asked, ModelFacts(context_tokens=tokens))
        assert caught.value.param == "anthropic-beta" and "context-1m-" in caught.value.public
        refuse_betas(((VERSION, NEWER), (BETA, b"a")), ModelFacts(context_tokens=tokens))
    refuse_betas(asked, ModelFacts(context_tokens=1_000_000))
