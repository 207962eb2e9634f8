"""What cfn-lint said of templates before, kept in a folder: a template that did not change is not linted again.

The name of a file is a digest of everything an answer depends on: the template's text, the region and the version of
cfn-lint. A file that cannot be read or written is as if it were not there: the cache makes nothing fail.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class Match:
    """One match of a rule of cfn-lint: where in the template, and what it says."""

    rule: str
    message: str
    path: tuple[str, ...]


def encoded(matches: tuple[Match, ...]) -> str:
    """Matches as one line of JSON."""
    return json.dumps([{"rule": each.rule, "message": each.message, "path": each.path} for each in matches])


def decoded(text: str) -> tuple[Match, ...]:
    """Matches of `encoded`. Raises ValueError, KeyError or TypeError where it is none."""
    answers: Any = json.loads(text)
    if not isinstance(answers, list):
        raise TypeError("matches are a list")
    return tuple(Match(each["rule"], each["message"], tuple(each["path"])) for each in answers)


@dataclass(frozen=True, slots=True)
class LintCache:
    """Answers in a folder, which is made when the first one is kept; of more than 1,000 the oldest go."""

    folder: Path

    def recalled(self, text: str, region: str) -> tuple[Match, ...] | None:
        """What was said of this template in this region, None when it was not asked before."""
        try:
            return decoded(self._file(text, region).read_text("utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, text: str, region: str, matches: tuple[Match, ...]) -> None:
        """Remember an answer, whole or not at all."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False, encoding="utf-8") as file:
                file.write(encoded(matches))
            Path(file.name).replace(self._file(text, region))

    def prune(self) -> None:
        """Forget the oldest answers where there are too many."""
        with suppress(OSError):
            ages = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(self.folder))
            for _, path in ages[:-_KEPT]:
                Path(path).unlink(missing_ok=True)

    def _file(self, text: str, region: str) -> Path:
        asked = "\0".join((version("cfn-lint"), region, text))
        return self.folder / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"
