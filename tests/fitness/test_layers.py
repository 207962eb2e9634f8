"""Layers inside a slice, where import-linter's module names do not reach: told by the words of each file's name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SERVICES = Path("src/slipway/services")
# wiring > routes > service | adapter_* > ports > models; everything not named otherwise is service.
RANKS = {"wiring": 4, "routes": 3, "hot": 3, "ports": 1, "models": 0}
SERVICE = 2


def rank(module: str) -> int:
    """Of a dotted name inside the slice: what its last file is called; a package is what it is called itself."""
    *_, file = module.split(".")
    words = file.split("_")
    return RANKS.get(words[0], RANKS.get(words[-1], SERVICE))


def imports(path: Path, slice_name: str) -> set[str]:
    """Modules of the same slice that a file imports."""
    prefix = f"slipway.services.{slice_name}."
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module + "." != prefix else [f"{prefix}{item.name}" for item in node.names]
        elif isinstance(node, ast.Import):
            names = [item.name for item in node.names]
        found |= {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return found


FILES = sorted(path for path in SERVICES.rglob("*.py") if path.parent != SERVICES and path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down_inside_a_slice(path: Path):
    relative = path.relative_to(SERVICES)
    slice_name, module = relative.parts[0], ".".join(relative.with_suffix("").parts[1:])
    upward = {name for name in imports(path, slice_name) if rank(name) > rank(module)}
    assert not upward, f"{path} ({rank(module)}) imports what stands above it: {sorted(upward)}"


def test_what_few_processes_need_is_imported_by_those_that_do():
    """ADR 2 says so of boto3 and of the tracing SDK; the models' runtimes come with the first text to embed."""
    names = [f"slipway.services.{path.name}.wiring" for path in SERVICES.iterdir() if (path / "wiring.py").exists()]
    seldom = ["boto3", "opentelemetry.sdk", "onnx", "onnxruntime", "pypdfium2"]
    everything = ", ".join(["slipway.app.lifecycle", *names])
    program = f"import sys, {everything}; print([name for name in {seldom} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "[]\n"


def test_there_are_files_to_look_at():
    assert len(FILES) > 20
