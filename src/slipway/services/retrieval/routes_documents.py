"""The routes of documents and of their uploads.

A form may be as large as a document may be; the credential is checked before a byte of it is read. Behind a front door
that takes less (10 MB on AWS) a presigned upload goes around it, here as there.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Path as InPath
from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse

from slipway.api.documents import Document, DocumentStatus, DocumentText, Upload, UploadRequest
from slipway.api.wire import Identifier, Page, cursor_of
from slipway.base.callers import Caller, Scope
from slipway.base.clock import Clock
from slipway.base.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    SlipwayError,
    StorageFull,
    TooLarge,
    UnsupportedType,
)
from slipway.runtime.http.routes import CallerOf, Open, Routes
from slipway.runtime.objects import Objects
from slipway.runtime.objects.stores import UPLOAD_PATH
from slipway.runtime.objects.upload_tokens import UploadTokens
from slipway.services.retrieval.documents import Documents
from slipway.services.retrieval.models import FORM_OVERHEAD_BYTES, MAX_DOCUMENT_BYTES
from slipway.services.retrieval.uploads import Uploads
from slipway.services.retrieval.uploads_form import UploadForm

Id = Annotated[Identifier, InPath(description="The document's id.")]

_HEARTBEATS_EVERY_S: Final = 10.0  # without news: proxies close what is silent for a minute
_DRAIN_S: Final = 10.0
_TAKEN: Final = "A file was uploaded here already: ask for another URL."
_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "collection": {"type": "string", "default": "default"},
                    },
                }
            }
        },
    }
}
_BYTES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def document_routes(documents: Documents, uploads: Uploads) -> Routes:
    """`/v1/documents` and what is below it."""
    routes = Routes("documents")

    @routes.add(
        "POST",
        "/v1/documents",
        access=Scope.DOCUMENTS_WRITE,
        status=202,
        response=Document,
        errors=(NotFound, TooLarge, UnsupportedType, StorageFull, Conflict),
        max_body_bytes=MAX_DOCUMENT_BYTES + FORM_OVERHEAD_BYTES,
        openapi_extra=_FORM,
        responses={200: {"model": Document, "description": "This content is there already; nothing was added."}},
    )
    async def document_add(request: Request, response: Response, caller: CallerOf) -> Document:
        """Adds a file and begins its ingestion. The same content twice in a collection is one document."""
        stream = request.stream()
        try:
            form = UploadForm(request.headers.get("content-type", ""), stream)
            document_id, fresh = await uploads.add(caller, form)
        except TooLarge:
            raise
        except SlipwayError:
            await _drain(stream)
            raise
        if not fresh:
            response.status_code = 200
        return await documents.document_view(caller, document_id)

    @routes.add("GET", "/v1/documents", access=Scope.DOCUMENTS_READ, response=Page[Document])
    async def document_list(
        caller: CallerOf,
        collection: Annotated[Identifier | None, Query()] = None,
        status: Annotated[DocumentStatus | None, Query()] = None,
        cursor: Annotated[Identifier | None, Query(description="`next` of the page before."), cursor_of("doc")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Page[Document]:
        """Lists the tenant's documents, newest first."""
        return await documents.document_list(caller, collection=collection, status=status, cursor=cursor, limit=limit)

    @routes.add(
        "POST",
        "/v1/documents/uploads",
        access=Scope.DOCUMENTS_WRITE,
        status=201,
        response=Upload,
        errors=(NotFound, TooLarge),
    )
    async def document_upload(body: UploadRequest, caller: CallerOf) -> Upload:
        """Gives a URL to PUT a file to; its ingestion begins by itself once the file is there."""
        return await uploads.announce(caller, body)

    @routes.add(
        "GET", "/v1/documents/{document_id}", access=Scope.DOCUMENTS_READ, response=Document, errors=(NotFound,)
    )
    async def document_view(document_id: Id, caller: CallerOf) -> Document:
        """Shows a document and how far its ingestion is."""
        return await documents.document_view(caller, document_id)

    @routes.add("DELETE", "/v1/documents/{document_id}", access=Scope.DOCUMENTS_WRITE, status=204, errors=(NotFound,))
    async def document_delete(document_id: Id, caller: CallerOf) -> None:
        """Deletes a document, its file, text and chunks; one that is being processed is stopped."""
        await documents.document_delete(caller, document_id)

    _add_reading(routes, documents)
    return routes


