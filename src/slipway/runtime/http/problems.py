"""The one place where errors become HTTP: RFC 9457 bodies, headers, and nothing private.

Our own routes answer `application/problem+json`; the OpenAI wire has its own envelope, which the gateway builds.
"""

import logging
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from slipway.base.errors import ERRORS, InvalidRequest, SlipwayError, as_ours, kind_of

_log = logging.getLogger(__name__)

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
        "code": {"type": "string", "enum": list(ERRORS)},
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
    return error.status, headers_of(error), _body(error, error.status, request_id, errors)


def for_openai(body: dict[str, Any], code: str | None = None) -> dict[str, Any]:
    """A problem with the one member that OpenAI's SDKs show: their requests end here with a wrong path or base_url."""
    return {**body, "error": {"message": body["detail"], "type": "invalid_request_error", "param": None, "code": code}}


def _body(
    error: SlipwayError, status: int, request_id: str, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"{_DOCUMENTATION}{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.public,
        "code": error.code,
        "request_id": request_id,
        "retryable": error.retryable,
    }
    if errors is not None:
        body["errors"] = errors
    return body


def log_error(error: BaseException, request_id: str) -> None:
    """Logs what the caller does not get to see: our own failures with their cause, refusals not at all."""
    if isinstance(error, SlipwayError) and error.status < 500:
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
        fields = [_invalid_field(item) for item in error.errors()]
        summary = "; ".join(f"{item['field']}: {item['message']}" for item in fields[:3])
        return answer(request, InvalidRequest(f"The request is not valid: {summary}."), fields)

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        allowed = request.scope.get("slipway.allowed")
        if error.status_code == 404 and allowed is not None:
            error = HTTPException(405, headers={"allow": ", ".join(allowed)})
        if error.status_code == 405:
            allow = (error.headers or {}).get("allow")
            public = f"{request.method} is not allowed on {request.url.path}" + (f": send {allow}." if allow else ".")
        elif error.status_code == 404:
            public = f"There is nothing at {request.url.path}: the API is below /v1, and /openapi.json describes it."
        else:
            public = str(error.detail)
        # The framework's own statuses stay, 405 for one, also where no error of ours has them.
        body = _body(kind_of(error.status_code)(public), error.status_code, request_id_of(request))
        if error.status_code in (404, 405):
            body = for_openai(body, "not_found" if error.status_code == 404 else "method_not_allowed")
        return JSONResponse(body, error.status_code, dict(error.headers or {}), media_type=MEDIA_TYPE)

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log_error(error, request_id_of(request))
        return answer(request, as_ours(error))

    app.add_exception_handler(SlipwayError, slipway_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)


def _invalid_field(item: dict[str, Any]) -> dict[str, str]:
    """A field and what is wrong with it; the framework tells a body that is no JSON as a field named by its offset."""
    if item["type"] == "json_invalid":
        reason = item.get("ctx", {}).get("error", "it cannot be parsed")
        return {"field": "body", "message": f"This is not JSON: {reason} (at character {item['loc'][-1]})"}
    message = str(item["msg"]).removeprefix("Value error, ")
    if item.get("ctx", {}).get("field_type") == "Value":  # a secret, whose characters the framework counts as items
        message = message.partition(" items")[0] + " characters"
    return {"field": ".".join(str(part) for part in item["loc"]), "message": message}


def request_id_of(request: Request) -> str:
    """The id that the outermost layer gave this request."""
    state: dict[str, Any] = request.scope.get("state", {})
    return str(state.get("request_id", ""))
