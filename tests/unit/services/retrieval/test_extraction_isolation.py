"""Extraction in a child process: what the child does for good files, and that bad ones end alone."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from reportlab.pdfgen.canvas import Canvas

from slipway.base.errors import InvalidRequest, SlipwayError, StorageFull, Unavailable, UnsupportedType
from slipway.services.retrieval.extraction import isolation
from slipway.services.retrieval.extraction.isolation import extract_isolated, extract_isolated_async

HANDBOOK = Path(__file__).parents[4] / "examples" / "documents" / "handbook.pdf"


@pytest.fixture
def child_of_code(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a program of the test's in place of the reader: one that does what a hostile file makes a reader do."""

    def install(code: str) -> None:
        def command(_path: Path, _name: str, _declared: str | None, result: Path, *limits: float) -> list[str]:
            return [sys.executable, "-I", "-S", "-c", code, str(result)]

        monkeypatch.setattr(isolation, "_command", command)

    return install


def test_a_file_comes_back_whole_with_its_progress() -> None:
    seen: list[tuple[int, int]] = []
    found = extract_isolated(HANDBOOK, "handbook.pdf", "application/pdf", progress=lambda *pages: seen.append(pages))
    assert (found.title, len(found.pages)) == ("Harbour & Pine employee handbook", 6)
    assert "Phone | 14 days after the last working day" in found.text
    assert seen == sorted(seen) and seen[-1] == (6, 6)


def test_odd_names_reach_the_child(tmp_path: Path) -> None:
    path = tmp_path / "stored file"
    path.write_bytes(b"Hello")
    assert extract_isolated(path, "-x\ud800\x00 ü.txt", "text/plain\x00").title.endswith("ü")
    assert extract_isolated(path, "", None).title == "Untitled"


def test_refusals_keep_their_kind_and_sentence(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnsupportedType, match="a PNG image"):
        extract_isolated(path, "f.png", "image/png")
    path.write_bytes(b"")
    with pytest.raises(InvalidRequest, match="empty"):
        extract_isolated(path, "f.txt", None)


@pytest.mark.parametrize(
    ("code", "error", "detail"),
    [
        ("import os; os.kill(os.getpid(), 11)", InvalidRequest, "left with -11"),
        ("import os; os.abort()", InvalidRequest, "left with -6"),
        ("raise ValueError('poison')", InvalidRequest, "poison"),
        ("import os; os.kill(os.getpid(), 24)", InvalidRequest, "processor time"),
        ("import os; os.kill(os.getpid(), 15)", Unavailable, "signal 15"),
        ("raise OSError(28, 'No space left on device')", StorageFull, ""),
        ("print('not progress\\n1 2 3\\nx y', flush=True); raise SystemExit(9)", InvalidRequest, "left with 9"),
    ],
)
def test_the_end_of_the_child_is_told_apart(
    child_of_code: Callable[[str], None], code: str, error: type[SlipwayError], detail: str
) -> None:
    child_of_code(code)
    with pytest.raises(error) as failure:
        extract_isolated(HANDBOOK, "h.pdf", None)
    assert detail in failure.value.detail
    assert failure.value.retryable is (error in (Unavailable, StorageFull))
    assert "Traceback" not in failure.value.public


def test_output_without_end_ends_the_child(child_of_code: Callable[[str], None]) -> None:
    child_of_code("import sys, time; sys.stdout.write('x' * 200_000); sys.stdout.flush(); time.sleep(60)")
    with pytest.raises(InvalidRequest, match="could not be read"):
        extract_isolated(HANDBOOK, "h.pdf", None)


def test_a_file_that_needs_too_much_memory_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    path.write_bytes("ä".encode() * 40_000_000)
    with pytest.raises(InvalidRequest, match="memory"):
        extract_isolated(path, "large.txt", None, memory_bytes=200_000_000)


def test_a_hanging_child_is_killed_at_the_deadline(child_of_code: Callable[[str], None], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child_of_code(f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(InvalidRequest, match="in time"):
        extract_isolated(HANDBOOK, "h.pdf", None, timeout_s=0.5)
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(int(pid_file.read_text()))


async def _cancelled(path: Path) -> list[tuple[int, int]]:
    """Start reading, cancel at the first progress, and return what was reported."""
    seen: list[tuple[int, int]] = []
    started = asyncio.Event()

    def report(done: int, total: int) -> None:
        seen.append((done, total))
        started.set()

    task = asyncio.create_task(extract_isolated_async(path, "long.pdf", None, progress=report))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return seen


def test_cancelling_kills_the_child(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "long.pdf"))
    for number in range(1500):
        for line in range(40):
            canvas.drawString(72, 60 + 17 * line, f"Line {line} of page {number}, which says nothing much at all.")
        canvas.showPage()
    canvas.save()
    before = set(psutil.Process(os.getpid()).children(recursive=True))  # other tests' servers are among them
    seen = asyncio.run(_cancelled(tmp_path / "long.pdf"))
    assert seen and seen[-1][0] < 1500 == seen[-1][1]
    left = set(psutil.Process(os.getpid()).children(recursive=True)) - before
    assert not left, "the child was not ended and waited for"


def test_the_child_gets_no_secrets_and_its_own_session(
    child_of_code: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_SECRET_KEY", "hunter2")
    child_of_code("import os, sys; sys.exit(f'{sorted(os.environ)} {os.getsid(0) == os.getpid()}')")
    with pytest.raises(InvalidRequest) as failure:
        extract_isolated(HANDBOOK, "h.pdf", None)
    assert "hunter2" not in failure.value.detail and "SLIPWAY" not in failure.value.detail
    assert failure.value.detail.strip().endswith("True")


def test_the_child_starts_lightly() -> None:
    """Nothing but the reader that a file needs is loaded: no server, no database, no model."""
    import subprocess

    code = (
        "import sys; import slipway.services.retrieval.extraction.child as c;"
        "print(len(sys.modules), *(m for m in ('pypdfium2', 'lxml', 'pydantic', 'fastapi', 'sqlalchemy', 'asyncio',"
        " 'numpy', 'psycopg') if m in sys.modules))"
    )
    environment = isolation._environment()
    out = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    count, *loaded = out.stdout.split()
    assert loaded == [] and int(count) < 250
