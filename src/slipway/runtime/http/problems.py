"""The one place where errors become HTTP: status by code, RFC 9457 bodies, headers, and nothing private.

Our own routes answer `application/problem+json`; the OpenAI wire has its own envelope, which the gateway builds from
`status_of`.
"""

import logging
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from slipway.base.errors import Internal, InvalidRequest, SlipwayError

_log = logging.getLogger(__name__)

STATUS: Final[dict[str, int]] = {
    "invalid_request": 400,
    "unauthenticated": 401,
    "budget_exceeded": 402,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "unsupported_type": 415,
    "limit_exceeded": 429,
    "internal": 500,
    "misconfigured": 500,
    "upstream_failed": 502,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "storage_full": 507,
}
_CODE_OF_STATUS: Final = {status: code for code, status in reversed(STATUS.items())}
_TITLES: Final = {code: HTTPStatus(status).phrase for code, status in STATUS.items()}
MEDIA_TYPE: Final = "application/problem+json"
_DOCUMENTATION: Final = (
    "https://slipway.dev/problems/"  # an identifier (RFC 9457 section 3.1.1), described in docs/problems.md
)

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(STATUS)},
        "request_id": {"type": "string"},
        "retryable": {"type": "boolean"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def status_of(error: SlipwayError) -> int:
    """The HTTP status of an error."""
    return STATUS[error.code]


def headers_of(error: SlipwayError) -> dict[str, str]:
    """`retry-after` where waiting helps (RFC 9110 section 10.2.3), `www-authenticate` on 401 (RFC 6750 section 3)."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if error.code == "unauthenticated":
        headers["www-authenticate"] = 'Bearer realm="slipway"'
    return headers


def problem(
    error: SlipwayError, request_id: str, errors: list[dict[str, str]] | None = None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body of a problem."""
    status = status_of(error)
    body: dict[str, Any] = {
        "type": f"{_DOCUMENTATION}{error.code}",
        "title": _TITLES[error.code],
        "status": status,
        "detail": error.public,
        "code": error.code,
        "request_id": request_id,
        "retryable": error.retryable,
    }
    if errors is not None:
        body["errors"] = errors
    return status, headers_of(error), body


def log_error(error: BaseException, request_id: str) -> None:
    """Logs what the caller does not get to see: our own failures with their cause, refusals not at all."""
    if isinstance(error, SlipwayError) and status_of(error) < 500:
        return
    # What failed elsewhere is told in a line; a trace is for what should not have happened here.
    trace = None if isinstance(error, SlipwayError) and error.retryable else error
    _log.error("request failed: %s", error, exc_info=trace, extra={"request_id": request_id})


def install(app: FastAPI) -> None:
    """Makes `app` answer every error, its own and the framework's, with a problem."""

    def answer(request: Request, error: SlipwayError, errors: list[dict[str, str]] | None = None) -> JSONResponse:
        status, headers, body = problem(error, request_id_of(request), errors)
        return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)

    async def slipway_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SlipwayError)
        log_error(error, request_id_of(request))
        return answer(request, error)

    async def validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        fields = [
            {"field": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
            for item in error.errors()
        ]
        summary = "; ".join(f"{item['field']}: {item['message']}" for item in fields[:3])
        return answer(request, InvalidRequest(f"The request is not valid: {summary}."), fields)

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _CODE_OF_STATUS.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal")
        if error.status_code == 405:
            public = f"{request.method} is not allowed on {request.url.path}."
        elif error.status_code == 404:
            public = f"There is nothing at {request.url.path}."
        else:
            public = str(error.detail)
        body = {
            "type": f"{_DOCUMENTATION}{code}",
            "title": HTTPStatus(error.status_code).phrase,
            "status": error.status_code,
            "detail": public,
            "code": code,
            "request_id": request_id_of(request),
            "retryable": False,
        }
        return JSONResponse(body, error.status_code, dict(error.headers or {}), media_type=MEDIA_TYPE)

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log_error(error, request_id_of(request))
        return answer(request, Internal("Something went wrong on our side. The request id helps us find it."))

    app.add_exception_handler(SlipwayError, slipway_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)


def request_id_of(request: Request) -> str:
    """The id that the outermost layer gave this request."""
    state: dict[str, Any] = request.scope.get("state", {})
    return str(state.get("request_id", ""))
