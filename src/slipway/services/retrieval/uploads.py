"""Gets the bytes of a document into the object store: through us, or by a presigned URL; then the document begins.

Called by the routes, by the watcher of presigned uploads, and by the workflow that receives what arrived. What the
first bytes tell is refused at once; of a presigned upload nobody is there to be told, so its document fails instead.
"""

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from slipway.api.documents import Upload, UploadRequest
from slipway.base.callers import Caller
from slipway.base.errors import Conflict, InvalidRequest, SlipwayError, TooLarge
from slipway.base.ids import new_id
from slipway.runtime import workflows
from slipway.runtime.database import Connection, Database
from slipway.runtime.objects import Objects
from slipway.runtime.workflows import Commit, Execution, Step, Workflow
from slipway.services.retrieval import collections_rows as collections
from slipway.services.retrieval import documents_rows as documents
from slipway.services.retrieval import uploads_rows as rows
from slipway.services.retrieval.extraction.detection import media_type_of
from slipway.services.retrieval.models import (
    DEFAULT_COLLECTION,
    MAX_DOCUMENT_BYTES,
    UPLOAD_EXPIRES_S,
    NewDocument,
    PendingUpload,
    folder_of,
    original_key,
)
from slipway.services.retrieval.uploads_form import UploadForm, file_name_of

_log = logging.getLogger(__name__)

_HEAD_BYTES: Final = 64 * 1024  # as much as detection looks at
_CONTAINERS: Final = (b"PK", b"\xd0\xcf\x11\xe0")  # ZIP and OLE keep at their end what they are
_WATCH_S: Final = 1.0
_WATCHED_AT_ONCE: Final = 100  # arbitrary


