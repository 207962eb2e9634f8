# ruff: noqa: ARG002 - every call of a port takes its caller
"""Stands for a provider that the manifest names and this gateway does not reach: refuses by name, fallbacks serve."""

from collections.abc import AsyncGenerator
from typing import Any, NoReturn

from slipway.base.callers import Caller
from slipway.base.errors import Unavailable
from slipway.services.gateway.models import ChatRequest, Completion, EmbeddingRequest, Embeddings


class AbsentProvider:
    """Implements ChatProvider and EmbeddingProvider by refusing."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    async def complete(self, caller: Caller, request: ChatRequest) -> Completion:
        self._refuse(request.model)

    async def stream(self, caller: Caller, request: ChatRequest) -> AsyncGenerator[dict[str, Any], None]:
        self._refuse(request.model)
        yield {}  # makes this a generator; never reached

    async def embed(self, caller: Caller, request: EmbeddingRequest) -> Embeddings:
        self._refuse(request.model)

    def _refuse(self, model: str) -> NoReturn:
        raise Unavailable(
            f"The model {model!r} is served by the provider {self._provider!r}, which this gateway does not reach.",
            retryable=True,
        )
