"""Words and limits of documents and uploads, shared by the modules of this slice."""

from dataclasses import dataclass
from typing import Final

from slipway.base.callers import Caller
from slipway.services.retrieval.extraction.models import MAX_BYTES

MAX_DOCUMENT_BYTES: Final = MAX_BYTES  # by any way in: multipart or presigned
FORM_OVERHEAD_BYTES: Final = 1024 * 1024  # the multipart frame and its small fields; far more than they need
UPLOAD_EXPIRES_S: Final = 3600
STEP_UNITS: Final = {"extract": "pages", "chunk": "chunks", "embed": "chunks", "store": "document"}
DEFAULT_COLLECTION: Final = "default"


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A file whose bytes are stored and known, before it is a document."""

    id: str
    collection: str
    file_name: str
    media_type: str
    declared_type: str | None
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """Bytes on their way: announced by a presigned URL, or arriving right now."""

    caller: Caller
    id: str
    collection: str
    file_name: str
    declared_type: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """What the steps of ingestion need to know of a document."""

    collection: str
    title: str
    file_name: str
    declared_type: str | None
    text_key: str | None


def original_key(document_id: str) -> str:
    """Where the file itself is kept."""
    return f"{folder_of(document_id)}/original"


def text_key(document_id: str, fence: str) -> str:
    """Where a run of the extraction keeps its text: no other run writes there, so a late one harms nothing."""
    return f"{folder_of(document_id)}/text-{fence}"


def folder_of(document_id: str) -> str:
    """Where all objects of a document are kept."""
    return f"documents/{document_id}"
