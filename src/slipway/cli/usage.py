"""`slipway usage`: what was asked of which model, and what it cost."""

from typing import Annotated

import typer

from slipway.base.money import format_usd
from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, run


def usage(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows to show.")] = 20,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest usage rows and the totals of the tenant."""
    report = run(client_of(home, url, api_key), lambda client: client.usage(limit=limit))
    if as_json:
        typer.echo(report.model_dump_json())
        return
    typer.echo(f"{'when':<20} {'model':<20} {'prompt':>8} {'answer':>8} {'cost':>12} {'ms':>7}  status")
    for row in report.items:
        typer.echo(
            f"{row.at:%Y-%m-%d %H:%M:%S}  {row.model:<20.20} {row.prompt_tokens:>8} {row.completion_tokens:>8} "
            f"{format_usd(row.cost_usd_micros):>12} {row.latency_ms:>7}  {row.status}"
        )
    totals = report.totals
    typer.echo(
        f"{totals.requests} requests, {totals.prompt_tokens} + {totals.completion_tokens} tokens, "
        f"{format_usd(totals.cost_usd_micros)}"
    )
