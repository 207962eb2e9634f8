"""`slipway`: every verb, and how errors leave: one sentence on stderr and an exit code.

Exit codes: 0 done, 1 refused or failed, 2 the command line itself is wrong, 130 interrupted.
"""

import sys

import typer

from slipway import __version__
from slipway.base.errors import SlipwayError
from slipway.cli import (
    ask,
    check,
    documents,
    init,
    keys,
    migrate,
    plan,
    plans,
    reference,
    schema,
    search,
    serve,
    status,
    usage,
)

app = typer.Typer(
    name="slipway",
    help="An AI platform that runs on your laptop and launches on AWS from the same manifest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"slipway {__version__}")
        raise typer.Exit


@app.callback()
def slipway(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Slipway's command line."""


app.command("up")(serve.up)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.command("migrate")(migrate.migrate)
app.command("check")(check.check)
app.command("schema")(schema.schema)
app.command("init")(init.init)
app.command("plan")(plan.plan)
app.command("reference")(reference.reference)
app.command("ask")(ask.ask)
app.command("search")(search.search)
app.add_typer(documents.app, name="documents")
app.add_typer(keys.app, name="keys")
app.add_typer(plans.app, name="plans")
app.add_typer(usage.app, name="usage")


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except SlipwayError as error:
        wait = f" Try again in {error.retry_after_s:.0f} seconds." if error.retry_after_s else ""
        typer.echo(f"slipway: {error.public}{wait}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
