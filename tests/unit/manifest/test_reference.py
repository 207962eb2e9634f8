"""docs/manifest.md is what the schema says today."""

import subprocess
import sys
from pathlib import Path

from slipway.manifest.catalog import CATALOG
from slipway.manifest.fields import models
from slipway.manifest.reference import reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "manifest.md"


def test_the_reference_is_current() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "slipway.manifest.reference"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    ).stdout
    assert DOCUMENT.read_text("utf-8") == made, "run: python -m slipway.manifest.reference > docs/manifest.md"


def test_every_key_of_the_schema_and_every_component_stands_in_it() -> None:
    page = reference()
    for where, model in models():
        assert f"## `{where}`\n" in page or where == ""
        for name in model.model_fields:
            assert f"| `{name}` | " in page
    for name in CATALOG:
        assert f"| `{name}` | " in page
    assert "None" not in page
    assert "PydanticUndefined" not in page
