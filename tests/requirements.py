"""`make requirements`: every row of docs/requirements.md with the tests that prove it, and what is still open."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (?P<id>[A-Z]{3}-\d\d) \| (?P<what>.+?) \|(?: [^|]* \|)? (?P<proof>[^|]+) \|$")


@dataclass(frozen=True)
class Row:
    """A requirement and the kinds of proof it asks for: T (template), R (runs), E (emulated AWS)."""

    what: str
    kinds: frozenset[str]


def table() -> dict[str, Row]:
    """The rows by id."""
    rows: dict[str, Row] = {}
    for line in (ROOT / "docs" / "requirements.md").read_text().splitlines():
        match = ROW.match(line)
        if match:
            assert match["id"] not in rows, f"{match['id']} stands twice"
            rows[match["id"]] = Row(match["what"], frozenset(re.findall(r"\b[TRE]\b", match["proof"])))
    return rows


def collected() -> Iterator[tuple[str, str, str]]:
    """(row, kind, test) of every mark, read from the source: nothing is imported and nothing runs."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.requirement":
                    row, kind = (ast.literal_eval(argument) for argument in mark.args)
                    yield row, kind, f"{path.relative_to(ROOT)}::{node.name}"


def main() -> None:
    """Prints the table and the count."""
    rows, proofs = table(), defaultdict(list)
    for row, kind, test in collected():
        proofs[row].append((kind, test))
    proven = 0
    for identifier, row in rows.items():
        kinds = {kind for kind, _ in proofs[identifier]}
        missing = sorted(row.kinds - kinds)
        proven += not missing
        print(f"{identifier}  {'proven' if not missing else 'open: ' + ' '.join(missing):<12} {row.what[:90]}")
        for kind, test in proofs[identifier]:
            print(f"        {kind}  {test}")
    print(f"\n{proven} of {len(rows)} rows are proven by tests.")


if __name__ == "__main__":
    main()
