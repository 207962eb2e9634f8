"""The rows of documents: every statement on the table `document`, on the transaction of whoever calls.

Its callers are `documents` and `ingestion`. A deleted document is no document to any of these, except for `forget`.
"""

from collections.abc import Sequence
from typing import Any, Literal

from psycopg.rows import DictRow

from slipway.api.documents import Document, DocumentStatus, Failure, Step
from slipway.base.callers import Caller
from slipway.base.errors import SlipwayError
from slipway.runtime.database import Connection
from slipway.services.retrieval.models import STEP_UNITS, NewDocument, Source

# Waiting and working are told apart by the workflow: the document row itself changes only when it is decided.
_STATUS = "CASE WHEN d.status <> 'queued' THEN d.status WHEN w.started_at IS NULL THEN 'queued' ELSE 'processing' END"
_VIEW = f"""
SELECT d.*, {_STATUS} AS shown_status,
  (SELECT json_agg(json_build_object('name', s.name, 'status', s.status, 'done', s.done, 'total', s.total)
          ORDER BY s.position)
   FROM workflow_step s WHERE s.tenant_id = d.tenant_id AND s.workflow_id = d.workflow_id) AS steps
FROM document d LEFT JOIN workflow w ON w.tenant_id = d.tenant_id AND w.id = d.workflow_id
WHERE d.tenant_id = %(tenant)s AND d.deleted_at IS NULL
"""  # noqa: S608 - both parts are constants


async def insert(connection: Connection, caller: Caller, new: NewDocument, workflow_id: str) -> bool:
    """Adds the document unless the collection has one of the same content; says whether it did."""
    added = await connection.execute(
        "INSERT INTO document (tenant_id, id, collection, title, file_name, media_type, declared_type, size_bytes,"
        " sha256, workflow_id) VALUES (%(tenant)s, %(id)s, %(collection)s, %(name)s, %(name)s, %(type)s, %(declared)s,"
        " %(size)s, %(sha256)s, %(workflow)s) ON CONFLICT (tenant_id, collection, sha256) WHERE deleted_at IS NULL"
        " DO NOTHING",
        {
            "tenant": caller.tenant_id,
            "id": new.id,
            "collection": new.collection,
            "name": new.file_name,
            "type": new.media_type,
            "declared": new.declared_type,
            "size": new.size_bytes,
            "sha256": new.sha256,
            "workflow": workflow_id,
        },
    )
    return added.rowcount == 1


async def same_content(
    connection: Connection, caller: Caller, collection: str, sha256: str
) -> tuple[str, Literal["queued", "ready", "failed"]] | None:
    """Id and own status of the collection's document of this content, locked until the transaction ends."""
    found = await connection.execute(
        "SELECT id, status FROM document WHERE tenant_id = %s AND collection = %s AND sha256 = %s"
        " AND deleted_at IS NULL FOR UPDATE",
        (caller.tenant_id, collection, sha256),
    )
    row = await found.fetchone()
    return None if row is None else (row["id"], row["status"])


async def requeue(connection: Connection, caller: Caller, document_id: str, workflow_id: str) -> None:
    """Makes a failed document wait for another workflow."""
    await connection.execute(
        "UPDATE document SET status = 'queued', workflow_id = %s, error_code = NULL, error_message = NULL"
        " WHERE tenant_id = %s AND id = %s",
        (workflow_id, caller.tenant_id, document_id),
    )


async def view(connection: Connection, caller: Caller, document_id: str) -> Document | None:
    """The document with its steps; None when there is none."""
    found = await connection.execute(f"{_VIEW} AND d.id = %(id)s", {"tenant": caller.tenant_id, "id": document_id})
    row = await found.fetchone()
    return None if row is None else _document(row)


