"""`slipway init`: a commented manifest to start from. Refuses to overwrite a file unless told to."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from slipway.manifest.blueprints import blueprint_names, blueprint_text
from slipway.manifest.fields import nearest


def init(
    blueprint: Annotated[str, typer.Argument(help="Which manifest to start from.")] = "local",
    output: Annotated[Path, typer.Option("--output", help="The file to write.")] = Path("slipway.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented manifest to start from."""
    names = blueprint_names()
    if blueprint not in names:
        near = nearest(blueprint, names)
        meant = f"did you mean {near}?" if near else f"there are {', '.join(names)}."
        _refuse(f"There is no blueprint {blueprint!r}: {meant}")
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(blueprint_text(blueprint))
    except FileExistsError:
        _refuse(f"{output} exists already: --force overwrites it, --output names another file.")
    except OSError as error:
        _refuse(f"{output} cannot be written: {error.strerror}.")
    typer.echo(f"Wrote {output} from the blueprint {blueprint}. `slipway check {output}` checks it.")


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
