"""The rows of uploads: bytes that are announced or arriving, until they are a document.

An upload's id is the id of its document, unless the same content is there already: then the row stays and names
that one.
"""

from psycopg.rows import DictRow

from slipway.api.documents import Document
from slipway.base.callers import Caller
from slipway.base.errors import SlipwayError
from slipway.runtime.acting import ACTING, ACTING_VALUES, acting_caller, acting_values
from slipway.runtime.database import Connection
from slipway.services.retrieval.documents_rows import failure
from slipway.services.retrieval.models import PendingUpload

_FORGET_AFTER = "1 day"  # a failed or abandoned upload says so for this long after its URL expired


async def insert(connection: Connection, upload: PendingUpload, *, presigned: bool, expires_s: float) -> None:
    """Announces an upload, so that whatever it leaves behind is found and removed."""
    caller = upload.caller
    await connection.execute(
        "INSERT INTO upload (tenant_id, id, collection, file_name, declared_type, size_bytes, presigned,"  # noqa: S608
        f" {ACTING}, expires_at, look_at) VALUES (%(tenant)s, %(id)s, %(collection)s, %(name)s, %(declared)s, %(size)s,"
        f" %(presigned)s, {ACTING_VALUES},"
        " clock_timestamp() + make_interval(secs => %(expires)s),"
        " clock_timestamp() + make_interval(secs => CASE WHEN %(presigned)s THEN 1 ELSE %(expires)s END))",
        {
            "tenant": caller.tenant_id,
            "id": upload.id,
            "collection": upload.collection,
            "name": upload.file_name,
            "declared": upload.declared_type,
            "size": upload.size_bytes,
            "presigned": presigned,
            "expires": expires_s,
        }
        | acting_values(caller),
    )


async def find(connection: Connection, caller: Caller, upload_id: str) -> PendingUpload | None:
    """The upload while it is not a document, as whoever announced it; its row is locked."""
    found = await connection.execute(
        "SELECT * FROM upload WHERE tenant_id = %s AND id = %s AND document_id IS NULL FOR UPDATE",
        (caller.tenant_id, upload_id),
    )
    row = await found.fetchone()
    return None if row is None else _upload(row)


async def set_arrived(connection: Connection, caller: Caller, upload_id: str, workflow_id: str) -> bool:
    """Records the workflow that receives it; False when there is one already, or no such upload."""
    changed = await connection.execute(
        "UPDATE upload SET workflow_id = %s, look_at = expires_at WHERE tenant_id = %s AND id = %s"
        " AND workflow_id IS NULL AND document_id IS NULL",
        (workflow_id, caller.tenant_id, upload_id),
    )
    return changed.rowcount == 1


async def set_failed(connection: Connection, caller: Caller, upload_id: str, error: SlipwayError) -> None:
    """The bytes cannot become a document."""
    await connection.execute(
        "UPDATE upload SET error_code = %s, error_message = %s WHERE tenant_id = %s AND id = %s",
        (error.code, error.public, caller.tenant_id, upload_id),
    )


async def resolve(connection: Connection, caller: Caller, upload_id: str, document_id: str) -> None:
    """The bytes are this document: under another id the row stays as its other name, under its own it goes."""
    keys = {"tenant": caller.tenant_id, "id": upload_id, "document": document_id}
    if upload_id == document_id:
        await connection.execute("DELETE FROM upload WHERE tenant_id = %(tenant)s AND id = %(id)s", keys)
        return
    await connection.execute(
        "UPDATE upload SET document_id = %(document)s WHERE tenant_id = %(tenant)s AND id = %(id)s", keys
    )


async def delete(connection: Connection, caller: Caller, upload_id: str) -> bool:
    """Forgets the upload and every other name of the document `upload_id`; says whether there was anything."""
    deleted = await connection.execute(
        "DELETE FROM upload WHERE tenant_id = %(tenant)s AND (id = %(id)s OR document_id = %(id)s)",
        {"tenant": caller.tenant_id, "id": upload_id},
    )
    return deleted.rowcount > 0


async def other_name(connection: Connection, caller: Caller, upload_id: str) -> str | None:
    """The document that an upload turned out to be."""
    found = await connection.execute(
        "SELECT document_id FROM upload WHERE tenant_id = %s AND id = %s", (caller.tenant_id, upload_id)
    )
    row = await found.fetchone()
    return None if row is None else row["document_id"]


async def view(connection: Connection, caller: Caller, upload_id: str) -> Document | None:
    """A presigned upload as the document that it will be: queued, or failed."""
    found = await connection.execute(
        "SELECT *, expires_at < clock_timestamp() AND workflow_id IS NULL AS expired FROM upload"
        " WHERE tenant_id = %s AND id = %s AND document_id IS NULL AND presigned",
        (caller.tenant_id, upload_id),
    )
    row = await found.fetchone()
    if row is None:
        return None
    if row["expired"]:
        row |= {"error_code": "deadline_exceeded", "error_message": "The upload URL expired before the file arrived."}
    return Document(
        id=row["id"],
        title=row["file_name"],
        file_name=row["file_name"],
        media_type=row["declared_type"] or "application/octet-stream",
        size_bytes=row["size_bytes"],
        sha256=None,
        collection=row["collection"],
        status="failed" if row["error_code"] else "queued",
        steps=[],
        error=failure(row),
        created_at=row["created_at"],
    )


async def due(connection: Connection, *, limit: int) -> list[tuple[PendingUpload, bool]]:
    """Uploads to look after, of all tenants, and whether each is to be forgotten; the platform's transaction.

    Each is put off: a second at first, then a quarter of its age, a minute at most, so that many abandoned uploads
    cost little.
    """
    found = await connection.execute(
        "UPDATE upload SET look_at = CASE WHEN upload.expires_at < clock_timestamp() OR upload.workflow_id IS NOT NULL"
        "  THEN greatest(upload.expires_at + %(keep)s::interval, clock_timestamp() + interval '1 hour')"
        "  ELSE clock_timestamp() + least(interval '60 s', greatest(interval '1 s',"
        "   (clock_timestamp() - upload.created_at) / 4)) END"
        " FROM (SELECT tenant_id, id FROM upload WHERE document_id IS NULL AND look_at <= clock_timestamp()"
        "  ORDER BY look_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS due"
        " WHERE upload.tenant_id = due.tenant_id AND upload.id = due.id RETURNING upload.*,"
        " (CASE WHEN upload.presigned THEN upload.expires_at"
        "  + %(keep)s::interval ELSE upload.expires_at END) < clock_timestamp() AS forgotten",
        {"limit": limit, "keep": _FORGET_AFTER},
    )
    return [(_upload(row), row["forgotten"]) for row in await found.fetchall()]


def _upload(row: DictRow) -> PendingUpload:
    return PendingUpload(
        caller=acting_caller(row),
        id=row["id"],
        collection=row["collection"],
        file_name=row["file_name"],
        declared_type=row["declared_type"],
        size_bytes=row["size_bytes"],
    )


async def is_waiting(connection: Connection, caller: Caller, upload_id: str) -> bool:
    """Whether an announced upload has not arrived yet."""
    found = await connection.execute(
        "SELECT 1 FROM upload WHERE tenant_id = %s AND id = %s AND workflow_id IS NULL AND document_id IS NULL",
        (caller.tenant_id, upload_id),
    )
    return await found.fetchone() is not None
