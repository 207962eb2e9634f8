"""How a verb reaches the platform: `--url` and `--api-key`, else the environment, else the home's credentials."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from slipway.api.client import Client
from slipway.api.wire import Request
from slipway.app.home import Home
from slipway.base.errors import InvalidRequest, Unauthenticated
from slipway.runtime.settings import Settings, client_settings

Answer = TypeVar("Answer")
Body = TypeVar("Body", bound=Request)

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Home of the platform (SLIPWAY_HOME; .slipway by default).")
]
UrlOption = Annotated[str | None, typer.Option("--url", help="Address of the platform (SLIPWAY_URL).")]
KeyOption = Annotated[str | None, typer.Option("--api-key", help="API key (SLIPWAY_API_KEY is safer).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def client_of(home: Path | None, url: str | None, api_key: str | None) -> Client:
    """A client with the first address and key that are given; raises Unauthenticated when no key is known."""
    environment_url, environment_key = client_settings()
    url, api_key = url or environment_url, api_key or environment_key
    if url is None or api_key is None:
        settings = Settings.from_environment({"home": home})
        kept = Home(settings.home).credentials()
        if kept is None and api_key is None:
            raise Unauthenticated(
                f"No platform has run on {Home(settings.home).path} yet: start one with `slipway up`, "
                "or give --url and --api-key."
            )
        url = url or (kept.url if kept else None)
        api_key = api_key or (kept.api_key if kept else None)
    return Client(url or "http://127.0.0.1:8700", api_key=api_key)


def request_of(kind: type[Body], **values: Any) -> Body:
    """The request that a verb's arguments make; raises InvalidRequest with every argument that is wrong."""
    try:
        return kind(**values)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InvalidRequest(f"This cannot be asked: {wrong}.") from error


def run(client: Client, work: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """Runs one operation and closes the client."""

    async def whole() -> Answer:
        async with client:
            return await work(client)

    return asyncio.run(whole())
