"""`slipway up` and `slipway serve`: run the platform, or some of its parts, in this process."""

import json
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from slipway.base.errors import SlipwayError
from slipway.cli.connection import HomeOption
from slipway.runtime.settings import Settings
from slipway.runtime.telemetry import configure_logs

Port = Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Manifest = Annotated[Path | None, typer.Option("--manifest", help="The manifest (slipway.yaml when it exists).")]
Environment = Annotated[str | None, typer.Option("--env", help="Environment of the manifest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON once ready, and nothing else.")]


def up(
    home: HomeOption = None,
    port: Port = None,
    host: Host = None,
    manifest: Manifest = None,
    env: Environment = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole platform on embedded stores until Ctrl-C."""
    serve("all", home, port, host, manifest, env, as_json)


def serve(
    target: Annotated[str, typer.Option("--target", help="Parts to run: all, or names separated by commas.")] = "all",
    home: HomeOption = None,
    port: Port = None,
    host: Host = None,
    manifest: Manifest = None,
    env: Environment = None,
    as_json: AsJson = False,
) -> None:
    """Run the parts that --target names, on the stores that the environment names."""
    settings = Settings.from_environment(
        {"home": home, "port": port, "host": host, "manifest": manifest, "environment": env}
    )
    configure_logs(settings.log_level if as_json or not sys.stderr.isatty() else "warning")
    from slipway.app import lifecycle  # imports every part: only the verbs that serve pay for it

    try:
        lifecycle.run(settings, target, lambda started: _announce(started, settings, as_json))
    except (SlipwayError, lifecycle.PartFailed) as error:
        typer.echo(f"slipway: {lifecycle.describe(error)}", err=True)
        raise typer.Exit(1) from error


def _announce(started: "lifecycle.Started", settings: Settings, as_json: bool) -> None:  # type: ignore[name-defined] # noqa: F821
    if as_json:
        typer.echo(json.dumps({"url": started.url, "api_key": started.api_key, "pid": started.pid}))
    else:
        typer.echo(f"Slipway is ready at {started.url} ({', '.join(started.parts)})")
        if started.api_key and _is_private(settings.host):
            typer.echo(f"  API key   {started.api_key}")
            typer.echo(f"  OpenAI    base_url {started.url}/v1 with this key")
        elif started.api_key:
            typer.echo(f"  API key   in {settings.home / 'credentials'}, which only this user may read")
            typer.echo(f"  OpenAI    base_url {started.url}/v1 with that key")
        typer.echo("  Try       slipway documents add FILE, then slipway ask QUESTION")
        typer.echo("  Stop      Ctrl-C")
    sys.stdout.flush()


def _is_private(host: str) -> bool:
    """Whether what is printed is for this machine's user alone: a log of a server that others reach keeps no key."""
    if sys.stdout.isatty() or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
