"""`slipway migrate`: bring the database's schema up to date; safe beside running processes and other migrations."""

import typer

from slipway.base.errors import Misconfigured
from slipway.cli.connection import HomeOption
from slipway.runtime.settings import Settings


def migrate(home: HomeOption = None) -> None:
    """Apply the migrations that the database lacks."""
    from slipway.runtime import migrations
    from slipway.runtime.postgres import EmbeddedPostgres

    settings = Settings.from_environment({"home": home})
    url = settings.database_owner_url or settings.database_url
    if url is not None:
        _report(migrations.migrate(url.get_secret_value()))
        return
    if not settings.home.exists():
        raise Misconfigured(f"There is no platform at {settings.home}: `slipway up` makes one, migrated.")
    server = EmbeddedPostgres(settings.home)
    was_running = server.alive()
    addresses = server.start()
    try:
        _report(migrations.migrate(addresses.owner_url))
    finally:
        if not was_running:
            server.stop()


def _report(applied: list[str]) -> None:
    typer.echo(f"Applied {', '.join(applied)}." if applied else "Nothing to apply: the schema is current.")
