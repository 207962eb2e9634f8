"""What search needs: a vector for the query, and a view of one tenant's chunks within one transaction."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from slipway.base.callers import Caller
from slipway.services.retrieval.search_models import Found, Numbers, Postings, Scope, Scores, Vector


class View(Protocol):
    """One tenant's chunks as one transaction sees them."""

    async def scope(self, query: str, collection: str | None) -> Scope:
        """What there is to search; raises NotFound when there is no such collection."""
        ...

    async def candidates(self, scope: Scope, query: Vector, depth: int) -> tuple[list[Postings], Numbers, Scores]:
        """The postings of the query's lexemes, and the `depth` nearest chunks by cosine, nearest first."""
        ...

    async def similarities(self, numbers: Numbers, query: Vector) -> dict[int, float]:
        """The cosine of each of these chunks that is there."""
        ...

    async def chunks(self, numbers: Sequence[int]) -> list[Found]:
        """These chunks, in the order asked."""
        ...


class Views(Protocol):
    """Opens views."""

    def __call__(self, caller: Caller) -> AbstractAsyncContextManager[View]: ...


class QueryEmbedder(Protocol):
    """Turns texts into vectors, on somebody's behalf and account."""

    async def embed(self, caller: Caller, texts: Sequence[str]) -> list[bytes]:
        """One vector a text, each as little-endian float32[384] in bytes."""
        ...
