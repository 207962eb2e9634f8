"""`slipway schema`: the JSON Schema of the manifest, for editors to complete from."""

import json

import typer

from slipway.manifest.editor import json_schema


def schema() -> None:
    """Print the JSON Schema (2020-12) of slipway.yaml."""
    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
