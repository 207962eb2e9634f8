"""Documents as their owners see them: one, a page of them, their text, how their ingestion goes, and their end.

Called by the routes. It refuses nothing but what is not there: a document of another tenant is not there.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from slipway.api.documents import Document, DocumentStatus, DocumentText
from slipway.api.wire import Page
from slipway.base.callers import Caller
from slipway.base.errors import Conflict, NotFound, SlipwayError
from slipway.runtime import workflows
from slipway.runtime.database import Connection, Database
from slipway.runtime.objects import Objects
from slipway.runtime.workflows import LEASE_S, Commit, Execution, Step, Workflow
from slipway.services.retrieval import documents_rows as rows
from slipway.services.retrieval import uploads_rows as uploads
from slipway.services.retrieval.documents_text import TextCache
from slipway.services.retrieval.models import folder_of, original_key
from slipway.services.retrieval.ports import ChunkStore

_log = logging.getLogger(__name__)

_ABSENT: Final = "There is no such document."
# How often progress is read for a listener: less and less while there is none, since every listener asks the database
# (600 who waited with one pause of 0.3 s held up each request of every tenant for a second, 2026-11-21).
_LOOK_S: Final = 0.3
_LOOK_SELDOM_S: Final = 3.0
_MAX_TEXT_CHARS: Final = 1_000_000  # of one answer; the next one begins at its `end`
# By then a worker that was stopped in the middle of writing a text has lost its lease and noticed it.
_REMOVAL_DELAY_S: Final = 3 * LEASE_S


class Documents:
    """The documents of a tenant."""

    def __init__(
        self, database: Database, objects: Objects, chunks: ChunkStore, texts: TextCache, begun: Callable[[], None]
    ) -> None:
        self._database = database
        self._objects = objects
        self._chunks = chunks
        self._texts = texts
        self._begun = begun
        self.removal = Workflow("document_removal", (Step("objects", self._remove_objects),))

    async def document_view(self, caller: Caller, document_id: str) -> Document:
        """The document, or the upload that will be one; raises NotFound."""
        async with self._database.transaction(caller) as connection:
            document = await rows.view(connection, caller, document_id)
            # An upload may become a document between two of these reads, each of which sees what is committed by then:
            # what it was is looked for before what it became, or neither would be found.
            if document is None:
                document = await uploads.view(connection, caller, document_id)
            if document is None:
                became = await uploads.other_name(connection, caller, document_id)
                document = await rows.view(connection, caller, became or document_id)
        if document is None:
            raise NotFound(_ABSENT)
        return document

    async def document_list(
        self,
        caller: Caller,
        *,
        collection: str | None,
        status: DocumentStatus | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Document]:
        """Newest first."""
        async with self._database.transaction(caller) as connection:
            found = await rows.page(
                connection, caller, collection=collection, status=status, before=cursor, limit=limit + 1
            )
        return Page.of(found, limit, lambda document: document.id)

    async def document_text(self, caller: Caller, document_id: str, start: int, end: int | None) -> DocumentText:
        """Characters `start` to `end`, cut to the text and to a million; NotFound, Conflict before it is extracted."""
        document = await self.document_view(caller, document_id)
        async with self._database.transaction(caller) as connection:
            source = await rows.source(connection, caller, document.id)
        if source is None or source.text_key is None:
            raise Conflict("The text of this document is not extracted yet: wait until it is ready.")
        text = await self._texts.text(caller, source.text_key)
        start = min(start, len(text))
        end = max(start, min(len(text) if end is None else end, len(text), start + _MAX_TEXT_CHARS))
        return DocumentText(document_id=document.id, start=start, end=end, text=text[start:end])

    async def document_content(self, caller: Caller, document_id: str) -> tuple[Document, AsyncIterator[bytes]]:
        """The file as it was added; raises NotFound."""
        document = await self.document_view(caller, document_id)
        if await self._objects.stat(caller, original_key(document.id)) is None:
            raise NotFound("The file of this document has not arrived yet.")
        return document, self._objects.read(caller, original_key(document.id))

    async def document_events(self, caller: Caller, document: Document) -> AsyncIterator[Document | None]:
        """The document now and whenever something changed, to its end; None each time nothing did."""
        yield document
        pause_s = _LOOK_S
        while document.status not in {"ready", "failed"}:
            await asyncio.sleep(pause_s)
            try:
                current = await self.document_view(caller, document.id)
            except NotFound:
                return
            yield None if current == document else current
            pause_s = min(pause_s * 1.2, _LOOK_SELDOM_S) if current == document else _LOOK_S
            document = current

    async def document_delete(self, caller: Caller, document_id: str) -> None:
        """Ends its ingestion and removes it with its chunks at once, its objects as soon as the store lets us.

        Raises NotFound.
        """
        async with self._database.transaction(caller) as connection:
            document_id = await uploads.other_name(connection, caller, document_id) or document_id
            # First of all, and in the order in which a step's commit locks: after this no step commits any more.
            await workflows.remove(connection, caller, document_id)
            hidden = await rows.hide(connection, caller, document_id)
            upload_gone = await uploads.delete(connection, caller, document_id)
            if not hidden and not upload_gone:
                raise NotFound(_ABSENT)
            await self._chunks.withdraw(connection, caller, document_id)
            await workflows.start(connection, caller, self.removal, document_id, delay_s=_REMOVAL_DELAY_S)
        try:
            await self._objects.delete_under(caller, folder_of(document_id))
        except SlipwayError as error:
            _log.warning("objects of %s could not be removed yet, a workflow will: %s", document_id, error)

    async def _remove_objects(self, execution: Execution) -> Commit:
        await self._objects.delete_under(execution.caller, folder_of(execution.subject_id))

        async def commit(connection: Connection) -> None:
            await rows.forget(connection, execution.caller, execution.subject_id)

        return commit
