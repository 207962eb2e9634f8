"""Log lines as JSON, and spans that go on the caller's trace."""

import io
import json
import logging
import sys
import time
from collections.abc import Iterator

import pytest

from slipway.runtime import telemetry
from slipway.runtime.telemetry import (
    JsonLines,
    close_traces,
    configure_traces,
    current_trace_id,
    server_span,
    trace_headers,
)
from tests.services.processes import Collector, collector

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def logged(message: str, *arguments: object, **keywords: object) -> dict:
    """The line of one record."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("slipway.test")
    logger.addHandler(handler)
    logger.error(message, *arguments, **keywords)
    assert stream.getvalue().count("\n") == 1
    return json.loads(stream.getvalue())


def test_a_record_is_one_line_with_its_fields():
    line = logged("a %s\nof two lines", "message", extra={"request_id": "req_1", "absent": None, "odd": {1}})
    assert line["message"] == "a message\nof two lines"
    assert (line["level"], line["logger"], line["request_id"], line["odd"]) == ("error", "slipway.test", "req_1", "{1}")
    assert "absent" not in line
    assert "trace_id" not in line
    assert line["at"].endswith("+00:00")


def test_an_exception_stays_within_its_line():
    try:
        raise ValueError("broken")
    except ValueError:
        line = logged("failed", exc_info=sys.exc_info())
    assert "ValueError: broken" in line["error"]


def test_without_an_endpoint_nothing_is_traced():
    with server_span({"method": "GET", "headers": []}) as finish:
        finish("/x", 200)
        assert trace_headers() == {}
        assert current_trace_id() is None


@pytest.fixture
def traced() -> Iterator[Collector]:
    with collector() as collected:
        configure_traces(collected.url, "tests")
        try:
            yield collected
        finally:
            close_traces()
        assert telemetry._Tracing.tracer is None


def test_a_request_goes_on_the_callers_trace_and_hands_it_on(traced: Collector):
    scope = {"method": "POST", "headers": [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]}
    with server_span(scope) as finish:
        sent = trace_headers()["traceparent"]
        assert logged("within")["trace_id"] == TRACE
        finish("/v1/things/{id}", 404)
    assert trace_headers() == {}
    assert "trace_id" not in logged("outside")
    close_traces()
    (span,) = traced.spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("POST /v1/things/{id}", TRACE, PARENT)
    assert sent == f"00-{TRACE}-{span.span_id.hex()}-01"


def test_a_trace_header_that_is_none_begins_a_new_trace(traced: Collector):
    with server_span({"method": "GET", "headers": [(b"traceparent", b"nonsense")]}):
        assert current_trace_id() not in (None, TRACE)


def test_a_collector_that_is_away_does_not_hold_a_stop_back():
    configure_traces("http://127.0.0.1:1", "tests")
    with server_span({"method": "GET", "headers": []}):
        pass
    began_s = time.monotonic()
    close_traces()
    assert time.monotonic() - began_s < 4
