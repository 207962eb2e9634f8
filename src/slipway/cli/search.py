"""`slipway search`: the passages nearest to a query."""

from typing import Annotated

import typer

from slipway.api.documents import SearchRequest
from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, request_of, run


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=100)] = 5,
    collection: Annotated[str | None, typer.Option("--collection", help="Look only in this collection.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find passages in your documents."""
    if not query.strip():
        raise typer.BadParameter("write what to look for.", param_hint="query")
    request = request_of(SearchRequest, query=query, limit=limit, collection=collection)
    answer = run(client_of(home, url, api_key), lambda client: client.search(request))
    if as_json:
        typer.echo(answer.model_dump_json())
        return
    if not answer.results:
        typer.echo("Nothing found: are there documents? `slipway documents list` shows them.")
    for result in answer.results:
        typer.echo(f"{result.title}, page {result.page}  ({result.score:.4f})")
        typer.echo(f"  {' '.join(result.text.split())[:300]}\n")