def _add_reading(routes: Routes, documents: Documents) -> None:
    @routes.add(
        "GET",
        "/v1/documents/{document_id}/text",
        access=Scope.DOCUMENTS_READ,
        response=DocumentText,
        errors=(NotFound, Conflict),
    )
    async def document_text(
        document_id: Id,
        caller: CallerOf,
        start: Annotated[int, Query(ge=0)] = 0,
        end: Annotated[int | None, Query(ge=0)] = None,
    ) -> DocumentText:
        """Shows the extracted text, or a span of it, so that anyone can check a quote; a million characters at most."""
        return await documents.document_text(caller, document_id, start, end)

    @routes.add(
        "GET",
        "/v1/documents/{document_id}/content",
        access=Scope.DOCUMENTS_READ,
        errors=(NotFound,),
        response_class=StreamingResponse,
    )
    async def document_content(document_id: Id, caller: CallerOf) -> StreamingResponse:
        """Sends the file as it was added."""
        document, content = await documents.document_content(caller, document_id)
        return StreamingResponse(
            content,
            media_type=document.media_type,
            headers={
                # Never shown in place: an HTML file of a tenant must not run on the platform's own address.
                "content-disposition": f"attachment; filename*=UTF-8''{quote(document.file_name, safe='')}",
                "content-length": str(document.size_bytes),
                "x-content-type-options": "nosniff",
            },
        )

    @routes.add(
        "GET",
        "/v1/documents/{document_id}/events",
        access=Scope.DOCUMENTS_READ,
        errors=(NotFound,),
        response_class=StreamingResponse,
    )
    async def document_events(document_id: Id, request: Request, caller: CallerOf) -> StreamingResponse:
        """Streams progress as server-sent events.

        `step` carries the document whenever it changed, and `ready` or `failed` ends the stream.

        A listener that comes back with `Last-Event-ID` is told only what it has not seen.
        """
        document = await documents.document_view(caller, document_id)
        events = _events(documents, caller, document, request.headers.get("last-event-id"))
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _events(
    documents: Documents, caller: Caller, document: Document, last_seen: str | None
) -> AsyncIterator[str]:
    sent_s = time.monotonic()
    async for news in documents.document_events(caller, document):
        if news is None:
            if time.monotonic() - sent_s >= _HEARTBEATS_EVERY_S:
                sent_s = time.monotonic()
                yield ": still working\n\n"
            continue
        sent_s = time.monotonic()
        name = news.status if news.status in {"ready", "failed"} else "step"
        event_id = _event_id(news)
        if event_id != last_seen or name != "step":
            yield f"id: {event_id}\nevent: {name}\ndata: {news.model_dump_json()}\n\n"


def _event_id(document: Document) -> str:
    """How far the document is, in short: the same state has the same id."""
    return f"{document.status}." + ".".join(f"{step.name}-{step.status}-{step.done}" for step in document.steps)


def object_routes(objects: Objects, tokens: UploadTokens, uploads: Uploads, clock: Clock) -> Routes:
    """Where the presigned URLs of the folder store lead; on S3 they lead to S3."""
    routes = Routes("objects")

    @routes.add(
        "PUT",
        f"{UPLOAD_PATH}/{{token}}",
        access=Open("the signed token in the path is the credential: one object, its size, its expiry"),
        errors=(Forbidden, Conflict, StorageFull),
        max_body_bytes=MAX_DOCUMENT_BYTES,
        openapi_extra=_BYTES,
        response_class=Response,
    )
    async def object_put(token: str, request: Request) -> Response:
        """Takes the bytes of one announced upload."""
        grant = tokens.verify(token, clock.now())
        caller = Caller(grant.tenant_id, "upload", frozenset())
        length = request.headers.get("content-length")
        if length is not None and length != str(grant.size_bytes):
            raise InvalidRequest(f"This URL takes exactly {grant.size_bytes:,} bytes.")
        upload_id = grant.key.split("/")[1]
        if await uploads.is_known(caller, upload_id):
            raise Conflict(_TAKEN)
        pieces = _announced(request, grant.size_bytes, uploads, caller, upload_id)
        await objects.put(caller, grant.key, pieces, max_bytes=grant.size_bytes)
        with contextlib.suppress(Conflict):  # the watcher was first
            await uploads.arrive(caller, upload_id)
        return Response(status_code=200)

    return routes


async def _announced(
    request: Request, size_bytes: int, uploads: Uploads, caller: Caller, upload_id: str
) -> AsyncIterator[bytes]:
    received_bytes = 0
    async for piece in request.stream():
        received_bytes += len(piece)
        yield piece
    if received_bytes != size_bytes:
        raise InvalidRequest(f"{received_bytes:,} bytes arrived where {size_bytes:,} were announced.")
    # Again, now that all is there: a slower PUT must not replace the file that a faster one made a document of.
    if await uploads.is_known(caller, upload_id):
        raise Conflict(_TAKEN)


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Reads what is still coming, so that a sender in full flow gets to read why it was refused."""
    with contextlib.suppress(TimeoutError, SlipwayError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in stream:
                pass
