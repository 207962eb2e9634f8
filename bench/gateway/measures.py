"""The measurements, each in interleaved rounds: direct, nginx, Slipway, LiteLLM, direct, ...

A sample is a number under (figure, target); the figures' names are those of `figures.py`. What the upstream billed is
compared with what the clients got: exactly where a client ends by count, within the connections that wrk cuts.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway import peers
from bench.gateway.accounting import cpu_ns, memory_mib, settled, spent_ns
from bench.gateway.client import exact, paced
from bench.gateway.peers import Target, Upstreams, usage_rows
from bench.gateway.platform import slipway
from bench.gateway.upstream import PLAIN_MODEL, stream_model
from bench.gateway.wrk import Load, wrk

BURST_MODEL = stream_model(16, 0)
TTFT_MODEL = stream_model(4, 20)
STREAMS, INTERVAL_MS = 40, 25


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    window_s: float
    connections: tuple[int, ...]
    memory_requests: int

    @property
    def paced_model(self) -> str:
        """Streams that last as long as their window, their opening and a margin."""
        return stream_model(int((self.window_s + 2) * 1000 / INTERVAL_MS), INTERVAL_MS)

    def models(self) -> list[str]:
        return [PLAIN_MODEL, BURST_MODEL, TTFT_MODEL, self.paced_model]


@dataclass
class Samples:
    """What was measured, and what was wrong."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    def add(self, figure: str, target: str, value: float) -> None:
        self.values[figure, target].append(value)

    def median(self, figure: str, target: str) -> float | None:
        found = self.values.get((figure, target))
        return statistics.median(found) if found else None


