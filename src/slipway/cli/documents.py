"""`slipway documents`: add files and folders, watch them become searchable, list and delete them."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from slipway.api.client import Client
from slipway.api.documents import Document
from slipway.base.errors import InvalidRequest, NotFound, SlipwayError
from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, run

app = typer.Typer(help="Your documents.", no_args_is_help=True)

_AT_A_TIME = 4  # arbitrary: uploads under way at once
_SHARES = {"extract": 0.2, "chunk": 0.05, "embed": 0.7, "store": 0.05}  # of the time; embedding takes most of it


@app.command("add")
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders whose files are added.")],
    collection: Annotated[str, typer.Option("--collection", help="Collection to add to.")] = "default",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until each is searchable.")] = True,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add documents; exit code 1 when any of them failed."""
    files = list(_files(paths))
    console = Console(file=sys.stderr if as_json else sys.stdout)
    work = _Additions(collection, wait, console)
    outcome = run(client_of(home, url, api_key), lambda client: work.run(client, files))
    failed = 0
    for path, result in zip(files, outcome, strict=True):
        if isinstance(result, SlipwayError):
            failed += 1
            typer.echo(f"  failed  {path}: {result.public}", err=True)
        elif result.status == "failed":
            failed += 1
            typer.echo(f"  failed  {path}: {result.error.message if result.error else 'no reason given'}", err=True)
        elif as_json:
            typer.echo(result.model_dump_json())
        else:
            parts = f"{result.page_count} pages, {result.chunk_count} chunks" if result.page_count else result.id
            typer.echo(f"  {result.status:<7} {path}  ({parts})")
    if failed:
        raise typer.Exit(1)


@app.command("list")
def list_documents(
    collection: Annotated[str | None, typer.Option("--collection", help="List only this collection.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List your documents, newest first."""

    async def all_pages(client: Client) -> list[Document]:
        documents: list[Document] = []
        cursor: str | None = None
        while True:
            page = await client.document_list(collection=collection, cursor=cursor, limit=100)
            documents += page.items
            cursor = page.next
            if cursor is None:
                return documents

    documents = run(client_of(home, url, api_key), all_pages)
    if not documents:
        typer.echo("There are no documents here: `slipway documents add FILE` adds some.", err=True)
    for document in documents:
        if as_json:
            typer.echo(document.model_dump_json())
        else:
            typer.echo(f"{document.id}  {document.status:<10} {document.collection:<12} {document.title}")


@app.command("delete")
def delete(
    document_id: Annotated[str, typer.Argument(help="Id of the document.")],
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Delete a document with everything made of it."""
    run(client_of(home, url, api_key), lambda client: client.document_delete(document_id))
    typer.echo(f"Deleted {document_id}.")


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            inside = sorted(item for item in path.rglob("*") if item.is_file() and not _hidden(item.relative_to(path)))
            if not inside:
                raise InvalidRequest(f"The folder {path} holds no files, hidden ones aside.")
            yield from inside
        elif path.is_file():
            yield path
        else:
            raise InvalidRequest(f"There is no file or folder {path}.")


def _hidden(path: Path) -> bool:
    """Whether a person does not see it in a folder: .git and .venv hold files that nobody means to add."""
    return any(part.startswith(".") for part in path.parts)


class _Additions:
    """Uploads a few files at a time and follows each until it is ready or failed."""

    def __init__(self, collection: str, wait: bool, console: Console) -> None:
        self._collection = collection
        self._wait = wait
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[step]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    async def run(self, client: Client, files: list[Path]) -> list[Document | SlipwayError]:
        slots = asyncio.Semaphore(_AT_A_TIME)
        with self._progress:
            return list(await asyncio.gather(*(self._one(client, path, slots) for path in files)))

    async def _one(self, client: Client, path: Path, slots: asyncio.Semaphore) -> Document | SlipwayError:
        async with slots:
            bar = self._progress.add_task(path.name, total=1.0, step="upload")
            try:
                document = await client.document_add(path, collection=self._collection)
                if self._wait and document.status not in ("ready", "failed"):
                    document = await self._follow(client, document, bar)
            except SlipwayError as error:
                self._progress.update(bar, step="failed")
                return error
            self._progress.update(bar, completed=1.0, step=document.status)
            return document

    async def _follow(self, client: Client, document: Document, bar: TaskID) -> Document:
        async for event in client.document_events(document.id):
            document = Document.model_validate(event.data)
            self._progress.update(bar, completed=_share_done(document), step=_current_step(document))
        if document.status in ("ready", "failed"):
            return document
        try:
            return await client.document_view(document.id)
        except NotFound as error:
            raise NotFound("It was deleted before it could be searched.") from error


def _share_done(document: Document) -> float:
    done = 0.0
    for step in document.steps:
        if step.status == "done":
            done += _SHARES[step.name]
        elif step.status == "running" and step.total:
            done += _SHARES[step.name] * min(1.0, step.done / step.total)
    return done


def _current_step(document: Document) -> str:
    return next((step.name for step in document.steps if step.status in ("running", "pending")), document.status)
