"""Prometheus metrics of the gateway. Labels are names of the manifest and closed sets, so the series stay few.

What every request counts is kept in plain numbers and read when Prometheus asks: a client library's counters would take
a tenth of a request's time.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from slipway.services.gateway.models import UsageRow

_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BUCKETS_MS: Final = tuple(bucket * 1000 for bucket in _BUCKETS_S)
_BOUNDS: Final = (*(str(float(bucket)) for bucket in _BUCKETS_S), "+Inf")
_PREFIX: Final = "slipway_gateway_"

USAGE_WAITING = Gauge("slipway_gateway_usage_rows_waiting", "Usage rows not yet in the database.")
USAGE_WRITTEN = Counter("slipway_gateway_usage_rows_written_total", "Usage rows handed to the database.")
USAGE_FAILURES = Counter("slipway_gateway_usage_write_failures_total", "Attempts to write usage rows that failed.")
USAGE_REFUSED = Counter("slipway_gateway_usage_refused_total", "Requests refused since usage rows could not be kept.")
USAGE_IN_MEMORY = Gauge("slipway_gateway_usage_rows_in_memory", "Usage rows that the journal's disk refused.")
USAGE_REJECTED = Counter("slipway_gateway_usage_rejected_total", "Usage rows that the database can never take.")
USAGE_RECOVERED = Counter(
    "slipway_gateway_usage_recovered_total", "Usage rows from journals of dead processes.", ["outcome"]
)
_LIMITED = Counter("slipway_gateway_limited_total", "Requests refused by a rate limit.", ["owner"])
_OPEN_LIMITS = Counter(
    "slipway_gateway_limits_open_total", "Checks of rate limits made without the shared store, which was away."
)
_REFUSED = Counter("slipway_gateway_budget_refused_total", "Requests refused by a budget.", ["reason"])
_BILLED_ABOVE = Counter("slipway_gateway_budget_over_billed_total", "Times a cost was above what was held.", ["unit"])
_SYNCS = Counter("slipway_gateway_lease_syncs_total", "Exchanges with the store of budgets.", ["outcome"])
_SYNC_SECONDS = Counter("slipway_gateway_lease_sync_seconds_total", "Time that these exchanges took.")
_FAILED = Counter("slipway_gateway_attempts_failed_total", "Attempts that failed.", ["model", "code"])
_FALLBACKS = Counter("slipway_gateway_fallbacks_total", "Requests that went on to another model.", ["model"])


class _Histogram:
    """Times in milliseconds."""

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_S) + 1)
        self.sum_ms = 0

    def observe(self, value_ms: int) -> None:
        self.counts[bisect_left(_BUCKETS_MS, value_ms)] += 1
        self.sum_ms += value_ms

    def buckets(self) -> list[tuple[str, float]]:
        total, buckets = 0, []
        for bound, count in zip(_BOUNDS, self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


_requests: dict[tuple[str, ...], int] = defaultdict(int)
_tokens: dict[tuple[str, ...], int] = defaultdict(int)
_cost: dict[tuple[str, ...], int] = defaultdict(int)
_over_bound: dict[tuple[str, ...], int] = defaultdict(int)
_times: dict[tuple[str, ...], _Histogram] = defaultdict(_Histogram)
_first_times: dict[tuple[str, ...], _Histogram] = defaultdict(_Histogram)
_healths: dict[str, int] = {}
_leases: list[Callable[[], Mapping[tuple[str, str], int]]] = []


def observe(row: UsageRow) -> None:
    """Counts one finished request."""
    model, provider, tokens = row.model, row.provider, row.tokens
    _requests[(row.operation, model, provider, row.status)] += 1
    _times[(row.operation, model)].observe(row.latency_ms)
    if tokens.prompt:
        _tokens[(model, provider, "prompt")] += tokens.prompt
    if tokens.completion:
        _tokens[(model, provider, "completion")] += tokens.completion
    if tokens.cache_read:
        _tokens[(model, provider, "cache_read")] += tokens.cache_read
    if row.cost_usd_micros:
        _cost[(model, provider)] += row.cost_usd_micros
    if row.over_bound:
        _over_bound[(model, provider)] += 1
    if row.ttft_ms is not None:
        _first_times[(model,)].observe(row.ttft_ms)


def limited(owner: str) -> None:
    """A request was refused by a rate limit of edge, tenant, key or model."""
    _LIMITED.labels(owner).inc()


def limits_open() -> None:
    """The shared limiter was away, and this process's own stood in."""
    _OPEN_LIMITS.inc()


def budget_refused(reason: str) -> None:
    """A budget refused a request: `tokens` or `usd_micros` had too little left, or its `store_away`."""
    _REFUSED.labels(reason).inc()


def failed(model: str, code: str) -> None:
    """An attempt at a model failed."""
    _FAILED.labels(model, code).inc()


def fell_back(model: str) -> None:
    """A request went on to `model` after another one failed."""
    _FALLBACKS.labels(model).inc()


def over_billed(unit: str) -> None:
    """A cost was above what was held of a budget."""
    _BILLED_ABOVE.labels(unit).inc()


def lease_synced(seconds: float, answered: bool) -> None:
    """An exchange with the store of budgets has ended."""
    _SYNCS.labels("answered" if answered else "failed").inc()
    _SYNC_SECONDS.inc(seconds)


def leases_from(held: Callable[[], Mapping[tuple[str, str], int]]) -> None:
    """Has what this process holds of budgets, by unit and `what`, asked of `held` whenever it is read."""
    _leases.append(held)
    del _leases[:-1]


def health(model: str, *, is_open: bool) -> None:
    """Whether a model is being left alone."""
    _healths[model] = int(is_open)


class _Gathered(Collector):
    """What is kept in plain numbers, as Prometheus wants it."""

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        yield _counter("requests", "Accepted requests.", ("operation", "model", "provider", "status"), _requests)
        yield _counter("tokens", "Tokens.", ("model", "provider", "direction"), _tokens)
        yield _counter("cost_usd_micros", "Cost in micro-dollars.", ("model", "provider"), _cost)
        yield _counter(
            "over_bound", "Requests charged above the bound that was held.", ("model", "provider"), _over_bound
        )
        yield _histogram("request_seconds", "Whole time of a request.", ("operation", "model"), _times)
        yield _histogram("first_token_seconds", "Time to the first chunk of a stream.", ("model",), _first_times)
        open_models = GaugeMetricFamily(
            f"{_PREFIX}model_open", "1 while a model is left alone after failures.", labels=["model"]
        )
        for model, value in _healths.items():
            open_models.add_metric([model], value)
        yield open_models
        held = GaugeMetricFamily(f"{_PREFIX}leases", "Held of budgets by this process.", labels=["unit", "what"])
        for found in _leases:
            for (unit, what), value in found().items():
                held.add_metric([unit, what], value)
        yield held


def _counter(
    name: str, help_text: str, labels: tuple[str, ...], counts: "dict[tuple[str, ...], int]"
) -> CounterMetricFamily:
    family = CounterMetricFamily(_PREFIX + name, help_text, labels=labels)
    for values, count in list(counts.items()):
        family.add_metric(values, count)
    return family


def _histogram(
    name: str, help_text: str, labels: tuple[str, ...], histograms: "dict[tuple[str, ...], _Histogram]"
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(_PREFIX + name, help_text, labels=labels)
    for values, histogram in list(histograms.items()):
        family.add_metric(values, histogram.buckets(), histogram.sum_ms / 1000)
    return family


REGISTRY.register(_Gathered())
