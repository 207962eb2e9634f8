"""`slipway usage`: what was asked of which model, and what it cost; and rows of killed processes put right."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, get_args

import typer

from slipway.api.usage import UsageGrouping, UsageReconciliation, UsageReport, UsageTotals
from slipway.base.errors import InvalidRequest
from slipway.base.money import format_usd, parse_usd_micros
from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, request_of, run

_GROUPINGS: Final[tuple[UsageGrouping, ...]] = get_args(UsageGrouping)
_COLUMN: Final[dict[UsageGrouping, str]] = {"day": "day", "tenant": "tenant_id", "key": "key_id", "model": "model"}

app = typer.Typer(help="Usage rows and their sums; rows that are put right.")


@app.callback(invoke_without_command=True)
def usage(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows to show.")] = 20,
    by: Annotated[
        str | None, typer.Option("--by", help="Sums instead of rows, by any of tenant,key,model,day.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this day or time on, like 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this day or time.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all of it as CSV.")] = False,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest usage rows, or sums of them, and the totals of the tenant."""
    if context.invoked_subcommand is not None:
        if any(getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE" for name in context.params):
            raise typer.BadParameter(f"options of {context.invoked_subcommand} stand behind its name")
        return
    groupings, after, before = _groupings(by), _time("--since", since), _time("--until", until)
    if after is not None and before is not None and after >= before:
        raise InvalidRequest("--since must be earlier than --until.")
    client = client_of(home, url, api_key)
    if as_csv:
        typer.echo(run(client, lambda to: to.usage_csv(by=groupings, after=after, before=before)), nl=False)
        return
    report = run(client, lambda to: to.usage(by=groupings, after=after, before=before, limit=limit))
    if as_json:
        typer.echo(report.model_dump_json())
        return
    if groupings:
        _show_groups(report, groupings)
    else:
        _show_rows(report)
    totals = report.totals
    typer.echo(
        f"{totals.requests} requests, {totals.prompt_tokens} + {totals.completion_tokens} tokens, "
        f"{format_usd(totals.cost_usd_micros)}"
    )


@app.command("reconcile")
def reconcile(
    request_id: Annotated[str, typer.Argument(help="Id of the row: its request's, or lost_….")],
    input_tokens: Annotated[int, typer.Option("--input-tokens", help="All input, cached parts included.")],
    output_tokens: Annotated[int, typer.Option("--output-tokens")],
    cache_read: Annotated[int, typer.Option("--cache-read-tokens", help="Those of the input read from a cache.")] = 0,
    cache_write: Annotated[int, typer.Option("--cache-write-tokens", help="Those written to it.")] = 0,
    cost: Annotated[str | None, typer.Option("--cost", help="Like $0.05; else the tokens at the row's price.")] = None,
    above_bound: Annotated[bool, typer.Option("--above-bound", help="It is more than was reserved.")] = False,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a row right that was booked as unknown or lost, by what the provider's bill says it took."""
    request = request_of(
        UsageReconciliation,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cost_usd_micros=None if cost is None else parse_usd_micros(cost),
        above_bound=above_bound,
    )
    done = run(client_of(home, url, api_key), lambda client: client.usage_reconcile(request_id, request))
    if as_json:
        typer.echo(done.model_dump_json())
        return
    before, after = done.before, done.after
    typer.echo(
        f"{done.request_id}: {before.status}, {before.charged_tokens} tokens, {format_usd(before.cost_usd_micros)}"
        f" -> {after.status}, {after.charged_tokens} tokens, {format_usd(after.cost_usd_micros)}"
    )


def _show_rows(report: UsageReport) -> None:
    typer.echo(f"{'when':<20} {'model':<20} {'prompt':>8} {'answer':>8} {'cost':>12} {'ms':>7}  status")
    for row in report.items:
        typer.echo(
            f"{row.at:%Y-%m-%d %H:%M:%S}  {row.model:<20.20} {row.prompt_tokens:>8} {row.completion_tokens:>8} "
            f"{format_usd(row.cost_usd_micros):>12} {row.latency_ms:>7}  {row.status}"
        )


def _show_groups(report: UsageReport, groupings: Sequence[UsageGrouping]) -> None:
    columns = [_COLUMN[grouping] for grouping in _COLUMN if grouping in groupings]
    rows = [[str(getattr(group, column) or "-") for column in columns] for group in report.groups or []]
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    typer.echo(f"{_padded(columns, widths)} {'requests':>9} {'prompt':>10} {'answer':>10} {'cost':>14}")
    for cells, group in zip(rows, report.groups or [], strict=True):
        typer.echo(f"{_padded(cells, widths)} {_sums(group)}")


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))


def _sums(sums: UsageTotals) -> str:
    return (
        f"{sums.requests:>9} {sums.prompt_tokens:>10} {sums.completion_tokens:>10} "
        f"{format_usd(sums.cost_usd_micros):>14}"
    )


def _groupings(text: str | None) -> list[UsageGrouping]:
    words = [] if text is None else [word.strip() for word in text.split(",")]
    known = [grouping for grouping in _GROUPINGS if grouping in words]
    if set(words) != set(known):
        raise InvalidRequest(f"--by takes {', '.join(_GROUPINGS)}, separated by commas.")
    return known


def _time(option: str, text: str | None) -> datetime | None:
    """A day begins at midnight UTC; a time without a zone is UTC."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{option} takes a day or a time, like 2026-11-01 or 2026-11-01T12:00Z.") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
