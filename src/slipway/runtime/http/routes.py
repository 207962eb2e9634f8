"""Routes that declare who may call them: a scope, or in words why they are open to everyone.

`Routes` is FastAPI's router with three differences: a route without a scope cannot be written; the credential is
checked before a byte of the body is read; every refusal stands in the OpenAPI document.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import ASGIApp, Message

from slipway.base.callers import Caller, Scope
from slipway.base.errors import (
    Forbidden,
    Internal,
    InvalidRequest,
    SlipwayError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from slipway.runtime.authentication import Authenticator
from slipway.runtime.http.credentials import credential_of
from slipway.runtime.http.problems import MEDIA_TYPE

# What an API Gateway in front lets through (AWS quota), so that no laptop accepts more.
MAX_BODY_BYTES: Final = 10 * 2**20


@dataclass(frozen=True)
class Open:
    """Marks a route that needs no credential, and says why that is right."""

    reason: str


Access = Scope | Open

_ALWAYS: Final = (InvalidRequest, Internal, Unavailable)
_SCOPED: Final = (Unauthenticated, Forbidden)
_PROBLEM: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


class ScopedRoute(APIRoute):
    """Checks the credential, its scope and the body's size before FastAPI reads the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        access, max_body_bytes = access_of(self), self._max_body_bytes()

        async def checked(request: Request) -> Response:
            if isinstance(access, Scope):
                request.state.caller = await authenticated(request, access)
            return await handle(_limited(request, max_body_bytes))

        return checked

    def _max_body_bytes(self) -> int:
        return int((self.openapi_extra or {}).get("x-slipway-max-body-bytes", MAX_BODY_BYTES))


async def authenticated(request: Request, scope: Scope) -> Caller:
    """The verified caller of a request that holds `scope`; raises Unauthenticated or Forbidden."""
    authenticator: Authenticator = request.app.state.authenticator
    caller = await authenticator.authenticate(credential_of(request.scope["headers"]))
    caller.require(scope)
    return caller


def _limited(request: Request, max_body_bytes: int) -> Request:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_body_bytes:
        raise body_too_large(max_body_bytes)
    receive, received_bytes = request.receive, 0

    async def limited() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > max_body_bytes:
            raise body_too_large(max_body_bytes)
        return message

    return Request(request.scope, limited, request._send)


def body_too_large(max_body_bytes: int) -> TooLarge:
    """What is said of a body beyond a route's limit."""
    return TooLarge(f"The request is larger than the {max_body_bytes // 2**20} MiB that this route takes.")


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _request_id(request: Request) -> str:
    return str(request.state.request_id)


CallerOf = Annotated[Caller, Depends(_caller)]
RequestId = Annotated[str, Depends(_request_id)]


def access_of(route: APIRoute) -> Access:
    """What a route declared: its scope, or why it is open."""
    extra = route.openapi_extra or {}
    if "x-slipway-scope" in extra:
        return Scope(extra["x-slipway-scope"])
    return Open(str(extra["x-slipway-open"]))


class Routes:
    """The routes of one part; `router` is what the HTTP assembly includes."""

    def __init__(self, tag: str) -> None:
        self.router = APIRouter(route_class=ScopedRoute, tags=[tag])

    def add(
        self,
        method: str,
        path: str,
        *,
        access: Access,
        status: int = 200,
        response: Any = None,
        errors: Sequence[type[SlipwayError]] = (),
        max_body_bytes: int = MAX_BODY_BYTES,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declares the decorated function as `method path`; its docstring is the route's description."""
        extra: dict[str, Any] = dict(options.pop("openapi_extra", {}))
        if isinstance(access, Scope):
            extra["x-slipway-scope"] = access.value
            extra["security"] = [{"bearer": []}, {"api_key": []}]
        else:
            extra["x-slipway-open"] = access.reason
        if max_body_bytes != MAX_BODY_BYTES:
            extra["x-slipway-max-body-bytes"] = max_body_bytes
        possible = {*_ALWAYS, *errors, *(_SCOPED if isinstance(access, Scope) else ())}
        if method in {"POST", "PUT", "PATCH"}:
            possible.add(TooLarge)
        return self.router.api_route(
            path,
            methods=[method],
            status_code=status,
            response_model=response,
            responses={**error_responses(possible, _PROBLEM), **options.pop("responses", {})},
            openapi_extra=extra,
            **options,
        )


def error_responses(
    errors: Iterable[type[SlipwayError]], content: Mapping[str, Any]
) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses of these errors, which all look like `content`; several may share a status."""
    by_status: dict[int, list[str]] = {}
    for error in sorted(errors, key=lambda item: item.code):
        by_status.setdefault(error.status, []).append(error.code)
    return {
        status: {"description": ", ".join(codes), "content": content} for status, codes in sorted(by_status.items())
    }


@dataclass(frozen=True)
class HotRoute:
    """A route served by a bare ASGI callable in front of the framework; it checks its own credential by `scope`.

    `request` and `response` are its wire types in the OpenAPI document, `events` the media type of its streamed form.
    """

    method: str
    path: str
    app: ASGIApp
    scope: Scope
    summary: str
    request: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    streams: bool = False
    errors: Sequence[type[SlipwayError]] = ()

    @property
    def possible_errors(self) -> set[type[SlipwayError]]:
        """Every error that it may answer with: `errors`, and what a route with a scope and a body always may."""
        return {*_ALWAYS, *_SCOPED, *((TooLarge,) if self.request else ()), *self.errors}