class Bench:
    """Everything that runs, and the samples taken of it."""

    def __init__(self, folder: Path, plan: Plan, upstream: Upstreams, targets: list[Target]) -> None:
        self._folder, self._plan, self._upstream = folder, plan, upstream
        self.targets = targets
        self.samples = Samples()
        for target in targets:
            self.samples.add("cold start, s", target.name, target.cold_start_s)

    def _direct(self, model: str) -> Target:
        return Target("direct", peers.port_of(self._upstream, model))

    def _all(self, model: str) -> list[Target]:
        return [self._direct(model), *self.targets]

    def exactness(self, requests: int) -> None:
        """A number of plain and of streamed requests through each: answered, billed, and the tokens of both agree."""
        for target in self.targets:
            for model, count in ((PLAIN_MODEL, requests), (BURST_MODEL, requests)):
                settled(target.pids)
                before, rows_before = self._upstream.billed(), usage_rows(target)
                got = exact(target, model, 8, count)
                after = self._upstream.billed()
                settled(target.pids)  # usage rows are delivered a moment later
                seen, billed = (got["answered"], got["tokens"]), (after[0] - before[0], after[1] - before[1])
                if seen != billed:
                    self.samples.wrong.append(
                        f"{target.name}, {model}: clients got {seen}, the upstream billed {billed}"
                    )
                rows = tuple(now - then for now, then in zip(usage_rows(target), rows_before, strict=True))
                if target.name == "slipway" and rows != billed:
                    self.samples.wrong.append(f"{target.name}, {model}: {rows} in usage, the upstream billed {billed}")

    def warm(self, models: tuple[str, ...]) -> None:
        """The first requests of each target are not measured."""
        for target in self.targets:
            for model in models:
                exact(target, model, 8, 8)  # whatever time the very first ones take
                wrk(self._folder, target, model, 8, 1)

    def plain(self, model: str = PLAIN_MODEL, word: str = "plain") -> None:
        """CPU, throughput and latency under wrk."""
        for _ in range(self._plan.rounds):
            for connections in self._plan.connections:
                where = f"{word}, {connections} connections"
                direct = wrk(self._folder, self._direct(model), model, connections, 1)
                self.samples.add(f"requests/s, {where}", "direct", direct.throughput)
                for target in self.targets:
                    load = self.loaded(target, model, connections, self._plan.seconds, where)
                    self.samples.add(f"requests/s, {where}", target.name, load.throughput)
                    self.samples.add(f"added p50 ms, {where}", target.name, load.p50_ms - direct.p50_ms)
                    self.samples.add(f"added p99 ms, {where}", target.name, load.p99_ms - direct.p99_ms)

    def loaded(self, target: Target, model: str, connections: int, seconds: float, where: str) -> Load:
        """One run of wrk; its CPU is a sample, work put off included."""
        settled(target.pids)
        billed = self._upstream.billed()[0]
        pids = target.pids()
        own = set((target.own_pids or target.pids)())
        before = cpu_ns(pids)
        load = wrk(self._folder, target, model, connections, seconds)
        settled(target.pids)
        after = cpu_ns(target.pids())
        self.samples.add(f"CPU µs/request, {where}", target.name, spent_ns(before, after) / load.requests / 1000)
        if target.own_pids:
            alone = {pid: used for pid, used in after.items() if pid in own}
            name = f"{target.name} alone"
            self.samples.add(f"CPU µs/request, {where}", name, spent_ns(before, alone) / load.requests / 1000)
        more = self._upstream.billed()[0] - billed - load.requests
        if not 0 <= more <= connections:  # wrk hangs up on what is in flight at its end
            self.samples.wrong.append(f"{target.name}, {where}: the upstream billed {more} more than {load.requests}")
        return load

    def events(self) -> None:
        """CPU per event while streams flow."""
        figure = f"CPU µs/event, {STREAMS} streams"
        for _ in range(self._plan.rounds):
            for target in self.targets:
                settled(target.pids)
                window = paced(target, self._plan.paced_model, STREAMS, self._plan.window_s)
                expected = STREAMS * window.seconds * 1000 / INTERVAL_MS
                self.samples.add(figure, target.name, window.cpu_ns / window.events / 1000)
                self.samples.add("events delivered, % of paced", target.name, 100 * window.events / expected)
                self.samples.add("reads per event", target.name, window.reads / window.events)
                if target.own_pids:
                    self.samples.add(figure, f"{target.name} alone", window.own_cpu_ns / window.events / 1000)

    def ttft(self) -> None:
        """Time to the first token with four streams at a time, and how much of it the gateway adds."""
        requests = 4 * max(20, round(self._plan.seconds * 8))
        for _ in range(self._plan.rounds):
            direct = 0.0
            for target in self._all(TTFT_MODEL):
                p50 = statistics.median(exact(target, TTFT_MODEL, 4, requests)["ttft_ms"])
                if target.name == "direct":
                    direct = p50
                else:
                    self.samples.add("added time to first token ms, 4 streams", target.name, p50 - direct)

    def memory(self) -> None:
        """Memory of each process tree now, and Slipway's growth over many requests."""
        for target in self.targets:
            own = (target.own_pids or target.pids)()
            if target.name != "slipway":
                self._memory("memory", target.name, own)
                continue
            self._answered(target, max(2_000, self._plan.memory_requests // 20))
            settled(target.pids)
            before = self._memory("memory after warm-up", target.name, own)
            done = self._answered(target, self._plan.memory_requests)
            settled(target.pids)
            after = self._memory(f"memory after {self._plan.memory_requests} requests more", target.name, own)
            grown = max(100 * (now - then) / then for now, then in zip(after, before, strict=True))
            self.samples.add("memory growth, %", target.name, grown)
            self.samples.add("requests of the memory run", target.name, done)
            others = [pid for pid in target.pids() if pid not in own]
            self._memory("memory, PostgreSQL beside it", target.name, others)

    def _memory(self, figure: str, name: str, pids: list[int]) -> tuple[float, float]:
        rss, pss = memory_mib(pids)
        self.samples.add(f"{figure}, MiB RSS", name, rss)
        self.samples.add(f"{figure}, MiB PSS", name, pss)
        return rss, pss

    def _answered(self, target: Target, requests: int) -> int:
        done, seconds = 0, 2.0
        while done < requests:
            load = wrk(self._folder, target, PLAIN_MODEL, 32, seconds)
            done += load.requests
            seconds = min(20.0, max(1.0, (requests - done) / load.throughput))
        return done


def redis_rounds(bench: Bench, other: Target) -> None:
    """Slipway without and with limits in Redis, in turn."""
    first = next(target for target in bench.targets if target.name == "slipway")
    exact(other, PLAIN_MODEL, 8, 100)
    wrk(bench._folder, other, PLAIN_MODEL, 8, 1)
    for _ in range(bench._plan.rounds):
        pair = []
        for target in (first, other):
            where = "plain, limits in Redis" if target is other else "plain, beside Redis"
            bench.loaded(target, PLAIN_MODEL, 32, bench._plan.seconds, where)
            pair.append(bench.samples.values[f"CPU µs/request, {where}", f"{target.name} alone"][-1])
        bench.samples.add("Redis limits, added CPU µs/request", "slipway", pair[1] - pair[0])


@contextmanager
def running(folder: Path, plan: Plan, names: list[str]) -> Iterator[tuple[Bench, Upstreams]]:
    """The upstream and each target that is named, started in this order."""
    with ExitStack() as stack:
        upstream = stack.enter_context(peers.upstreams(folder))
        start = {
            "nginx": lambda: peers.nginx(folder, upstream),
            "slipway": lambda: slipway(folder, upstream, plan.models()),
            "litellm": lambda: peers.litellm(folder, upstream, plan.models()),
        }
        targets = [stack.enter_context(start[name]()) for name in names]
        yield Bench(folder, plan, upstream, targets), upstream
