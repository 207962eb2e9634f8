"""What the manifest's tests share: a text in, its problems out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.manifest import Document, ManifestProblems, open_document

Problems = Callable[[str], list[str]]


@pytest.fixture
def document(tmp_path: Path) -> Callable[[str], Document]:
    """Reads a text as the file of a manifest; `slipway: 1` and a name stand before it."""

    def write(text: str) -> Document:
        file = tmp_path / "slipway.yaml"
        file.write_text(f"slipway: 1\nname: under-test\n{text}", "utf-8")
        return open_document(file)

    return write


@pytest.fixture
def problems(document: Callable[[str], Document]) -> Problems:
    """The problems of a text as `line:column path: message`, in base and environments; an empty list when it holds."""

    def check(text: str) -> list[str]:
        try:
            document(text).check()
        except ManifestProblems as refused:
            return [f"{p.line}:{p.column} {p.path}: {p.message}" for p in refused.problems]
        return []

    return check