async def page(
    connection: Connection,
    caller: Caller,
    *,
    collection: str | None,
    status: DocumentStatus | None,
    before: str | None,
    limit: int,
) -> Sequence[Document]:
    """Newest first, those with an id below `before`."""
    found = await connection.execute(
        f"{_VIEW} AND (%(collection)s::text IS NULL OR d.collection = %(collection)s)"
        f" AND (%(status)s::text IS NULL OR {_STATUS} = %(status)s)"
        " AND (%(before)s::text IS NULL OR d.id < %(before)s) ORDER BY d.id DESC LIMIT %(limit)s",
        {"tenant": caller.tenant_id, "collection": collection, "status": status, "before": before, "limit": limit},
    )
    return [_document(row) for row in await found.fetchall()]


async def source(connection: Connection, caller: Caller, document_id: str) -> Source | None:
    """What the steps need; None when it was deleted."""
    found = await connection.execute(
        "SELECT collection, title, file_name, declared_type, text_key FROM document"
        " WHERE tenant_id = %s AND id = %s AND deleted_at IS NULL",
        (caller.tenant_id, document_id),
    )
    row = await found.fetchone()
    return None if row is None else Source(**row)


async def set_text(
    connection: Connection, caller: Caller, document_id: str, *, key: str, title: str, media_type: str, pages: int
) -> None:
    """Records what extraction found and where its text is."""
    await connection.execute(
        "UPDATE document SET text_key = %s, title = %s, media_type = %s, page_count = %s"
        " WHERE tenant_id = %s AND id = %s",
        (key, title, media_type, pages, caller.tenant_id, document_id),
    )


async def set_chunk_count(connection: Connection, caller: Caller, document_id: str, chunks: int) -> None:
    """Records how many chunks there will be."""
    await connection.execute(
        "UPDATE document SET chunk_count = %s WHERE tenant_id = %s AND id = %s",
        (chunks, caller.tenant_id, document_id),
    )


async def set_ready(connection: Connection, caller: Caller, document_id: str) -> None:
    """The document can be searched from this commit on."""
    await connection.execute(
        "UPDATE document SET status = 'ready', ready_at = clock_timestamp(), error_code = NULL, error_message = NULL"
        " WHERE tenant_id = %s AND id = %s",
        (caller.tenant_id, document_id),
    )


async def set_failed(connection: Connection, caller: Caller, document_id: str, error: SlipwayError) -> None:
    """The document failed for good, with the sentence that its owner may read."""
    await connection.execute(
        "UPDATE document SET status = 'failed', error_code = %s, error_message = %s WHERE tenant_id = %s AND id = %s",
        (error.code, error.public, caller.tenant_id, document_id),
    )


async def hide(connection: Connection, caller: Caller, document_id: str) -> bool:
    """Deletes the document for everyone who asks; its row stays until `forget`. Says whether there was one."""
    hidden = await connection.execute(
        "UPDATE document SET deleted_at = clock_timestamp() WHERE tenant_id = %s AND id = %s AND deleted_at IS NULL",
        (caller.tenant_id, document_id),
    )
    return hidden.rowcount == 1


async def forget(connection: Connection, caller: Caller, document_id: str) -> None:
    """Removes the row of a hidden document."""
    await connection.execute(
        "DELETE FROM document WHERE tenant_id = %s AND id = %s AND deleted_at IS NOT NULL",
        (caller.tenant_id, document_id),
    )


def _document(row: DictRow) -> Document:
    return Document(
        id=row["id"],
        title=row["title"],
        file_name=row["file_name"],
        media_type=row["media_type"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        collection=row["collection"],
        status=row["shown_status"],
        steps=[_step(step) for step in row["steps"] or ()],
        page_count=row["page_count"],
        chunk_count=row["chunk_count"],
        error=failure(row),
        created_at=row["created_at"],
        ready_at=row["ready_at"],
    )


def failure(row: DictRow) -> Failure | None:
    """What `error_code` and `error_message` of a row say."""
    return Failure(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None


def _step(step: dict[str, Any]) -> Step:
    return Step.model_validate(step | {"unit": STEP_UNITS.get(step["name"], "document")})
