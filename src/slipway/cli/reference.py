"""`slipway reference`: a page and a picture of what a manifest is on AWS, made from the manifest alone.

Exit code 0: written. 1: a manifest does not hold, or a file cannot be written.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.base.errors import InvalidRequest, Misconfigured
from slipway.manifest import Loaded, ManifestProblems, open_document

if TYPE_CHECKING:
    from slipway.operations.reference import Reference


def reference(
    manifest: Annotated[
        list[Path], typer.Option("--manifest", help="The manifest; once for each, and several get an index.")
    ],
    output: Annotated[Path, typer.Option("--output", help="The folder to write to; it is made.")] = Path("reference"),
    environment: Annotated[
        str | None, typer.Option("--environment", help="Which one is shown; left out, prod, else the last that lasts.")
    ] = None,
) -> None:
    """Write what a manifest is on AWS: picture, environments, resources, costs, recovery."""
    _needs_infra()
    try:
        loaded = [(file, open_document(file).check()) for file in manifest]
    except ManifestProblems as refused:
        typer.echo(refused.public, err=True)
        raise typer.Exit(1) from refused
    names = [every[0].manifest.name for _, every in loaded]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRequest(f"Two manifests are called {twice[0]}, and one page would replace the other: rename one.")
    _make(output)
    for name, text in files_of([_made(file, every, environment) for file, every in loaded]).items():
        _write(output / name, text)
        typer.echo(f"Wrote {output / name}.")


def files_of(made: "list[Reference]") -> dict[str, str]:
    """The text of every file by its name: a page and a picture each, and an index when there are several."""
    from slipway.cli.reference_page import index, page
    from slipway.operations.picture.drawing import svg

    written: dict[str, str] = {}
    for each in made:
        written[f"{each.name}.md"] = page(each)
        written[f"{each.name}.svg"] = svg(each.picture)
    return {**written, "README.md": index(made)} if len(made) > 1 else written


def _needs_infra() -> None:
    missing = [name for name in ("aws_cdk", "cfnlint") if find_spec(name) is None]
    if missing:
        raise Misconfigured(f"A reference needs the extra `infra`, of which {', '.join(missing)} is not installed.")


def _made(file: Path, loaded: tuple[Loaded, ...], environment: str | None) -> "Reference":
    from slipway.infra.app import synthesize
    from slipway.operations.reference import chosen, inputs_of, reference

    one = chosen(loaded, environment)
    assembly = synthesize(one.manifest, str(one.environment), inputs_of(one))
    return reference(file.read_text("utf-8-sig"), loaded, assembly)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be made a folder: {error.strerror}.") from error


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8", newline="\n")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}.") from error
