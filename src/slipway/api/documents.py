"""Wire types of documents, collections and search (the retrieval service)."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from slipway.api.wire import Identifier, Request, Response

DocumentStatus = Literal["queued", "processing", "ready", "failed"]
StepStatus = Literal["pending", "running", "done", "failed"]


class Failure(Response):
    """Why a document could not be made searchable, in words for its owner."""

    code: str
    message: str


class Step(Response):
    """One step of ingestion; `done` and `total` count pages, chunks or 1, as `unit` says."""

    name: str = Field(description="`extract`, `chunk`, `embed`, `store`; a newer server may have others.")
    status: StepStatus
    done: int = 0
    total: int | None = None
    unit: Literal["pages", "chunks", "document"] = "document"


class Document(Response):
    """A document and how far its ingestion is; of a presigned upload that has not arrived `sha256` is not known."""

    id: str
    title: str
    file_name: str
    media_type: str
    size_bytes: int
    sha256: str | None
    collection: str
    status: DocumentStatus
    steps: list[Step]
    page_count: int | None = None
    chunk_count: int | None = None
    error: Failure | None = None
    created_at: datetime
    ready_at: datetime | None = None


class DocumentText(Response):
    """The extracted text of a document, or a span of it; every `start` and `end` counts characters of this text."""

    document_id: str
    start: int
    end: int
    text: str


class UploadRequest(Request):
    """Ask for a URL to PUT a file to, for files above what an API's front door lets through."""

    file_name: str = Field(min_length=1, max_length=255)
    size_bytes: int = Field(gt=0)
    media_type: str | None = Field(default=None, max_length=127)
    collection: Identifier = "default"


class Upload(Response):
    """Where to PUT the bytes, with which headers, until when. Ingestion starts by itself once the object is there."""

    document_id: str
    url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str]
    expires_at: datetime


class CollectionRequest(Request):
    """A new collection: a named part of a tenant's documents."""

    name: str = Field(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9_\-]*$")
    description: str = Field(default="", max_length=500)


class Collection(Response):
    """A collection and how much is in it."""

    name: str
    description: str
    document_count: int
    chunk_count: int
    created_at: datetime


class SearchRequest(Request):
    """A question to the tenant's chunks; without `collection` all of them are searched."""

    query: str = Field(min_length=1, max_length=8_000)
    limit: int = Field(default=10, ge=1, le=100)
    collection: Identifier | None = None


class SearchResult(Response):
    """A chunk: `text` is exactly the characters `start` to `end` of the document; `score` orders one answer's results.

    `similarity` is the cosine of query and chunk embeddings where the dense ranking found it, for judging relevance.
    """

    document_id: str
    chunk_id: str
    title: str
    page: int
    start: int
    end: int
    text: str
    score: float
    similarity: float | None = None


class SearchResponse(Response):
    """Results, best first."""

    results: list[SearchResult]
