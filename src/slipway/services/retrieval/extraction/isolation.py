"""Extracts a file in a process of its own, so that a poisonous one fails alone: a crash, a hang or a hunger for memory
becomes `InvalidRequest` for that document and nothing else.

The ingestion step calls it. The child gets no credentials (an environment of two variables), its own session (an
interrupt at the terminal must not look like a broken file), and limits on memory and processor time; it is killed when
the deadline passes or the caller is cancelled.
"""

import asyncio
import json
import math
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from slipway.base.errors import ERRORS, Internal, InvalidRequest, SlipwayError, StorageFull, Unavailable
from slipway.services.retrieval.extraction.models import REFUSED, ExtractedText, Progress

CHILD: Final = "slipway.services.retrieval.extraction.child"
TIMEOUT_S: Final = 600.0
MEMORY_BYTES: Final = 2 * 1024 * 1024 * 1024

_STDERR_TAIL_BYTES = 2000
_FAILED = "The file could not be read: the attempt to do so failed. It may be damaged; save it anew and try again."
_TOO_SLOW = "The file could not be read in time. Split it, or save it anew in a simpler form."
# Somebody outside ended the child: says nothing about the file.
_SIGNALS_FROM_OUTSIDE = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


async def extract_isolated_async(
    path: Path,
    file_name: str,
    declared_type: str | None,
    *,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> ExtractedText:
    """The text of a file, read by a child that is killed at the deadline and on cancellation.

    `progress` is called in the caller's loop with (pages done, pages in all). The result passes through a folder in
    `scratch`, which needs room for some four bytes a character (the system's folder when None). Raises what
    `documents.extract` does, InvalidRequest too for a crash or the deadline, Unavailable when the child was ended
    from outside.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-extract-", dir=scratch) as folder:
        result = Path(folder) / "result"
        with (Path(folder) / "stderr").open("w+b") as stderr:
            command = _command(path, file_name, declared_type, result, timeout_s, memory_bytes)
            child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=_environment(),
                cwd=folder,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(timeout_s):
                    await _follow(child, progress)
                    code = await child.wait()
            except TimeoutError as error:
                raise InvalidRequest(_TOO_SLOW, detail=f"killed after {timeout_s} s") from error
            except ValueError as error:  # a line of output without end: nothing of ours wrote that
                raise InvalidRequest(_FAILED, detail=str(error)) from error
            finally:
                await _end(child)
            if code == 0:
                return await asyncio.to_thread(ExtractedText.load, result)
            raise _failure(code, result, _tail(Path(folder) / "stderr"))


def extract_isolated(
    path: Path,
    file_name: str,
    declared_type: str | None,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> ExtractedText:
    """`extract_isolated_async` for a thread without an event loop."""
    return asyncio.run(
        extract_isolated_async(
            path,
            file_name,
            declared_type,
            timeout_s=timeout_s,
            memory_bytes=memory_bytes,
            progress=progress,
            scratch=scratch,
        )
    )


def _command(
    path: Path, file_name: str, declared_type: str | None, result: Path, timeout_s: float, memory_bytes: int
) -> list[str]:
    limits = [str(math.ceil(timeout_s)), str(memory_bytes)]
    # A NUL cannot be part of an argument, and a lone surrogate not of a file name on every system.
    name = file_name.replace("\x00", "").encode(errors="replace").decode()
    declared = (declared_type or "").replace("\x00", "").encode(errors="replace").decode()
    # -P keeps the working directory out of the module path; -B writes no caches.
    return [sys.executable, "-P", "-B", "-m", CHILD, str(path.absolute()), name, declared, str(result), *limits]


def _environment() -> dict[str, str]:
    """Only where modules are and that text is UTF-8: nothing of ours that a hostile file could look for."""
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "PYTHONUTF8": "1"}


async def _follow(child: asyncio.subprocess.Process, progress: Progress | None) -> None:
    """Report the child's progress until it closes its output."""
    if child.stdout is None:
        raise Internal("The extraction could not be followed.", detail="the child has no output pipe")
    while line := await child.stdout.readline():
        numbers = line.split()
        if progress is not None and len(numbers) == 2 and all(number.isdigit() for number in numbers):
            progress(int(numbers[0]), int(numbers[1]))


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill the child if it still runs, and collect it."""
    if child.returncode is None:
        try:
            child.kill()
        except ProcessLookupError:  # it ended in this moment
            return
        await child.wait()


def _failure(code: int, result: Path, stderr: str) -> SlipwayError:
    """The error for a child that left with `code`, negative for the signal that ended it."""
    if code == REFUSED:
        refusal = json.loads(result.read_text())
        return ERRORS.get(refusal["code"], InvalidRequest)(refusal["public"], detail=refusal["detail"])
    if -code in _SIGNALS_FROM_OUTSIDE:
        return Unavailable("Reading the file was interrupted.", detail=f"the child was ended by signal {-code}")
    if code == -signal.SIGXCPU:
        return InvalidRequest(_TOO_SLOW, detail="out of processor time")
    if "No space left on device" in stderr:
        return StorageFull("There is no room left to store the text of the file.", detail=stderr)
    return InvalidRequest(_FAILED, detail=f"the child left with {code}: {stderr}")


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _STDERR_TAIL_BYTES))
        return file.read().decode(errors="replace")
