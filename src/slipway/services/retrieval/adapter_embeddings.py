"""Vectors from the gateway, over its public API, on somebody's behalf: for queries and for documents."""

from collections.abc import Sequence

from slipway.api.client import Client
from slipway.base.callers import Caller, Scope
from slipway.base.errors import UpstreamFailed
from slipway.runtime.authentication.internal import InternalTokens


class Embeddings:
    """Embeds texts with one model of the gateway, charged to the caller's tenant."""

    def __init__(self, gateway: Client, tokens: InternalTokens, model: str) -> None:
        self._gateway = gateway
        self._tokens = tokens
        self._model = model

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:
        """One vector a text, each as little-endian float32 in bytes; retryable errors while the gateway is away."""
        if not texts:
            return []

        def credential() -> str:
            return self._tokens.mint(caller, {Scope.MODELS_USE}, actor="retrieval")

        vectors = await self._gateway.acting(credential).embeddings(texts, self._model)
        if len(vectors) != len(texts):
            raise UpstreamFailed(
                "The embedding model gave an answer that does not fit the question.",
                detail=f"{len(vectors)} vectors for {len(texts)} texts",
            )
        return vectors
