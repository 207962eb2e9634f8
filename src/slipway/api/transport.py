"""The one way a client's request leaves: over TCP or a unix socket, with a credential and a deadline."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import httpx

from slipway.base.errors import (
    ERRORS,
    DeadlineExceeded,
    InvalidRequest,
    SlipwayError,
    Unavailable,
    UpstreamFailed,
    kind_of,
)

_ATTEMPTS: Final = 3  # of a request that never reached the server, or that only reads
_BACKOFF_S: Final = 0.1  # arbitrary first pause, doubled each time
_LONGEST_WAIT_S: Final = 5.0  # a server that asks for a longer pause is believed: its error goes to the caller
_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")

Credential = Callable[[], str]
Context = Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    data: Any


@dataclass(frozen=True)
class Transport:
    """A pool of connections to one address, and what its requests carry: a credential, and headers of the context.

    `context` is asked before each request, for headers such as the trace that the request belongs to. `part` is set
    when one part of the platform speaks to another: errors then name it to a user who knows of no parts.
    """

    http: httpx.AsyncClient
    credential: Credential | None = None
    context: Context | None = None
    part: str | None = None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        unix_socket: Path | None = None,
        credential: Credential | None = None,
        context: Context | None = None,
        part: str | None = None,
        timeout_s: float = 120.0,
    ) -> Self:
        """No connection is made yet. `timeout_s` bounds each wait for bytes, not a whole stream."""
        pool = httpx.AsyncHTTPTransport(
            uds=str(unix_socket) if unix_socket else None,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=4.0),
        )
        client = httpx.AsyncClient(
            base_url=url,
            transport=pool,
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            follow_redirects=False,
            trust_env=False,
        )
        return cls(client, credential, context, part)

    def acting(self, credential: Credential) -> Self:
        """The same connections with another credential."""
        return replace(self, credential=credential)

    async def close(self) -> None:
        await self.http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Any = None,
        content: AsyncIterator[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        files: Any = None,
        data: Any = None,
    ) -> httpx.Response:
        """The response of a 2xx; otherwise raises the SlipwayError that the server meant.

        A read is tried again when the server cannot be reached or asks to wait; anything else only when no connection
        was made.
        """
        idempotent = method == "GET" and content is None
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with _Translated(self.part):
                    response = await self.http.request(
                        method,
                        path,
                        params={name: value for name, value in (query or {}).items() if value is not None},
                        json=body,
                        content=content,
                        files=files,
                        data=data,
                        headers=self._headers(headers),
                    )
                if response.is_success:
                    return response
                raise error_of(response.status_code, response.headers, response.content)
            except SlipwayError as error:
                again = error.code == "unavailable" and (idempotent or isinstance(error.__cause__, httpx.ConnectError))
                pause_s = error.retry_after_s or _BACKOFF_S * 2 ** (attempt - 1)
                if not again or attempt == _ATTEMPTS or content is not None or pause_s > _LONGEST_WAIT_S:
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError("the loop returns or raises")

    async def probe(self, path: str) -> dict[str, Any]:
        """What a probe says, whatever its status, asked once; raises UpstreamFailed when something else answers."""
        with _Translated(self.part):
            response = await self.http.get(path)
        answer = _parsed(response.text)
        if not isinstance(answer, dict) or "ready" not in answer:
            raise UpstreamFailed(f"What answers at {self.http.base_url} is not a Slipway platform: check the address.")
        return answer

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """A response still to be read; leaving the block closes the connection, which cancels the work."""
        with _Translated(self.part):
            async with self.http.stream(method, path, json=body, headers=self._headers(headers)) as response:
                if not response.is_success:
                    raise error_of(response.status_code, response.headers, await response.aread())
                yield response

    async def events(self, method: str, path: str, *, body: Any = None) -> AsyncGenerator[Event, None]:
        """The server-sent events of a response (WHATWG HTML section 9.2), data parsed as JSON where it is JSON.

        An event that the end of the stream cuts off is dropped, as the standard says. Closing this early closes the
        connection, which cancels the work.
        """
        async with self.stream(method, path, body=body, headers={"accept": "text/event-stream"}) as response:
            name, data = "message", list[str]()
            async for line in _lines(response.aiter_bytes()):
                if not line:
                    if data:
                        yield Event(name, _parsed("\n".join(data)))
                    name, data = "message", []
                elif line.startswith("event:"):
                    name = line[6:].removeprefix(" ")
                elif line.startswith("data:"):
                    data.append(line[5:].removeprefix(" "))

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        sent = {**(self.context() if self.context is not None else {}), **(headers or {})}
        if self.credential is not None:
            sent.setdefault("authorization", f"Bearer {self.credential()}")
        return sent


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Lines that end in LF, CR or CRLF and nothing else: JSON may hold U+2028 or U+0085 as they are."""
    rest = b""
    async for piece in pieces:
        # A CR at the end may be the first half of a CRLF: it waits for what follows.
        *lines, rest = _LINE_END.split(rest + piece)
        for line in lines:
            yield line.decode(errors="replace")
    if rest.endswith(b"\r"):
        yield rest[:-1].decode(errors="replace")


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> SlipwayError:
    """The error that a response stands for: a problem (RFC 9457) or an OpenAI envelope, else by its status."""
    body = _parsed(content.decode(errors="replace"))
    by_status = kind_of(status)
    public, kind, retryable = f"The server answered {status}.", by_status, None
    if isinstance(body, dict):
        if isinstance(body.get("detail"), str):
            public = body["detail"]
            kind = ERRORS.get(str(body.get("code")), by_status)
            retryable = body.get("retryable")
        elif isinstance(body.get("error"), dict):
            public = str(body["error"].get("message", public))
    retry_after = headers.get("retry-after", "")
    return kind(
        public,
        retryable=retryable if isinstance(retryable, bool) else None,
        retry_after_s=float(retry_after) if retry_after.isdigit() else None,
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class _Translated:
    """Turns httpx's errors into ours."""

    def __init__(self, part: str | None) -> None:
        self._who = f"The platform's {part}" if part else "The platform"
        self._remedy = "try again shortly." if part else "is it running? `slipway up` starts it."

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            raise Unavailable(f"{self._who} cannot be reached: {self._remedy}", detail=str(error)) from error
        if isinstance(error, httpx.TimeoutException):
            raise DeadlineExceeded(f"{self._who} took too long to answer.", detail=str(error)) from error
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            raise InvalidRequest("The address is not a URL like http://127.0.0.1:8700.", detail=str(error)) from error
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError | httpx.CloseError):
            raise Unavailable(f"{self._who} closed the connection before it answered.", detail=str(error)) from error
        if isinstance(error, httpx.HTTPError):
            raise UpstreamFailed(f"{self._who} gave an answer that could not be read.", detail=str(error)) from error
