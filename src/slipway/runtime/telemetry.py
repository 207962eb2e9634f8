"""Logs as one JSON object a line on stderr, and OpenTelemetry traces when an OTLP endpoint is set.

Log lines hold no request bodies and no credentials. Without an endpoint the tracing SDK is never imported.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}

_EXPORT_TIMEOUT_S: Final = 2.0  # with all its retries; a collector that is away holds a stop back as long

FinishSpan = Callable[[str, int], None]


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; fields given as `extra` become keys."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace_id = current_trace_id()
        if trace_id is not None:
            line["trace_id"] = trace_id
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD and value is not None}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logs(level: str) -> None:
    """Sends every logger's lines to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "alembic", "botocore", "urllib3", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Tracing:
    """Whether tracing is on; set once by `configure_traces`."""

    tracer: Any = None
    provider: Any = None


def configure_traces(endpoint: str, service: str) -> None:
    """Exports a span for each request to `endpoint` (OTLP over HTTP, W3C trace context)."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    url = endpoint.rstrip("/")
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    address = url if url.endswith("/v1/traces") else f"{url}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=_EXPORT_TIMEOUT_S)))
    _Tracing.provider = provider
    _Tracing.tracer = provider.get_tracer("slipway")


def close_traces() -> None:
    """Sends what is still held back."""
    if _Tracing.provider is not None:
        _Tracing.provider.shutdown()
        _Tracing.provider = _Tracing.tracer = None


def is_tracing() -> bool:
    """Whether spans are made."""
    return _Tracing.tracer is not None


@contextmanager
def server_span(scope: MutableMapping[str, Any]) -> Iterator[FinishSpan]:
    """A span around one request that goes on the caller's trace; costs nothing when tracing is off."""
    if _Tracing.tracer is None:
        yield lambda _route, _status: None
        return
    from opentelemetry import propagate, trace

    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    parent = propagate.extract(headers)
    with _Tracing.tracer.start_as_current_span(
        scope["method"], context=parent, kind=trace.SpanKind.SERVER, attributes={"http.request.method": scope["method"]}
    ) as span:

        def finish(route: str, status: int) -> None:
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)

        yield finish


def current_trace_id() -> str | None:
    """The trace that goes on here, as 32 hexadecimal digits; None outside of one."""
    if _Tracing.tracer is None:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def trace_headers() -> dict[str, str]:
    """Headers that carry the current trace on to another part; empty when tracing is off."""
    if _Tracing.tracer is None:
        return {}
    from opentelemetry import propagate

    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers
