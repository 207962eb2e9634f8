"""The process that reads one file: `python -m slipway.services.retrieval.extraction.child`, started by `isolation`.

Arguments: the file, its name, its declared type ("" for none), where to write the result, seconds of processor time,
bytes of address space. It writes `done total` lines to its output as it goes on and leaves with 0 (the result is an
`ExtractedText.dump`) or 3 (the result is a JSON object with `code`, `public`, `detail`). Any other end is a crash.
"""

import json
import resource
import sys
import time
from pathlib import Path

from slipway.base.errors import InvalidRequest, SlipwayError, StorageFull
from slipway.services.retrieval.extraction.documents import extract
from slipway.services.retrieval.extraction.models import REFUSED

_REPORT_EVERY_S = 0.1
_NO_SPACE = 28  # errno ENOSPC


def main(arguments: list[str]) -> int:
    """Read the file that the arguments name, within the limits that they set."""
    path, file_name, declared_type, result, cpu_s, memory_bytes = arguments
    _limit(int(cpu_s), int(memory_bytes))
    try:
        extract(Path(path), file_name, declared_type or None, _Reporter()).dump(Path(result))
    except SlipwayError as error:
        return _refuse(Path(result), error)
    except MemoryError:
        return _refuse(
            Path(result), InvalidRequest("The file could not be read: it needs more memory than is allowed.")
        )
    except OSError as error:
        if error.errno == _NO_SPACE:
            return _refuse(Path(result), StorageFull("There is no room left to store the text of the file."))
        raise
    return 0


class _Reporter:
    """Writes progress for the parent, at most ten lines a second and always the last."""

    def __init__(self) -> None:
        self._last_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if done == total or now_s - self._last_s >= _REPORT_EVERY_S:
            self._last_s = now_s
            # A parent that is gone breaks the pipe, and that ends this process too.
            sys.stdout.write(f"{done} {total}\n")
            sys.stdout.flush()


def _limit(cpu_s: int, memory_bytes: int) -> None:
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):  # macOS refuses RLIMIT_AS; the other limits and the deadline remain
            continue


def _refuse(result: Path, error: SlipwayError) -> int:
    result.write_text(json.dumps({"code": error.code, "public": error.public, "detail": error.detail}))
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
