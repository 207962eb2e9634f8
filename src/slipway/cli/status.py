"""`slipway status`: whether the platform can serve, and what is missing when it cannot."""

import json

import typer

from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, run


def status(
    home: HomeOption = None, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Ask the platform whether it is ready; exit code 1 when it is not."""
    answer = run(client_of(home, url, api_key), lambda client: client.ready())
    if as_json:
        typer.echo(json.dumps(answer))
    elif answer["ready"]:
        typer.echo(f"ready: {', '.join(answer['parts'])}")
    else:
        typer.echo("not ready:")
        for name, reason in answer["missing"].items():
            typer.echo(f"  {name}: {reason}")
    if not answer["ready"]:
        raise typer.Exit(1)
