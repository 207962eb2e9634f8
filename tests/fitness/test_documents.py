"""What the documents say is true: each command in them runs, each setting, error and decision stands where it should.

A block fenced as `console` is a session: lines that begin with `$ ` are run in order, in a folder that holds a copy of
`examples/`, against a running platform; the lines below a command are its output, where `…` stands for anything. Blocks
fenced `python` are run with the platform's address and key in the environment, and a `text` block after one is what it
prints. Blocks run in the order of the document.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slipway.base.errors import ERRORS
from slipway.runtime.settings import Settings
from tests.platforms import SLIPWAY, Platform, clean_environment, platform

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# CI itself runs make; the fixtures here and everywhere start platforms with the other two.
RUN_ELSEWHERE = ("make ", "slipway up", "slipway serve")


@dataclass(frozen=True)
class Command:
    line: str
    output: str


def blocks(path: Path, *languages: str) -> list[tuple[str, str]]:
    return [(language, body) for language, body in FENCE.findall(path.read_text()) if language in languages]


def commands(session: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield Command(line.partition("  #")[0].strip(), output)


def matches(expected: str, printed: str) -> bool:
    """Line by line up to white space at the ends; `…` stands for anything, also for nothing."""
    pattern = r"\s*".join(
        ".*?".join(re.escape(piece) for piece in line.strip().split("…"))
        for line in expected.strip().splitlines()
        if line.strip()
    )
    return re.fullmatch(rf"\s*{pattern}\s*", printed, re.DOTALL) is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.fixture(scope="module")
def documents_platform(folder: Path) -> Iterator[Platform]:
    """A platform of its own in the folder's `.slipway`, so that outputs do not depend on other tests."""
    with platform(folder / ".slipway") as running:
        yield running


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_command_runs_and_prints_what_the_document_says(path: Path, folder: Path, documents_platform: Platform):
    environment = clean_environment(
        PATH=f"{Path(SLIPWAY).parent}:/usr/bin:/bin",
        SLIPWAY_URL=documents_platform.url,
        SLIPWAY_API_KEY=documents_platform.api_key,
    )

    def run(*command: str) -> str:
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, f"{path.name}: {command[-1]}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    program_printed = None
    for language, body in blocks(path, "console", "python", "text"):
        if language == "python":
            program_printed = run(sys.executable, "-c", body)
        elif language == "text" and program_printed is not None:
            assert matches(body, program_printed), f"{path.name}: the program printed\n{program_printed}"
            program_printed = None
        elif language == "console":
            for command in commands(body):
                if not command.line.startswith(RUN_ELSEWHERE):
                    printed = run("bash", "-c", command.line)
                    assert matches(command.output, printed), f"{path.name}: {command.line} printed\n{printed}"


@pytest.mark.documents
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_stand_in_blocks_that_are_run(path: Path):
    assert not blocks(path, "sh", "bash", "shell"), "write a `console` block with `$ ` before each command"
    for _, session in blocks(path, "console"):
        assert list(commands(session)), f"{path.name}: a console block without a command"


@pytest.mark.documents
@pytest.mark.parametrize("path", [*DOCUMENTS, *(ROOT / "docs").glob("*/*.md"), ROOT / "ARCHITECTURE.md"], ids=str)
def test_links_lead_somewhere(path: Path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.documents
def test_each_setting_is_documented():
    text = (ROOT / "docs" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        row = f"| `SLIPWAY_{name.upper()}` |"
        assert row in text, row
        assert str(field.description) in text, f"{name}: {field.description}"
    known = {f"SLIPWAY_{name.upper()}" for name in Settings.model_fields} | {"SLIPWAY_URL", "SLIPWAY_API_KEY"}
    assert set(re.findall(r"`(SLIPWAY_[A-Z0-9_]+)`", text)) <= known


@pytest.mark.documents
def test_each_problem_is_documented():
    text = (ROOT / "docs" / "problems.md").read_text()
    for code, error in ERRORS.items():
        assert f"| `{code}` | {error.status} |" in text


@pytest.mark.documents
def test_decisions_are_numbered_without_gap_and_weigh_options():
    decisions = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text().lower()
        assert "option" in text, path.name
        assert "nothing" in text, f"{path.name} does not weigh doing nothing"
