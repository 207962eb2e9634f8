"""Prometheus metrics of the gateway. Labels are names of the manifest and closed sets, so the series stay few."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from slipway.services.gateway.models import UsageRow

_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

_REQUESTS = Counter(
    "slipway_gateway_requests_total", "Accepted requests.", ["operation", "model", "provider", "status"]
)
_TOKENS = Counter("slipway_gateway_tokens_total", "Tokens.", ["model", "provider", "direction"])
_COST = Counter("slipway_gateway_cost_usd_micros_total", "Cost in micro-dollars.", ["model", "provider"])
_SECONDS = Histogram(
    "slipway_gateway_request_seconds", "Whole time of a request.", ["operation", "model"], buckets=_BUCKETS_S
)
_TTFT_SECONDS = Histogram(
    "slipway_gateway_first_token_seconds", "Time to the first chunk of a stream.", ["model"], buckets=_BUCKETS_S
)
USAGE_WAITING = Gauge("slipway_gateway_usage_rows_waiting", "Usage rows not yet in the database.")
USAGE_WRITTEN = Counter("slipway_gateway_usage_rows_written_total", "Usage rows handed to the database.")
USAGE_FAILURES = Counter("slipway_gateway_usage_write_failures_total", "Attempts to write usage rows that failed.")
USAGE_REFUSED = Counter("slipway_gateway_usage_refused_total", "Requests refused since usage rows could not be kept.")


def observe(row: UsageRow) -> None:
    """Counts one finished request."""
    _REQUESTS.labels(row.operation, row.model, row.provider, row.status).inc()
    _SECONDS.labels(row.operation, row.model).observe(row.latency_ms / 1000)
    if row.tokens.prompt:
        _TOKENS.labels(row.model, row.provider, "prompt").inc(row.tokens.prompt)
    if row.tokens.completion:
        _TOKENS.labels(row.model, row.provider, "completion").inc(row.tokens.completion)
    if row.cost_usd_micros:
        _COST.labels(row.model, row.provider).inc(row.cost_usd_micros)
    if row.ttft_ms is not None:
        _TTFT_SECONDS.labels(row.model).observe(row.ttft_ms / 1000)
