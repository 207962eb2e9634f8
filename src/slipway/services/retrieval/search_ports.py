"""What search reads: a view of one tenant's chunks within one transaction."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from slipway.base.callers import Caller
from slipway.services.retrieval.search_models import Extent, Found, Numbers, Postings, Scores, Vector


class View(Protocol):
    """One tenant's chunks as one transaction sees them."""

    async def extent(self, query: str, collection: str | None) -> Extent:
        """What there is to search; raises NotFound when there is no such collection."""
        ...

    async def candidates(self, extent: Extent, query: Vector, depth: int) -> tuple[list[Postings], Numbers, Scores]:
        """The postings of the query's lexemes, and the `depth` nearest chunks by cosine, nearest first."""
        ...

    async def chunks(self, numbers: Sequence[int], query: Vector) -> list[Found]:
        """These chunks with their cosine to the query, in the order asked."""
        ...


class Views(Protocol):
    """Opens views."""

    def __call__(self, caller: Caller) -> AbstractAsyncContextManager[View]: ...
