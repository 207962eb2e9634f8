"""`slipway check`: what is wrong with a manifest, or where each of its values came from.

Exit code 0: it holds. 1: it has problems, all of them on stderr. 2: the file cannot be read.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from slipway.manifest import Loaded, ManifestProblems, open_document
from slipway.manifest.environments import Origin
from slipway.manifest.explain import Explained, explain


def check(
    path: Annotated[Path, typer.Argument(help="The manifest.")] = Path("slipway.yaml"),
    env: Annotated[
        str | None, typer.Option("--env", help="One environment; left out, the base and all of them.")
    ] = None,
    show_origins: Annotated[
        bool, typer.Option("--explain", help="Show each value (of the base, unless --env) with the line it came from.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Check a manifest: all problems at once, each with what to write instead."""
    try:
        document = open_document(path)
        checked = document.check() if env is None else (document.loaded(env),)
    except ManifestProblems as refused:
        if as_json:
            typer.echo(json.dumps(refused_json(refused)))
        else:
            typer.echo(refused.public, err=True)
        raise typer.Exit(2 if refused.unreadable else 1) from refused
    if as_json:
        typer.echo(json.dumps(checked_json(str(path), checked, show_origins)))
    elif show_origins:
        typer.echo("\n".join(explained_lines(str(path), explain(checked[0]))))
    else:
        typer.echo(checked_text(str(path), checked))


def checked_text(file: str, checked: tuple[Loaded, ...]) -> str:
    """One line that says what was checked."""
    names = ", ".join(loaded.environment or "the base" for loaded in checked)
    return f"{file} holds: {names}."


def explained_lines(file: str, values: tuple[Explained, ...]) -> list[str]:
    """`path: value` and its origin, in two columns."""
    written = [f"{value.path}: {_written(value.value)}" for value in values]
    width = min(max(map(len, written)), 60)
    return [f"{text:<{width}}  {_origin(file, value.origin)}" for text, value in zip(written, values, strict=True)]


def refused_json(refused: ManifestProblems) -> dict[str, Any]:
    """The problems as data: `{ok, file, problems: [{path, line, column, message}]}`."""
    return {
        "ok": False,
        "file": refused.file,
        "problems": [
            {"path": p.path, "line": p.line, "column": p.column, "message": p.message} for p in refused.problems
        ],
    }


def checked_json(file: str, checked: tuple[Loaded, ...], show_origins: bool) -> dict[str, Any]:
    """What holds, as data; with `show_origins` the values of the first one: `[{path, value, source, line}]`."""
    result: dict[str, Any] = {"ok": True, "file": file, "checked": [loaded.environment or "base" for loaded in checked]}
    if show_origins:
        result["values"] = [
            {"path": v.path, "value": v.value, "source": v.origin.source, "line": v.origin.line}
            for v in explain(checked[0])
        ]
    return result


def _origin(file: str, origin: Origin) -> str:
    return f"{file}:{origin.line} ({origin.source})" if origin.line else f"({origin.source})"


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
