"""The table that is printed, and the ratios with what they must and shall reach (issue 3, section 4)."""

import statistics
from dataclasses import dataclass

from bench.gateway.measures import STREAMS, Samples

PLAIN = "CPU µs/request, plain, 32 connections"
EVENT = f"CPU µs/event, {STREAMS} streams"
TTFT = "added time to first token ms, 4 streams"
REDIS = "Redis limits, added CPU µs/request"
GROWTH = "memory growth, %"
# × nginx. Half as much again, and twice, what was the worst of a busy machine: 17 and 3.6 on 2026-11-25.
QUICK_PLAIN_MOST, QUICK_EVENT_MOST = 25.0, 8.0


@dataclass(frozen=True)
class Row:
    """One figure of the issue; `least` when more is better."""

    name: str
    value: float | None
    must: float | None
    goal: float | None
    least: bool = False

    def _reached(self, bound: float | None) -> bool:
        if bound is None or self.value is None:
            return True
        return self.value >= bound if self.least else self.value <= bound

    @property
    def missed(self) -> bool:
        return not self._reached(self.must)

    @property
    def unknown(self) -> bool:
        """Whether there is something to reach that was not measured."""
        return self.must is not None and self.value is None

    def line(self) -> str:
        sign = "≥" if self.least else "≤"
        must, goal = (f"{sign} {bound:g}" if bound is not None else "" for bound in (self.must, self.goal))
        if self.value is None:
            return f"{self.name:<58}{'–':>9}  {must:<8}{goal:<8} not measured"
        said = "MISSED" if self.missed else "ok" if self._reached(self.goal) else "ok, goal missed"
        return f"{self.name:<58}{self.value:>9.2f}  {must:<8}{goal:<8} {said}"


def rows(samples: Samples, *, quick: bool) -> list[Row]:
    """The figures of the issue. CPU is that of the process tree, PostgreSQL included."""

    def ratio(figure: str, over: str, under: str) -> float | None:
        above, below = samples.median(figure, over), samples.median(figure, under)
        return above / below if above is not None and below else None

    if quick:
        return [
            Row("CPU per plain request, Slipway / nginx", ratio(PLAIN, "slipway", "nginx"), QUICK_PLAIN_MOST, None),
            Row("CPU per stream event, Slipway / nginx", ratio(EVENT, "slipway", "nginx"), QUICK_EVENT_MOST, None),
        ]
    return [
        Row("CPU per plain request, LiteLLM / Slipway", ratio(PLAIN, "litellm", "slipway"), 40, 150, least=True),
        Row("CPU per plain request, Slipway / nginx", ratio(PLAIN, "slipway", "nginx"), None, 6),
        Row("CPU per stream event, Slipway / nginx", ratio(EVENT, "slipway", "nginx"), 4, 2.5),
        Row("added time to first token, 4 streams, ms", samples.median(TTFT, "slipway"), 1.5, 0.6),
        Row("with Redis limits, added µs a request", samples.median(REDIS, "slipway"), 40, 15),
        Row("memory growth, %", samples.median(GROWTH, "slipway"), 5, 2),
    ]


def table(samples: Samples) -> str:
    """Every sample: median (min..max) by target."""
    figures = list(dict.fromkeys(figure for figure, _ in samples.values))
    known = ("direct", "nginx", "slipway", "slipway alone", "litellm")
    names = [name for name in known if any(target == name for _, target in samples.values)]
    widths = dict.fromkeys(names, 25)
    lines = [f"{'median (min..max)':<46}" + "".join(f"{name:>{widths[name]}}" for name in names)]
    for figure in figures:
        cells = "".join(f"{_cell(samples.values.get((figure, name))):>{widths[name]}}" for name in names)
        if cells.strip():
            lines.append(f"{figure:<46}{cells}")
    return "\n".join(line.rstrip() for line in lines)


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    median = statistics.median(values)
    digits = 0 if abs(median) >= 1000 else 1 if abs(median) >= 10 else 2
    if len(values) == 1:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"
