"""Money: parsed with its sign, kept whole, rounded up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.base.errors import InvalidRequest
from slipway.base.money import cost_usd_micros, format_usd, parse_usd_micros


@pytest.mark.parametrize(
    ("text", "micros"), [("$5", 5_000_000), ("$0.05", 50_000), ("$1,200", 1_200_000_000), ("$0.000001", 1)]
)
def test_amounts_are_parsed_exactly(text: str, micros: int):
    assert parse_usd_micros(text) == micros


@pytest.mark.parametrize("text", ["5", "5 USD", "$", "$-1", "$1.0000001", "€5", "$1e3"])
def test_anything_but_dollars_is_refused_with_what_to_write(text: str):
    with pytest.raises(InvalidRequest, match="US dollars"):
        parse_usd_micros(text)


@given(st.integers(min_value=0, max_value=10**15))
def test_formatting_loses_nothing(micros: int):
    assert parse_usd_micros(format_usd(micros)) == micros


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_is_never_less_than_what_it_stands_for(tokens: int, price: int):
    cost = cost_usd_micros(tokens, price)
    assert 0 <= cost * 1_000_000 - tokens * price < 1_000_000
