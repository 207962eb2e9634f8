"""What search reads: a view of one tenant's chunks within one transaction."""

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from slipway.base.callers import Caller
from slipway.services.retrieval.search_models import Extent, Found, Numbers, Postings, Scores, Vector

# Numbers and cosines, nearest first. They are being found while the one who asked works on the postings.
Nearest = Awaitable[tuple[Numbers, Scores]]


class View(Protocol):
    """One tenant's chunks as one transaction sees them."""

    async def extent(self, query: str, collection: str | None) -> Extent:
        """What there is to search; raises NotFound when there is no such collection."""
        ...

    def candidates(
        self, extent: Extent, query: Vector, depth: int
    ) -> AbstractAsyncContextManager[tuple[list[Postings], Nearest]]:
        """The postings of the query's lexemes, and what waits for the `depth` nearest chunks by cosine."""
        ...

    async def chunks(self, numbers: Sequence[int], query: Vector) -> list[Found]:
        """These chunks with their cosine to the query, in the order asked."""
        ...


class Views(Protocol):
    """Opens views."""

    def __call__(self, caller: Caller) -> AbstractAsyncContextManager[View]: ...
