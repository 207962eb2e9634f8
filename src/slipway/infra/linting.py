"""cfn-lint over templates, by its Python API, on as many cores as there are.

It takes some 20 ms of computing for each resource and Python computes on one core, so helpers of this module run beside
the process that asks: they load cfn-lint while CDK synthesizes, then take templates from the same queue. The largest
template goes first. `python -m slipway.infra.linting` is such a helper: a request a line in, an answer a line out. What
a `LintCache` remembers is not asked again.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any, Final

from slipway.infra.lint_cache import LintCache, Match, decoded, encoded

_WANTED: Final = frozenset("EW")
_HELPERS: Final = 3


@dataclass(frozen=True, slots=True)
class Helper:
    """A process that lints for another one, one template at a time."""

    process: subprocess.Popen[str]

    def lint(self, text: str, region: str) -> tuple[Match, ...]:
        """What it says of a template; raises BrokenPipeError or ValueError when it is gone."""
        if self.process.stdin is None or self.process.stdout is None:
            raise ValueError("the helper has no pipes")
        self.process.stdin.write(json.dumps({"text": text, "region": region}) + "\n")
        self.process.stdin.flush()
        return decoded(self.process.stdout.readline())


@contextmanager
def helpers(count: int | None = None) -> Iterator[tuple[Helper, ...]]:
    """So many helpers, one fewer than there are cores by default; they are ended when the block is."""
    wanted = min((os.cpu_count() or 1) - 1, _HELPERS) if count is None else count
    with ExitStack() as ended:
        yield tuple(ended.enter_context(_helper()) for _ in range(wanted))


@contextmanager
def _helper() -> Iterator[Helper]:
    command = (sys.executable, "-m", "slipway.infra.linting")
    process = subprocess.Popen(  # noqa: S603 - this very Python and this very module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )
    try:
        yield Helper(process)
    finally:
        process.kill()
        process.communicate()


def lint_all(
    templates: Iterable[tuple[str, str, str]], by: tuple[Helper, ...] = (), cache: LintCache | None = None
) -> dict[str, tuple[Match, ...]]:
    """Matches by name, of (name, text, region) each. What a helper that died had taken is linted here."""
    waiting: SimpleQueue[tuple[str, str, str]] = SimpleQueue()
    found: dict[str, tuple[Match, ...]] = {}
    for name, text, region in sorted(templates, key=lambda each: (-len(each[1]), each[0])):
        recalled = None if cache is None else cache.recalled(text, region)
        if recalled is None:
            waiting.put((name, text, region))
        else:
            found[name] = recalled
    if waiting.empty():
        return found

    def work(helper: Helper | None) -> None:
        while True:
            try:
                name, text, region = waiting.get_nowait()
            except Empty:
                return
            found[name] = _linted(helper, text, region)
            if cache is not None:
                cache.keep(text, region, found[name])

    with ThreadPoolExecutor(max_workers=len(by) + 1) as threads:
        for done in [threads.submit(work, each) for each in (*by, None)]:
            done.result()
    if cache is not None:
        cache.prune()
    return found


def _linted(helper: Helper | None, text: str, region: str) -> tuple[Match, ...]:
    if helper is not None:
        try:
            return helper.lint(text, region)
        except (OSError, ValueError):
            pass
    return lint_one(text, region)


def lint_one(text: str, region: str) -> tuple[Match, ...]:
    """What cfn-lint says of a template in a region, in this process: errors and warnings."""
    from cfnlint.decode.decode import decode_str

    template, problems = decode_str(text)
    matches = problems or _runner(region).validate_template(template)
    return tuple(
        Match(match.rule.id, match.message, tuple(str(part) for part in getattr(match, "path", None) or ()))
        for match in matches
        if match.rule.id[0] in _WANTED
    )


@cache
def _runner(region: str) -> Any:
    from cfnlint.config import ConfigMixIn
    from cfnlint.runner import Runner

    return Runner(ConfigMixIn([], regions=[region]))


def main() -> None:
    """A helper: lints what stands on each line of its input, until there is no more."""
    gc.disable()  # a short life: collecting takes an eighth of the time and frees little
    _runner("us-east-1")  # loaded while the other process synthesizes
    for line in sys.stdin:
        request = json.loads(line)
        matches = lint_one(request["text"], request["region"])
        sys.stdout.write(encoded(matches) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