class Uploads:
    """Receives files and begins the ingestion of what they are."""

    def __init__(self, database: Database, objects: Objects, ingestion: Workflow, begun: Callable[[], None]) -> None:
        """`begun` is called after a workflow was started, so that a worker of this process need not poll for it."""
        self._database = database
        self._objects = objects
        self._ingestion = ingestion
        self._begun = begun
        steps = (Step("receive", self._receive), Step("tidy", self._tidy))
        self.workflow = Workflow("upload", steps, failed=self._failed)

    async def add(self, caller: Caller, form: UploadForm) -> tuple[str, bool]:
        """Stores the file of the form; returns the document's id and whether anything is to be ingested.

        Raises UnsupportedType, InvalidRequest or TooLarge for what can be told at once, NotFound for a collection that
        does not exist, StorageFull.
        """
        await form.open()
        document_id = new_id("doc")
        upload = PendingUpload(caller, document_id, DEFAULT_COLLECTION, form.file_name, form.media_type, 0)
        async with self._database.transaction_with(
            caller, "SELECT set_config('synchronous_commit', 'off', true)", {}
        ) as (connection, _):
            await rows.insert(connection, upload, presigned=False, expires_s=UPLOAD_EXPIRES_S)
        try:
            head = _Head(form)
            stored = await self._objects.put(
                caller, original_key(document_id), head.checked(), max_bytes=MAX_DOCUMENT_BYTES
            )
            media_type = head.media_type or await self._media_type(caller, upload)
            collection = form.fields.get("collection") or DEFAULT_COLLECTION
            assert stored.sha256 is not None
            new = NewDocument(
                document_id, collection, form.file_name, media_type, form.media_type, stored.size_bytes, stored.sha256
            )
            found, fresh = await self._begin(caller, new, upload.id)
        except BaseException:
            await asyncio.shield(self._drop(upload))
            raise
        if found != document_id:
            await self._drop(upload)
        return found, fresh

    async def announce(self, caller: Caller, request: UploadRequest) -> Upload:
        """A URL for one PUT of the file; ingestion begins once it is there."""
        if request.size_bytes > MAX_DOCUMENT_BYTES:
            raise TooLarge(f"At most {MAX_DOCUMENT_BYTES:,} bytes are taken. Split the file and add the parts.")
        name = file_name_of(request.file_name)
        upload = PendingUpload(caller, new_id("doc"), request.collection, name, request.media_type, request.size_bytes)
        async with self._database.transaction(caller) as connection:
            await collections.require(connection, caller, request.collection)
            await rows.insert(connection, upload, presigned=True, expires_s=UPLOAD_EXPIRES_S)
        put = await self._objects.presign_put(
            caller, original_key(upload.id), size_bytes=request.size_bytes, expires_s=UPLOAD_EXPIRES_S
        )
        return Upload(document_id=upload.id, url=put.url, headers=put.headers, expires_at=put.expires_at)

    async def is_known(self, caller: Caller, upload_id: str) -> bool:
        """Whether the bytes of an announced upload came already, or nobody waits for them any more."""
        async with self._database.transaction(caller) as connection:
            return not await rows.is_waiting(connection, caller, upload_id)

    async def arrive(self, caller: Caller, upload_id: str) -> bool:
        """Begins to receive an announced upload that is in the store; False when it is not there or known already."""
        if await self._objects.stat(caller, original_key(upload_id)) is None:
            return False
        async with self._database.transaction(caller) as connection:
            upload = await rows.find(connection, caller, upload_id)
            if upload is None:
                return False
            workflow_id = await workflows.start(connection, upload.caller, self.workflow, upload_id)
            if not await rows.set_arrived(connection, caller, upload_id, workflow_id):
                raise Conflict("This upload is there already.", detail=upload_id)
        self._begun()
        return True

    async def watch(self) -> None:
        """Until cancelled: begins what arrived by a presigned URL and removes what never became a document."""
        while True:
            try:
                async with self._database.platform_transaction() as connection:
                    await connection.execute("SET LOCAL synchronous_commit = off")
                    due = await rows.due(connection, limit=_WATCHED_AT_ONCE)
                for upload, forgotten in due:
                    await self._look_after(upload, forgotten=forgotten)
            except SlipwayError as error:
                _log.warning("uploads could not be looked after, will try again: %s", error)
                due = []
            if len(due) < _WATCHED_AT_ONCE:
                await asyncio.sleep(_WATCH_S)

    async def _look_after(self, upload: PendingUpload, *, forgotten: bool) -> None:
        try:
            if forgotten:
                await self._drop(upload)
            else:
                await self.arrive(upload.caller, upload.id)
        except Conflict:
            return  # another process was first

    async def _receive(self, execution: Execution) -> Commit | None:
        """What arrived is read once, and becomes a document or another name of one."""
        caller = execution.caller
        async with execution.transaction() as connection:
            upload = await rows.find(connection, caller, execution.subject_id)
        if upload is None:
            return None
        with tempfile.TemporaryDirectory(prefix="slipway-upload-") as folder:
            path = Path(folder) / "original"
            await self._objects.fetch(caller, original_key(upload.id), path)
            size_bytes = path.stat().st_size
            if size_bytes != upload.size_bytes:
                raise InvalidRequest(f"{size_bytes:,} bytes arrived where {upload.size_bytes:,} were announced.")
            media_type = await asyncio.to_thread(media_type_of, path, upload.file_name, upload.declared_type)
            sha256 = await asyncio.to_thread(_sha256, path)
        new = NewDocument(
            upload.id, upload.collection, upload.file_name, media_type, upload.declared_type, size_bytes, sha256
        )

        async def commit(connection: Connection) -> None:
            found, _ = await self._settle(connection, caller, new)
            await rows.resolve(connection, caller, upload.id, found)
            self._begun()

        return commit

    async def _tidy(self, execution: Execution) -> None:
        """Removes the bytes of an upload that is but another name: that document has its own."""
        async with execution.transaction() as connection:
            other = await rows.other_name(connection, execution.caller, execution.subject_id)
        if other is not None:
            await self._objects.delete_under(execution.caller, folder_of(execution.subject_id))

    async def _failed(self, execution: Execution, connection: Connection, error: SlipwayError) -> None:
        await rows.set_failed(connection, execution.caller, execution.subject_id, error)

    async def _begin(self, caller: Caller, new: NewDocument, upload_id: str) -> tuple[str, bool]:
        async with self._database.transaction(caller) as connection:
            await collections.require(connection, caller, new.collection)
            found, fresh = await self._settle(connection, caller, new)
            if found == upload_id:
                await rows.resolve(connection, caller, upload_id, found)
        if fresh:
            self._begun()
        return found, fresh

    async def _settle(self, connection: Connection, caller: Caller, new: NewDocument) -> tuple[str, bool]:
        """One document for one content: the new one, or the one that is there, begun again if it had failed."""
        while True:
            workflow_id = new_id("wfl")
            if await documents.insert(connection, caller, new, workflow_id):
                await workflows.start(connection, caller, self._ingestion, new.id, workflow_id=workflow_id)
                return new.id, True
            same = await documents.same_content(connection, caller, new.collection, new.sha256)
            if same is None:
                continue  # deleted in this moment
            document_id, status = same
            if status != "failed":
                return document_id, False
            await workflows.remove(connection, caller, document_id)
            workflow_id = await workflows.start(connection, caller, self._ingestion, document_id)
            await documents.requeue(connection, caller, document_id, workflow_id)
            return document_id, True

    async def _media_type(self, caller: Caller, upload: PendingUpload) -> str:
        with tempfile.TemporaryDirectory(prefix="slipway-upload-") as folder:
            path = Path(folder) / "original"
            await self._objects.fetch(caller, original_key(upload.id), path)
            return await asyncio.to_thread(media_type_of, path, upload.file_name, upload.declared_type)

    async def _drop(self, upload: PendingUpload) -> None:
        """Removes the bytes, then the row: in this order a crash leaves nothing that is not found again.

        Does nothing when the row is gone: then the bytes became a document, even if whoever added it was cancelled or
        lost the database before it heard of it.
        """
        try:
            async with self._database.transaction(upload.caller) as connection:
                if await rows.find(connection, upload.caller, upload.id) is None:
                    return
            await self._objects.delete_under(upload.caller, folder_of(upload.id))
            async with self._database.transaction(upload.caller) as connection:
                await workflows.remove(connection, upload.caller, upload.id)
                await rows.delete(connection, upload.caller, upload.id)
        except SlipwayError as error:
            _log.warning("an upload's remains could not be removed yet, will try again: %s", error)


class _Head:
    """Looks at the first bytes of a file while they pass by."""

    def __init__(self, form: UploadForm) -> None:
        self._form = form
        self.media_type: str | None = None  # unknown of a container until all of it is there

    async def checked(self) -> AsyncIterator[bytes]:
        """The file's bytes; raises UnsupportedType or InvalidRequest before most of them have come."""
        head, known = b"", False
        async for piece in self._form.content():
            if not known:
                head += piece
                if len(head) >= _HEAD_BYTES:
                    known = True
                    await self._detect(head)
            yield piece
        if not known:
            await self._detect(head)

    async def _detect(self, head: bytes) -> None:
        if not head.startswith(_CONTAINERS):
            self.media_type = await asyncio.to_thread(_detected, head, self._form.file_name, self._form.media_type)


def _detected(head: bytes, file_name: str, declared_type: str | None) -> str:
    with tempfile.NamedTemporaryFile(prefix="slipway-head-") as file:
        file.write(head)
        file.flush()
        return media_type_of(Path(file.name), file_name, declared_type)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
