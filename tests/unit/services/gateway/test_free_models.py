"""What costs nothing needs no bound under a budget of money alone, and the embedded models have bounds of their own."""

from datetime import UTC, datetime
from typing import Any

import pytest

from slipway.base.callers import Caller
from slipway.base.clock import SystemClock
from slipway.manifest.sections.models import Model
from slipway.services.gateway.admission import Terms
from slipway.services.gateway.attempts import Policy
from slipway.services.gateway.bodies import Bodies
from slipway.services.gateway.bounds import ModelFacts
from slipway.services.gateway.directory import Directory, ServedModel
from slipway.services.gateway.health import Health
from slipway.services.gateway.lease_models import Account as Budget
from slipway.services.gateway.lease_models import Unit
from slipway.services.gateway.models import FREE, ChatRequest, InvalidParameter, Price
from slipway.services.gateway.service import Gateway
from slipway.services.gateway.wiring_models import _facts

pytestmark = pytest.mark.anyio
CALLER = Caller("ten_x", "usr_x", frozenset())
RESETS = datetime(2999, 12, 1, tzinfo=UTC)
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


class Provider:
    wire = "openai"
    model_id = "m"


async def bounds(price: Price, *units: Unit, facts: ModelFacts = ModelFacts()) -> Any:  # noqa: B008
    model = ServedModel("m", "openai", Health(SystemClock(), "m"), chat=Provider(), price=price, facts=facts)  # type: ignore[arg-type]
    directory = Directory({"m": model}, default_chat="m", default_embeddings="m")
    gateway = Gateway(directory, None, None, Policy())  # type: ignore[arg-type]
    budgets = tuple(Budget(unit, "ten_x", unit, 10**6, RESETS) for unit in units)
    terms = Terms(None, RESETS, (), 0, (), budgets, None, "usd_micros" in units)  # type: ignore[arg-type]
    seen: list[Any] = []

    async def accepted(*given: Any) -> None:
        seen.append(given[-1])

    gateway._accepted = accepted  # type: ignore[assignment, method-assign]
    request = ChatRequest("openai", "m", BODY, 60)
    await gateway._chat_accepted(CALLER, terms, "req_1", request, Bodies(request, None))
    return seen[0][0][1]


async def test_only_what_costs_or_counts_needs_a_bound() -> None:
    assert (await bounds(FREE, "usd_micros")).usd_micros(FREE) == 0
    for price, units in ((Price(1, 1), ("usd_micros",)), (FREE, ("tokens",)), (FREE, ("usd_micros", "tokens"))):
        with pytest.raises(InvalidParameter, match="how much this model may write"):
            await bounds(price, *units)


async def test_the_embedded_models_have_bounds_of_their_own() -> None:
    facts = _facts(Model(provider="extractive"))
    assert (await bounds(FREE, "tokens", facts=facts)).completion_tokens == facts.max_output_tokens
    assert _facts(Model(provider="minilm")).context_tokens == 256
