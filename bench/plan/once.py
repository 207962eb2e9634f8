"""One plan in a process of its own: prints the seconds at which each phase ended, as JSON. Run by `bench.plan`."""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from slipway.manifest.blueprints import blueprint_text  # noqa: E402
from slipway.manifest.loading import parse  # noqa: E402


def main() -> None:
    """Plans the blueprint and environment of the command line, with a folder as cache."""
    blueprint, environment, cache = sys.argv[1:]
    manifest = parse(blueprint_text(blueprint)).loaded(environment).manifest
    ended = {"manifest": since()}
    from slipway.operations.plan import plan

    ended["imports"] = since()
    made = plan(manifest, environment, cache=Path(cache), watch=lambda phase: ended.update({phase: since()}))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    figures = {
        "ended": ended,
        "resources": sum(stack.resources for stack in made.stacks),
        "stacks": len(made.stacks),
        "cpu": sum(each.ru_utime + each.ru_stime for each in used),
    }
    print(json.dumps(figures))


def since() -> float:
    """Seconds since the process began to import."""
    return time.perf_counter() - BEGAN


if __name__ == "__main__":
    main()
