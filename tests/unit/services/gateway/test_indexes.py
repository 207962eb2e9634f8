"""A provider's odd index fails its answer, on every wire, so that a fallback is asked; it is no defect of ours."""

from typing import Any

import pytest

from slipway.base.errors import UpstreamFailed
from slipway.services.gateway.models import CallerWire, WireName
from slipway.services.gateway.relay import stream_relay


def events(wire: WireName, index: Any) -> list[dict[str, Any]]:
    if wire == "openai":
        call = {"id": None, "index": index, "function": {"arguments": "{"}}
        return [
            {"choices": [{"index": index, "delta": {"content": "x"}}]},
            {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        ]
    if wire == "anthropic":
        block = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
        return [{"type": "content_block_start", "index": index, "content_block": block}]
    return [{"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}}}]


PAIRS = [("openai", "openai"), ("anthropic", "openai"), ("openai", "anthropic"), ("openai", "converse")]


@pytest.mark.parametrize(("caller", "provider"), PAIRS)
@pytest.mark.parametrize("index", [[], {}, 0.0, True, "0"])
def test_an_odd_index_is_the_providers_failure(caller: CallerWire, provider: WireName, index: Any) -> None:
    for event in events(provider, index):
        relay = stream_relay(caller, provider, model="m", include_usage=False, request_id="r", redacted=str)
        with pytest.raises(UpstreamFailed, match="no whole number") as failed:
            relay.take(event)
        assert failed.value.effect_unknown


def test_an_index_of_null_counts_as_none() -> None:
    for event in events("openai", None):
        relay = stream_relay("openai", "openai", model="m", include_usage=False, request_id="r", redacted=str)
        assert b'"index":0' in relay.take(event)
