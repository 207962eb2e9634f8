"""Seen from outside, each request: its id, its place in the metrics, one log line, and a span when tracing is on."""

import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.base.ids import new_id
from slipway.runtime.http.cancellation import cancelled_with_client
from slipway.runtime.telemetry import is_tracing, server_span

_log = logging.getLogger("slipway.access")

_REQUESTS = Counter("slipway_http_requests_total", "Requests answered.", ["method", "route", "status"])
_SECONDS = Histogram(
    "slipway_http_request_seconds",
    "Time from the request's head to the answer's last byte.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_OPEN = Gauge("slipway_http_requests_open", "Requests being worked on.")
_GIVEN_ID: Final = re.compile(rb"^[A-Za-z0-9_\-]{8,64}$")
_CLIENT_GONE: Final = 499  # nginx's number for a client that closed before the answer began
_REFUSED: Final = 400
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


async def observed_hot(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Runs a hot route: an id, metrics and a span as `Observed` gives them, and a log line for what was not served. A
    line costs a good part of the whole route, and what the gateway did serve stands in its usage rows.
    """
    request_id = new_id("req")
    scope.setdefault("state", {})["request_id"] = request_id
    status = _CLIENT_GONE

    async def observed_send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    started_s = time.perf_counter()
    if is_tracing():
        with server_span(scope) as finish_span:
            try:
                await cancelled_with_client(app, scope, receive, observed_send)
            finally:
                finish_span(_route_of(scope), status)
                _count(scope, request_id, status, time.perf_counter() - started_s)
        return
    try:
        await cancelled_with_client(app, scope, receive, observed_send)
    finally:
        _count(scope, request_id, status, time.perf_counter() - started_s)


_children: dict[tuple[str, str, int], tuple[Any, Any]] = {}


def _count(scope: Scope, request_id: str, status: int, took_s: float) -> None:
    key = (scope["method"], scope["slipway.route"], status)
    children = _children.get(key)
    if children is None:
        children = _children[key] = (_REQUESTS.labels(*key), _SECONDS.labels(*key[:2]))
    children[0].inc()
    children[1].observe(took_s)
    if status >= _REFUSED:
        _write_line(scope, request_id, key[0], key[1], status, took_s)


class Observed:
    """ASGI middleware, the outermost one. A well-formed `x-request-id` that a caller sends is logged beside ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        status = _CLIENT_GONE

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                if not any(name == b"x-request-id" for name, _ in headers):
                    message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)

        started_s = time.perf_counter()
        _OPEN.inc()
        with server_span(scope) as finish_span:
            try:
                await self._app(scope, receive, observed_send)
            except Exception:
                status = 500
                raise
            finally:
                _OPEN.dec()
                finish_span(_route_of(scope), status)
                self._record(scope, request_id, status, time.perf_counter() - started_s)

    def _record(self, scope: Scope, request_id: str, status: int, took_s: float) -> None:
        route = _route_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        _REQUESTS.labels(method, route, status).inc()
        _SECONDS.labels(method, route).observe(took_s)
        _write_line(scope, request_id, method, route, status, took_s)


def _write_line(scope: Scope, request_id: str, method: str, route: str, status: int, took_s: float) -> None:
    _log.info(
        "request",
        extra={
            "request_id": request_id,
            "client_request_id": _given_id(scope),
            "method": method,
            "route": route,
            "status": status,
            "took_ms": round(took_s * 1000, 1),
        },
    )


def _route_of(scope: MutableMapping[str, Any]) -> str:
    """The route's pattern, never the path itself: paths carry ids and would give each its own time series."""
    hot = scope.get("slipway.route")
    if hot is not None:
        return str(hot)
    return str(getattr(scope.get("route"), "path", "unmatched"))


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN_ID.match(value):
            return str(value.decode())
    return None
