"""`slipway ask`: a question to the tenant's own documents, answered with citations and its cost."""

import json
from typing import Annotated, Any

import typer

from slipway.api.chat import ChatRequest
from slipway.api.client import Client
from slipway.base.errors import UpstreamFailed
from slipway.base.money import format_usd
from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, request_of, run


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    session: Annotated[str | None, typer.Option("--session", help="Go on in this session.")] = None,
    collection: Annotated[str | None, typer.Option("--collection", help="Look only in this collection.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Answer with this model of the manifest.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question from your documents."""
    if not question.strip():
        raise typer.BadParameter("write what you want to know.", param_hint="question")
    request = request_of(ChatRequest, message=question, session_id=session, collection=collection, model=model)
    client = client_of(home, url, api_key)
    if as_json:
        typer.echo(run(client, lambda client: client.chat(request)).model_dump_json())
        return
    run(client, lambda client: _streamed(client, request))


async def _streamed(client: Client, request: ChatRequest) -> None:
    citations: list[dict[str, Any]] = []
    async for event in client.chat_events(request):
        if event.name == "token":
            typer.echo(event.data["text"], nl=False)
        elif event.name == "citations":
            citations = event.data["citations"]
        elif event.name == "usage":
            typer.echo("")
            _show_citations(citations)
            _show_usage(event.data)
        elif event.name == "done":
            typer.echo(f"  session {event.data['session_id']}")
        elif event.name == "error":
            typer.echo("")
            raise UpstreamFailed(str(event.data.get("detail", json.dumps(event.data))))


def _show_citations(citations: list[dict[str, Any]]) -> None:
    typer.echo("")
    for number, citation in enumerate(citations, start=1):
        quote = " ".join(citation["quote"].split())
        typer.echo(f'  [{number}] {citation["title"]}, page {citation["page"]}: "{quote}"')


def _show_usage(usage: dict[str, Any]) -> None:
    tokens = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
    typer.echo(f"  cost    {format_usd(usage['cost_usd_micros'])} ({tokens}, {usage['model']})")
