"""What models cost, and how much they read and write: the versioned table `prices.toml` and the manifest on top of it.

Called when the gateway is wired, never by a request. What neither the manifest nor the table knows has no price: it is
never taken for free (docs/adr/0015-prices.md).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final

from slipway.base.money import parse_usd_micros
from slipway.manifest.sections.models import EMBEDDED, Model, Prices
from slipway.services.gateway.models import FREE, Price

# Stands in a row's price version where there is none; compare with `is`, since it charges nothing.
UNPRICED: Final = Price(version="unpriced")

# Which tables a provider of the manifest may mean. Azure's ids are names of deployments and tell nothing.
_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("openai", "google"),
    "anthropic": ("anthropic",),
    "bedrock": ("bedrock",),
}
_GEOGRAPHY: Final = re.compile(r"(us|eu|apac|global|jp|au|ca|us-gov)\.(?=[a-z0-9-]+\.)")
_DATE: Final = re.compile(r"-(?:20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2})$")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one model; None where it is not. `as_of` is the day of which the figures are known."""

    price: Price | None
    context_tokens: int | None
    max_output_tokens: int | None
    image_tokens: int | None
    source: str
    as_of: date


def facts_of(provider: str, model_id: str) -> Facts | None:
    """The table's entry: the exact id, or the same one without the day of its snapshot.

    A Bedrock profile of a geography has the limits of its model. It has the price too only where that is certain: in
    the United States, for models that are not Anthropic's.
    """
    tables = [_table()[name] for name in _TABLES.get(provider, ())]
    for known in (model_id, _DATE.sub("", model_id)):
        for table in tables:
            if known in table:
                return table[known]
    geography = _GEOGRAPHY.match(model_id)
    if provider != "bedrock" or geography is None:
        return None
    bare = model_id[geography.end() :]
    for other in (bare, f"global.{bare}"):
        facts = tables[0].get(other)
        if facts is not None:
            certain = geography[1] == "us" and other == bare and not bare.startswith("anthropic.")
            return facts if certain else replace(facts, price=None)
    return None


def price_of(model: Model, region: str | None = None) -> Price | None:
    """What `model` costs: nothing when embedded, the manifest's price, the table's, or None when nobody says.

    `region` is where a Bedrock model is called that names no region itself.
    """
    if model.provider in EMBEDDED:
        return FREE
    if model.price_per_million_tokens is not None:
        return _of_manifest(model.price_per_million_tokens)
    facts = facts_of(model.provider, model.id or "")
    if facts is None or (model.provider == "bedrock" and not _priced_in(model.region or region, model.id or "")):
        return None
    return facts.price


def _priced_in(region: str | None, model_id: str) -> bool:
    # A global profile, and the European ones of Anthropic's models, cost the same wherever they are called from; of
    # everything else the table has the prices of one region only.
    return region == "us-east-1" or model_id.startswith(("global.", "eu.anthropic."))


def table_version() -> str:
    """The version of the table, which stands in each of its prices."""
    version: str = _document()["version"]
    return version


def table() -> Mapping[str, Mapping[str, Facts]]:
    """The whole table: facts by provider and id."""
    return _table()


def _of_manifest(prices: Prices) -> Price:
    def micros(name: str) -> int | None:
        money = getattr(prices, name)
        return None if money is None else money.usd_micros

    return Price(
        prices.prompt.usd_micros,
        prices.completion.usd_micros,
        micros("cache_read"),
        micros("cache_write"),
        micros("cache_write_1h"),
        version="manifest",
    )


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("prices.toml").read_text("utf-8"))


@cache
def _table() -> Mapping[str, Mapping[str, Facts]]:
    document = _document()
    tables: dict[str, dict[str, Facts]] = {}
    for group in document["group"]:
        entries = tables.setdefault(group["provider"], {})
        for model_id, entry in group["models"].items():
            entries[model_id] = Facts(
                price=_price(entry, document["version"]),
                context_tokens=entry.get("context_tokens"),
                max_output_tokens=entry.get("max_output_tokens"),
                image_tokens=entry.get("image_tokens"),
                source=group["source"],
                as_of=group["as_of"],
            )
    return tables


def _price(entry: Mapping[str, Any], version: str) -> Price:
    def micros(name: str) -> int | None:
        text = entry.get(name)
        return None if text is None else parse_usd_micros(text)

    long = entry.get("long")
    return Price(
        micros("prompt") or 0,
        micros("completion") or 0,
        micros("cache_read"),
        micros("cache_write"),
        micros("cache_write_1h"),
        version=version,
        long_from_tokens=None if long is None else long["from_tokens"],
        long=None if long is None else _price(long, version),
    )
