"""The client of every service: what users program against, and what the parts of the platform use among themselves.

    async with Client("http://127.0.0.1:8700", api_key="sk-…") as client:
        answer = await client.chat(ChatRequest(message="How many days do I have to return a laptop?"))

Every method raises a SlipwayError (`slipway.base.errors`) with the server's sentence, or Unavailable when the platform
cannot be reached. For the OpenAI wire, point the OpenAI SDK at `/v1`; `completion` and `embeddings` are here for
the parts.
"""

import base64
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from slipway.api.chat import ChatRequest, ChatResponse
from slipway.api.documents import (
    Collection,
    CollectionRequest,
    Document,
    DocumentText,
    SearchRequest,
    SearchResponse,
    Upload,
    UploadRequest,
)
from slipway.api.identity import Key, KeyRequest, NewKey, Tenant, TenantRequest, User, UserRequest
from slipway.api.plans import PlanAssignment, PlanRequest, Plans
from slipway.api.sessions import Message, MessageRequest, Session, SessionDetail, SessionRequest
from slipway.api.transport import Context, Credential, Event, Transport
from slipway.api.usage import UsageGrouping, UsageReconciled, UsageReconciliation, UsageReport, UsageStatus
from slipway.api.wire import Page


class Client:
    """Speaks to a platform, or to one part of it."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8700",
        *,
        api_key: str | None = None,
        unix_socket: Path | None = None,
        credential: Credential | None = None,
        context: Context | None = None,
        part: str | None = None,
        timeout_s: float = 120.0,
        transport: Transport | None = None,
    ) -> None:
        """`credential` and `context` (headers) are asked before each request; `api_key` is the usual constant one.

        `part` names the part that is spoken to when another part of the platform is the client.
        """
        if credential is None and api_key is not None:
            credential = lambda: api_key  # noqa: E731
        self._transport = transport or Transport.open(
            url, unix_socket=unix_socket, credential=credential, context=context, part=part, timeout_s=timeout_s
        )

    def acting(self, credential: Credential) -> "Client":
        """A client on the same connections with another credential."""
        return Client(transport=self._transport.acting(credential))

    async def close(self) -> None:
        """Closes the connections, also those of every `acting` copy."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Documents ------------------------------------------------------------------------------------------------------

    async def document_add(self, path: Path, *, collection: str = "default", media_type: str | None = None) -> Document:
        """Uploads a file; its ingestion goes on after this returns."""
        with path.open("rb") as file:
            response = await self._transport.request(
                "POST",
                "/v1/documents",
                files={"file": (path.name, file, media_type or "application/octet-stream")},
                data={"collection": collection},
            )
        return Document.model_validate_json(response.content)

    async def document_upload(self, request: UploadRequest) -> Upload:
        """A URL to PUT the file to."""
        response = await self._transport.request("POST", "/v1/documents/uploads", body=request.model_dump(mode="json"))
        return Upload.model_validate_json(response.content)

    async def document_list(
        self,
        *,
        collection: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Document]:
        response = await self._transport.request(
            "GET",
            "/v1/documents",
            query={"collection": collection, "status": status, "cursor": cursor, "limit": limit},
        )
        return Page[Document].model_validate_json(response.content)

    async def document_view(self, document_id: str) -> Document:
        response = await self._transport.request("GET", f"/v1/documents/{document_id}")
        return Document.model_validate_json(response.content)

    async def document_text(self, document_id: str, *, start: int = 0, end: int | None = None) -> DocumentText:
        """Characters `start` to `end` of the extracted text."""
        response = await self._transport.request(
            "GET", f"/v1/documents/{document_id}/text", query={"start": start, "end": end}
        )
        return DocumentText.model_validate_json(response.content)

    async def document_delete(self, document_id: str) -> None:
        await self._transport.request("DELETE", f"/v1/documents/{document_id}")

    def document_events(self, document_id: str) -> AsyncGenerator[Event, None]:
        """Events until the document is ready or failed; the data of each is the document as JSON."""
        return self._transport.events("GET", f"/v1/documents/{document_id}/events")

    # Search ---------------------------------------------------------------------------------------------------------

    async def search(self, request: SearchRequest) -> SearchResponse:
        response = await self._transport.request("POST", "/v1/search", body=request.model_dump(mode="json"))
        return SearchResponse.model_validate_json(response.content)

    async def collection_list(self) -> Page[Collection]:
        response = await self._transport.request("GET", "/v1/collections")
        return Page[Collection].model_validate_json(response.content)

    async def collection_create(self, request: CollectionRequest) -> Collection:
        response = await self._transport.request("POST", "/v1/collections", body=request.model_dump(mode="json"))
        return Collection.model_validate_json(response.content)

    async def collection_delete(self, name: str) -> None:
        await self._transport.request("DELETE", f"/v1/collections/{name}")

    # Sessions -------------------------------------------------------------------------------------------------------

    async def session_create(self, request: SessionRequest) -> Session:
        response = await self._transport.request("POST", "/v1/sessions", body=request.model_dump(mode="json"))
        return Session.model_validate_json(response.content)

    async def session_list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Session]:
        response = await self._transport.request("GET", "/v1/sessions", query={"cursor": cursor, "limit": limit})
        return Page[Session].model_validate_json(response.content)

    async def session_view(self, session_id: str) -> SessionDetail:
        response = await self._transport.request("GET", f"/v1/sessions/{session_id}")
        return SessionDetail.model_validate_json(response.content)

    async def session_delete(self, session_id: str) -> None:
        await self._transport.request("DELETE", f"/v1/sessions/{session_id}")

    async def message_list(self, session_id: str, *, after: int = 0, limit: int = 100) -> Page[Message]:
        """Messages numbered above `after`, oldest first."""
        response = await self._transport.request(
            "GET", f"/v1/sessions/{session_id}/messages", query={"after": after, "limit": limit}
        )
        return Page[Message].model_validate_json(response.content)

    async def message_append(self, session_id: str, request: MessageRequest) -> Message:
        response = await self._transport.request(
            "POST", f"/v1/sessions/{session_id}/messages", body=request.model_dump(mode="json")
        )
        return Message.model_validate_json(response.content)

    # Chat -----------------------------------------------------------------------------------------------------------

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """A whole answer; `stream` of the request is set to false."""
        body = request.model_dump(mode="json") | {"stream": False}
        response = await self._transport.request("POST", "/v1/chat", body=body)
        return ChatResponse.model_validate_json(response.content)

    def chat_events(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The answer as it comes: events `token`, `citations`, `usage`, `done`, or `error`."""
        body = request.model_dump(mode="json") | {"stream": True}
        return self._transport.events("POST", "/v1/chat", body=body)

    # Gateway --------------------------------------------------------------------------------------------------------

    async def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """`POST /v1/chat/completions` as it is on the wire, not streamed."""
        response = await self._transport.request("POST", "/v1/chat/completions", body=body | {"stream": False})
        answer: dict[str, Any] = response.json()
        return answer

    def completion_events(self, body: dict[str, Any]) -> AsyncGenerator[Event, None]:
        """`POST /v1/chat/completions` streamed: each event's data is a chunk, the last one the text `[DONE]`."""
        body = body | {"stream": True, "stream_options": {"include_usage": True}}
        return self._transport.events("POST", "/v1/chat/completions", body=body)

    async def embeddings(self, texts: Sequence[str], model: str) -> list[bytes]:
        """One vector a text, each as little-endian float32 bytes (`numpy.frombuffer(…, "<f4")`)."""
        response = await self._transport.request(
            "POST",
            "/v1/embeddings",
            body={"model": model, "input": list(texts), "encoding_format": "base64"},
        )
        return [base64.b64decode(item["embedding"]) for item in response.json()["data"]]

    async def usage(
        self,
        *,
        by: Sequence[UsageGrouping] = (),
        after: datetime | None = None,
        before: datetime | None = None,
        model: str | None = None,
        key_id: str | None = None,
        status: UsageStatus | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> UsageReport:
        """Rows newest first, or with `by` sums of them, with totals."""
        query = _usage_query(by, after, before, model, key_id, status) | {"cursor": cursor, "limit": limit}
        response = await self._transport.request("GET", "/v1/usage", query=query)
        return UsageReport.model_validate_json(response.content)

    async def usage_csv(
        self,
        *,
        by: Sequence[UsageGrouping] = (),
        after: datetime | None = None,
        before: datetime | None = None,
        model: str | None = None,
        key_id: str | None = None,
        status: UsageStatus | None = None,
    ) -> str:
        """All rows, or with `by` all groups, as CSV."""
        query = _usage_query(by, after, before, model, key_id, status) | {"format": "csv"}
        return (await self._transport.request("GET", "/v1/usage", query=query)).text

    async def usage_reconcile(self, request_id: str, request: UsageReconciliation) -> UsageReconciled:
        """Puts a row right that is `unknown` or `lost`; saying the same again changes nothing."""
        response = await self._transport.request(
            "POST", f"/v1/usage/{request_id}/reconcile", body=request.model_dump(mode="json")
        )
        return UsageReconciled.model_validate_json(response.content)

    async def plans(self) -> Plans:
        """The platform's plans, and what holds for the tenant."""
        response = await self._transport.request("GET", "/v1/plans")
        return Plans.model_validate_json(response.content)

    async def plan_set_tenant(self, tenant_id: str, plan: str | None) -> PlanAssignment:
        """Puts a tenant on a plan, or on none of its own."""
        return await self._plan_set(f"/v1/plans/tenants/{tenant_id}", plan)

    async def plan_set_key(self, key_id: str, plan: str | None) -> PlanAssignment:
        """Puts a key of the tenant on a plan, or on none."""
        return await self._plan_set(f"/v1/plans/keys/{key_id}", plan)

    async def _plan_set(self, path: str, plan: str | None) -> PlanAssignment:
        response = await self._transport.request("PUT", path, body=PlanRequest(plan=plan).model_dump(mode="json"))
        return PlanAssignment.model_validate_json(response.content)

    # Administration -------------------------------------------------------------------------------------------------

    async def tenant_create(self, request: TenantRequest) -> Tenant:
        response = await self._transport.request("POST", "/v1/admin/tenants", body=request.model_dump(mode="json"))
        return Tenant.model_validate_json(response.content)

    async def tenant_list(self) -> Page[Tenant]:
        response = await self._transport.request("GET", "/v1/admin/tenants")
        return Page[Tenant].model_validate_json(response.content)

    async def key_create(self, request: KeyRequest) -> NewKey:
        response = await self._transport.request("POST", "/v1/admin/keys", body=request.model_dump(mode="json"))
        return NewKey.model_validate_json(response.content)

    async def key_list(self) -> Page[Key]:
        response = await self._transport.request("GET", "/v1/admin/keys")
        return Page[Key].model_validate_json(response.content)

    async def key_revoke(self, key_id: str) -> None:
        await self._transport.request("DELETE", f"/v1/admin/keys/{key_id}")

    async def user_create(self, request: UserRequest) -> User:
        response = await self._transport.request("POST", "/v1/admin/users", body=request.model_dump(mode="json"))
        return User.model_validate_json(response.content)

    async def user_list(self) -> Page[User]:
        response = await self._transport.request("GET", "/v1/admin/users")
        return Page[User].model_validate_json(response.content)

    # Platform -------------------------------------------------------------------------------------------------------

    async def ready(self) -> dict[str, Any]:
        """What `/ready` says, also when it says no."""
        return await self._transport.probe("/ready")


def _usage_query(
    by: Sequence[UsageGrouping],
    after: datetime | None,
    before: datetime | None,
    model: str | None,
    key_id: str | None,
    status: UsageStatus | None,
) -> dict[str, str | int | None]:
    return {
        "group_by": ",".join(by) or None,
        "after": after.isoformat() if after else None,
        "before": before.isoformat() if before else None,
        "model": model,
        "key_id": key_id,
        "status": status,
    }
