"""Which models this gateway serves, by the name that callers use; made once from the manifest by `wiring`.

`default` stands for the manifest's default model of the operation. A name that is not here is refused, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from slipway.services.gateway.models import FREE, InvalidParameter, ModelNotFound, Operation, Price
from slipway.services.gateway.ports import ChatProvider, EmbeddingProvider

DEFAULT = "default"


@dataclass(frozen=True)
class ServedModel:
    """One model and who answers for it: `chat` or `embeddings`, whichever it does."""

    name: str
    provider: str
    chat: ChatProvider | None = None
    embeddings: EmbeddingProvider | None = None
    price: Price = FREE
    fallback: tuple[str, ...] = ()

    def does(self, operation: Operation) -> bool:
        """Whether it serves `operation`."""
        return (self.chat if operation == "chat.completions" else self.embeddings) is not None


class Directory:
    """The served models."""

    def __init__(self, models: Mapping[str, ServedModel], *, default_chat: str, default_embeddings: str) -> None:
        self._models = dict(models)
        self._defaults: dict[Operation, str] = {"chat.completions": default_chat, "embeddings": default_embeddings}

    def names(self) -> list[str]:
        """Every name, in the manifest's order."""
        return list(self._models)

    def model(self, name: str) -> ServedModel:
        """The model of that name; raises ModelNotFound."""
        served = self._models.get(name)
        if served is None:
            raise ModelNotFound(name)
        return served

    def candidates(self, name: str, operation: Operation) -> list[ServedModel]:
        """The model of that name, then those that stand in for it, each once.

        Raises ModelNotFound, or InvalidParameter for a model that does not do `operation`.
        """
        served = self.model(self._defaults[operation] if name == DEFAULT and DEFAULT not in self._models else name)
        if not served.does(operation):
            other = "/v1/embeddings" if operation == "chat.completions" else "/v1/chat/completions"
            raise InvalidParameter("model", f"The model {served.name!r} does not do this: it is for {other}.")
        if not served.fallback:
            return [served]
        known = [self._models[name] for name in served.fallback if name in self._models]
        return list({model.name: model for model in [served, *known] if model.does(operation)}.values())
