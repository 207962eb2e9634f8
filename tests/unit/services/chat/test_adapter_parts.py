"""What chat takes from the gateway's stream."""

from typing import Any

import pytest

from slipway.api.transport import Event
from slipway.services.chat.adapter_parts import _pieces
from slipway.services.chat.models import Spent


@pytest.mark.parametrize(("named", "told"), [({"model": "stands-in"}, "stands-in"), ({}, "asked-for")])
def test_the_model_that_is_told_is_the_one_that_answered(named: dict[str, Any], told: str):
    chunk = named | {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost_usd_micros": 1}}
    assert _pieces(Event("message", chunk), "asked-for") == [
        Spent(model=told, prompt_tokens=3, completion_tokens=2, cost_usd_micros=1)
    ]
