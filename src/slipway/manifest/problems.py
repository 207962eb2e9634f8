"""What is wrong with a manifest: where, why, and what to write instead.

Made by `source` (the text), `loading` (the shape) and `rules` (the meaning); shown by `slipway check` and by
every start that is given a manifest. A message never repeats a value that may be a secret.
"""

from dataclasses import dataclass, replace

from slipway.base.errors import Misconfigured

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem known by its path in the manifest as merged; loading finds the file's line for it."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem as a person reads it; `line` and `column` count from 1, and 0 stands for the file as a whole."""

    line: int
    column: int
    path: str
    message: str

    def within(self, environment: str | None) -> "Problem":
        """The same, saying that it shows in one environment only, unless its path already does."""
        if environment is None or self.path.startswith("environments"):
            return self
        return replace(self, message=f"{self.message} (in the environment {environment})")

    def text(self, file: str) -> str:
        """One line: `file:line:column: path: message`."""
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ManifestProblems(Misconfigured):
    """Every problem of one manifest at once; `unreadable` when the file could not be read at all."""

    def __init__(self, file: str, problems: tuple[Problem, ...], *, unreadable: bool = False) -> None:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        lines = "\n".join(problem.text(file) for problem in problems)
        super().__init__(f"The manifest has {count}.\n{lines}")
        self.file = file
        self.problems = problems
        self.unreadable = unreadable


def path_text(path: Path) -> str:
    """`environments.prod.network.azs`; a key that holds a dot stands in quotes, so that two paths never read alike."""
    return ".".join(f'"{part}"' if isinstance(part, str) and "." in part else str(part) for part in path)
