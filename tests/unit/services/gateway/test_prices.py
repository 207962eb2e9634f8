"""The table of prices: every entry sound, ids found only where that is certain, the manifest above it."""

from datetime import date
from urllib.parse import urlsplit

import pytest

from slipway.manifest.sections.models import BUILT_IN, Model, Prices
from slipway.manifest.units import Money
from slipway.services.gateway.models import FREE, Tokens
from slipway.services.gateway.prices import Facts, facts_of, price_of, table, table_version

ENTRIES = [(provider, name, facts) for provider, entries in table().items() for name, facts in entries.items()]


@pytest.mark.parametrize(("provider", "name", "facts"), ENTRIES, ids=[f"{p}/{n}" for p, n, _ in ENTRIES])
def test_an_entry_has_a_source_a_day_and_a_price_that_makes_sense(provider: str, name: str, facts: Facts) -> None:
    assert urlsplit(facts.source).scheme == "https"
    assert date(2026, 1, 1) <= facts.as_of <= date.fromisoformat(table_version())
    assert facts.price is not None
    prices = [facts.price] if facts.price.long is None else [facts.price, facts.price.long]
    for price in prices:
        assert price.version == table_version()
        assert 10_000 <= price.prompt_usd_micros <= 20_000_000
        assert price.completion_usd_micros == 0 or price.completion_usd_micros >= price.prompt_usd_micros
        assert price.cache_read_usd_micros is None or price.cache_read_usd_micros < price.prompt_usd_micros
        assert price.cache_write_usd_micros is None or price.cache_write_usd_micros > price.prompt_usd_micros
    if facts.price.long is not None:
        assert facts.price.long.prompt_usd_micros > facts.price.prompt_usd_micros
        assert facts.price.long_from_tokens is not None
        assert facts.context_tokens is None or facts.price.long_from_tokens < facts.context_tokens
    assert facts.context_tokens is not None
    if "embedding" not in name:
        assert facts.max_output_tokens is not None
        assert facts.max_output_tokens < facts.context_tokens


def test_a_snapshot_of_a_day_is_its_model_unless_the_table_has_the_snapshot_itself() -> None:
    assert facts_of("openai", "gpt-4.1-2025-04-14") == facts_of("openai", "gpt-4.1")
    assert facts_of("anthropic", "claude-haiku-4-5-20251001") == facts_of("anthropic", "claude-haiku-4-5")
    first, current = facts_of("openai", "gpt-4o-2024-05-13"), facts_of("openai", "gpt-4o-2024-11-20")
    assert first is not None
    assert current is not None
    assert first.price is not None
    assert current.price is not None
    assert (first.price.prompt_usd_micros, current.price.prompt_usd_micros) == (5_000_000, 2_500_000)


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "gpt-4.1-turbo"),
        ("openai", "gpt-4o-audio-preview"),
        ("openai", "claude-haiku-4-5"),
        ("azure", "gpt-4.1"),
        ("anthropic", "gpt-4.1"),
        ("bedrock", "amazon.nova-lite-v9:0"),
        ("bedrock", "us.nothing"),
        ("balance", "gpt-4.1"),
        ("openai", ""),
    ],
)
def test_what_is_not_known_is_not_guessed(provider: str, name: str) -> None:
    assert facts_of(provider, name) is None


def test_a_profile_of_a_geography_has_the_limits_and_the_price_only_where_it_is_certain() -> None:
    bare, us, apac = (facts_of("bedrock", f"{prefix}amazon.nova-lite-v1:0") for prefix in ("", "us.", "apac."))
    assert us == bare
    assert apac is not None
    assert bare is not None
    assert (apac.price, apac.context_tokens) == (None, bare.context_tokens)
    claude = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert (known := facts_of("bedrock", f"eu.{claude}")) is not None
    assert known.price is not None
    for prefix in ("", "us.", "jp."):
        facts = facts_of("bedrock", f"{prefix}{claude}")
        assert facts is None or facts.price is None


def test_prices_of_bedrock_hold_where_they_were_found() -> None:
    def priced(name: str, region: str | None) -> bool:
        return price_of(Model(provider="bedrock", id=name, region=region)) is not None

    assert priced("amazon.nova-lite-v1:0", "us-east-1")
    assert not priced("amazon.nova-lite-v1:0", "eu-west-1")
    assert not priced("amazon.nova-lite-v1:0", None)
    assert price_of(Model(provider="bedrock", id="amazon.nova-lite-v1:0"), "us-east-1") is not None
    assert priced("global.anthropic.claude-sonnet-5", "ap-southeast-2")


def test_the_manifest_stands_above_the_table_and_nothing_is_free_by_accident() -> None:
    def model(name: str, prices: Prices | None = None) -> Model:
        return Model(provider="openai", base_url="http://a/v1", id=name, price_per_million_tokens=prices)

    own = price_of(model("gpt-4.1", Prices(prompt=Money(7), cache_read=Money(1))))
    assert own is not None
    assert (own.prompt_usd_micros, own.cache_read_usd_micros, own.cache_write_usd_micros) == (7, 1, None)
    assert own.version == "manifest"
    listed = price_of(model("gpt-4.1"))
    assert listed is not None
    assert listed.cost_usd_micros(Tokens(prompt=1_000_000, completion=500_000, cache_read=1_000_000)) == 4_500_000
    assert price_of(model("llama3.2")) is None
    assert [price_of(built_in) for built_in in BUILT_IN.values()] == [FREE, FREE]


def test_a_long_prompt_costs_the_long_price_throughout() -> None:
    facts = facts_of("anthropic", "claude-haiku-5-5")
    assert facts is not None
    assert facts.price is not None
    assert facts.price.cost_usd_micros(Tokens(prompt=100_000)) == 10_000
    assert facts.price.cost_usd_micros(Tokens(prompt=100_001)) == 50_001
