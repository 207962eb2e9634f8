"""The routes of search and collections."""

from typing import Annotated

from fastapi import Path as InPath

from slipway.api.documents import Collection, CollectionRequest, SearchRequest, SearchResponse
from slipway.api.wire import Identifier, Page
from slipway.base.callers import Scope
from slipway.base.errors import Conflict, DeadlineExceeded, LimitExceeded, NotFound, UpstreamFailed
from slipway.runtime.http.routes import CallerOf, Routes
from slipway.services.retrieval.collections_service import Collections
from slipway.services.retrieval.search import Search

Name = Annotated[Identifier, InPath(description="The collection's name.")]


def search_routes(search: Search, collections: Collections) -> Routes:
    """`/v1/search` and `/v1/collections`."""
    routes = Routes("search")

    @routes.add(
        "POST",
        "/v1/search",
        access=Scope.SEARCH_USE,
        response=SearchResponse,
        errors=(NotFound, LimitExceeded, UpstreamFailed, DeadlineExceeded),
    )
    async def search_run(request: SearchRequest, caller: CallerOf) -> SearchResponse:
        """Finds the passages that answer a query best, by meaning and by words."""
        return await search.search(caller, request)

    @routes.add("GET", "/v1/collections", access=Scope.DOCUMENTS_READ, response=Page[Collection])
    async def collection_list(caller: CallerOf) -> Page[Collection]:
        """Lists the tenant's collections with how much can be searched in each."""
        return await collections.collection_list(caller)

    @routes.add(
        "POST",
        "/v1/collections",
        access=Scope.DOCUMENTS_WRITE,
        status=201,
        response=Collection,
        errors=(Conflict,),
    )
    async def collection_create(request: CollectionRequest, caller: CallerOf) -> Collection:
        """Creates an empty collection."""
        return await collections.collection_create(caller, request)

    @routes.add(
        "DELETE", "/v1/collections/{name}", access=Scope.DOCUMENTS_WRITE, status=204, errors=(NotFound, Conflict)
    )
    async def collection_delete(name: Name, caller: CallerOf) -> None:
        """Deletes a collection that has no documents."""
        await collections.collection_delete(caller, name)

    return routes
