"""Which models this gateway serves, by the name that callers use; made once from the manifest by `wiring`.

`default` stands for the manifest's default model of the operation. A name that is not here is refused, never guessed.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from slipway.runtime.limits import Limit
from slipway.services.gateway.bounds import ModelFacts
from slipway.services.gateway.health import Health
from slipway.services.gateway.models import FREE, InvalidParameter, ModelNotFound, Price, Tokens
from slipway.services.gateway.ports import ChatProvider, EmbeddingProvider

DEFAULT: Final = "default"
UNKNOWN: Final = ModelFacts()
Kind = Literal["chat", "embeddings"]
_NOTHING: Final = Tokens(0)
_NO_DEADLINE: Final = float("inf")


@dataclass(frozen=True)
class ServedModel:
    """One model and who answers for it: `chat` or `embeddings`, whichever it does.

    One with `weights` answers nothing itself: it stands for the models that they name, each in its share of requests.
    """

    name: str
    provider: str
    health: Health
    chat: ChatProvider | None = None
    embeddings: EmbeddingProvider | None = None
    price: Price = FREE
    facts: ModelFacts = UNKNOWN
    fallback: tuple[str, ...] = ()
    weights: Mapping[str, int] = field(default_factory=dict)
    limit: Limit | None = None
    deadline_s: float = _NO_DEADLINE  # of all attempts at it together

    @cached_property
    def price_text(self) -> str:
        """Its prices as usage rows keep them."""
        return self.price.text(_NOTHING)

    @cached_property
    def is_free(self) -> bool:
        """Whether nothing of it costs anything."""
        return self.price.is_free

    def does(self, kind: Kind) -> bool:
        """Whether it answers requests of `kind` itself."""
        return (self.chat if kind == "chat" else self.embeddings) is not None


class Directory:
    """The served models."""

    def __init__(self, models: Mapping[str, ServedModel], *, default_chat: str, default_embeddings: str) -> None:
        self._models = dict(models)
        self._defaults: dict[Kind, str] = {"chat": default_chat, "embeddings": default_embeddings}
        self._fixed: dict[tuple[str, Kind], list[ServedModel]] = {}

    def names(self) -> list[str]:
        """Every name, in the manifest's order."""
        return list(self._models)

    def models(self) -> list[ServedModel]:
        """Every model, in the manifest's order."""
        return list(self._models.values())

    def model(self, name: str) -> ServedModel:
        """The model of that name; raises ModelNotFound."""
        served = self._models.get(name)
        if served is None:
            raise ModelNotFound(name)
        return served

    def candidates(self, name: str, kind: Kind) -> list[ServedModel]:
        """Who answers, in the order of asking: the model of that name or those it balances, then what stands in.

        Raises ModelNotFound, or InvalidParameter for a model that does not do `kind`.
        """
        found = self._fixed.get((name, kind))
        if found is not None:
            return found
        served = self.model(self._defaults[kind] if name == DEFAULT and DEFAULT not in self._models else name)
        found = self._expanded(served, kind)
        if not found:
            other = "/v1/embeddings" if kind == "chat" else "/v1/chat/completions or /v1/messages"
            raise InvalidParameter("model", f"The model {served.name!r} does not do this: it is for {other}.")
        if not any(self._models[model].weights for model in (served.name, *served.fallback) if model in self._models):
            self._fixed[(name, kind)] = found
        return found

    def _expanded(self, served: ServedModel, kind: Kind) -> list[ServedModel]:
        found: dict[str, ServedModel] = {}
        for name in (served.name, *served.fallback):
            model = self._models.get(name)
            if model is None:
                continue
            members = [self._models[member] for member in drawn(model.weights)] if model.weights else [model]
            found |= {member.name: member for member in members if member.does(kind) and member.name not in found}
        return list(found.values())


def drawn(weights: Mapping[str, int]) -> Sequence[str]:
    """The names in a random order in which each comes first as often as its weight says."""
    left = dict(weights)
    order: list[str] = []
    while left:
        name = random.choices(list(left), list(left.values()))[0]  # noqa: S311 - a share of load, no secret
        order.append(name)
        del left[name]
    return order
