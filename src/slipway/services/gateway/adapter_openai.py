# ruff: noqa: ARG002 - every call of a port takes its caller
"""Models behind any server that speaks OpenAI's API: one pooled client for each address and key.

The address comes from the manifest alone, redirects are not followed, proxies of the environment are not used. A call
is tried again only while nothing of an answer has come, a few times, honouring `retry-after`. Keys never reach a
message: a provider's words about our credential are not passed on.
"""

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import httpx

from slipway.base.callers import Caller
from slipway.base.errors import DeadlineExceeded, InvalidRequest, Misconfigured, SlipwayError, UpstreamFailed
from slipway.services.gateway.chunks import tokens_of
from slipway.services.gateway.models import ChatRequest, Completion, EmbeddingRequest, Embeddings
from slipway.services.gateway.sse import Events
from slipway.services.gateway.upstream_errors import answered, failed, stream_failed

_CONNECTIONS: Final = 1000  # arbitrary; each is one request in flight
_MAX_BODY_BYTES: Final = 64 * 2**20  # 2048 embeddings of 1536 numbers as text are 35 MB
_MAX_STREAM_BYTES: Final = 256 * 2**20
_MAX_ERROR_BYTES: Final = 64 * 2**10
_DRAIN_S: Final = 0.05
_LONGEST_WAIT_S: Final = 10.0  # a longer `retry-after` is the caller's to wait out, not ours

Secret = Callable[[str], str | None]


@dataclass(frozen=True)
class Deadlines:
    """How long a provider may take: to connect, to begin a stream (and between its pieces), and for all of a call."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    total_s: float = 600.0
    attempts: int = 3
    backoff_s: float = 0.25


DEADLINES: Final = Deadlines()


class Upstream:
    """One OpenAI-compatible server; several models may share it."""

    def __init__(
        self, base_url: str, api_key_env: str | None, secret: Secret, deadlines: Deadlines = DEADLINES
    ) -> None:
        self.deadlines = deadlines
        self._base_url = base_url.rstrip("/")
        self._api_key_env = api_key_env
        self._secret = secret
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Closes its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that the server answers; raises as the port says."""
        try:
            async with asyncio.timeout(self.deadlines.total_s):
                response = await self._begun(path, body, self.deadlines.total_s)
                try:
                    return _object(await _content(response, _MAX_BODY_BYTES))
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The model's provider did not answer within {self.deadlines.total_s:g} s."
            ) from error
        except httpx.HTTPError as error:
            raise failed(error) from error

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of a streamed answer, up to its `[DONE]`; raises when it ends before."""
        complete = False
        async with aclosing(self._data(path, body)) as events:
            async for data in events:
                if data == b"[DONE]":
                    return
                payload = _object(data)
                if payload.get("error"):
                    raise stream_failed(payload["error"], self._key())
                complete = complete or _finished(payload)
                yield payload
        if not complete:
            raise UpstreamFailed("The model's provider ended the answer before it was complete.")

    async def _data(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The data of each event. The deadline runs around each read and not around the whole: it must not fire
        while a slow client is written to, where it would look like that client's own cancellation."""
        deadline_s = asyncio.get_running_loop().time() + self.deadlines.total_s
        events, size_bytes = Events(), 0
        try:
            async with asyncio.timeout_at(deadline_s):
                response = await self._begun(path, body, self.deadlines.first_byte_s)
            try:
                pieces = response.aiter_bytes()
                while True:
                    async with asyncio.timeout_at(deadline_s):
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    size_bytes += len(piece)
                    if size_bytes > _MAX_STREAM_BYTES:
                        raise UpstreamFailed("The model's provider sent more than an answer.", retryable=False)
                    for data in events.feed(piece):
                        if data == b"[DONE]":
                            await _drained(pieces)
                        yield data
            finally:
                await response.aclose()
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The model's provider did not finish within {self.deadlines.total_s:g} s."
            ) from error
        except httpx.HTTPError as error:
            raise failed(error) from error

    async def _begun(self, path: str, body: dict[str, Any], read_s: float) -> httpx.Response:
        """A response with status 200 whose body is still to be read, after as many attempts as it takes."""
        content = json.dumps(body, separators=(",", ":")).encode()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(path, content, read_s)
            except SlipwayError as error:
                pause_s = self._pause_s(error, attempt)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    async def _attempt(self, path: str, content: bytes, read_s: float) -> httpx.Response:
        client = self._open()
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        key = self._key()
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        elif self._api_key_env is not None:
            raise Misconfigured(
                "The key of this model's provider is missing on the server: start it with the variable that "
                "the model's api_key_env names.",
                detail=f"the environment has no {self._api_key_env}",
            )
        timeout = httpx.Timeout(read_s, connect=self.deadlines.connect_s)
        request = client.build_request("POST", self._base_url + path, content=content, headers=headers, timeout=timeout)
        try:
            response = await client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise failed(error) from error
        if response.status_code == 200:
            return response
        try:
            text = await _content(response, _MAX_ERROR_BYTES)
        except (httpx.HTTPError, SlipwayError):
            text = b""
        finally:
            await response.aclose()
        raise answered(response.status_code, response.headers, text, key)

    def _pause_s(self, error: SlipwayError, attempt: int) -> float | None:
        """How long to wait before the next attempt; None to give up."""
        if attempt >= self.deadlines.attempts or not error.retryable or isinstance(error, DeadlineExceeded):
            return None
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= _LONGEST_WAIT_S else None
        # Jitter, so that those who wait for a server do not all come back at once.
        return self.deadlines.backoff_s * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311

    def _key(self) -> str | None:
        return self._secret(self._api_key_env) if self._api_key_env else None

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            # Without TLS no certificates are read: that takes 20 ms and 2 MB for each client.
            verify = (
                httpx.create_ssl_context()
                if self._base_url.startswith("https:")
                else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            )
            self._client = httpx.AsyncClient(
                verify=verify,
                follow_redirects=False,
                trust_env=False,
                limits=httpx.Limits(
                    max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=30.0
                ),
            )
        return self._client


class OpenAIModel:
    """One model of an upstream; implements ChatProvider and EmbeddingProvider."""

    def __init__(self, upstream: Upstream, model_id: str) -> None:
        self._upstream = upstream
        self._model_id = model_id

    async def complete(self, caller: Caller, request: ChatRequest) -> Completion:
        """The provider's own answer."""
        body = {**request.body, "model": self._model_id, "stream": False}
        answer = await self._upstream.post("/chat/completions", body)
        if not isinstance(answer.get("choices"), list):
            raise UpstreamFailed("The model's provider answered with something that is no completion.")
        return Completion(answer, tokens_of(answer.get("usage")))

    def stream(self, caller: Caller, request: ChatRequest) -> AsyncGenerator[dict[str, Any], None]:
        """The provider's chunks; usage is always asked for, since every request is accounted."""
        options = {**(request.body.get("stream_options") or {}), "include_usage": True}
        body = {**request.body, "model": self._model_id, "stream": True, "stream_options": options}
        return self._upstream.events("/chat/completions", body)

    async def embed(self, caller: Caller, request: EmbeddingRequest) -> Embeddings:
        """The provider's vectors, in the order of the texts."""
        body: dict[str, Any] = {
            "model": self._model_id,
            "input": list(request.inputs),
            "encoding_format": request.encoding,
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        answer = await self._upstream.post("/embeddings", body)
        items = answer.get("data")
        if not isinstance(items, list) or len(items) != len(request.inputs):
            raise UpstreamFailed("The model's provider answered with another number of embeddings.")
        rows: dict[int, bytes] = {}
        for position, item in enumerate(items):
            if not isinstance(item, dict) or not isinstance(item.get("embedding"), list | str):
                raise UpstreamFailed("The model's provider answered with something that is no embedding.")
            if isinstance(item["embedding"], str) != (request.encoding == "base64"):
                raise InvalidRequest(
                    f"This model's provider does not offer encoding_format {request.encoding!r}: use the other one."
                )
            rows[item.get("index", position)] = json.dumps(item["embedding"], separators=(",", ":")).encode()
        if sorted(rows) != list(range(len(items))):
            raise UpstreamFailed("The model's provider numbered its embeddings wrongly.")
        tokens = tokens_of(answer.get("usage"))
        return Embeddings([rows[index] for index in range(len(items))], tokens.prompt if tokens else None)


async def _content(response: httpx.Response, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in response.aiter_bytes():
        size_bytes += len(piece)
        if size_bytes > max_bytes:
            raise UpstreamFailed("The model's provider answered with more than an answer.", retryable=False)
        pieces.append(piece)
    return b"".join(pieces)


async def _drained(pieces: AsyncIterator[bytes]) -> None:
    """Takes the end of a body that has said all, since only a connection that was read to its end is used again."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in pieces:
                pass


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("The model's provider answered with something that is not JSON.") from error
    if not isinstance(value, dict):
        raise UpstreamFailed("The model's provider answered with JSON that is no object.")
    return value


def _finished(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(isinstance(item, dict) and item.get("finish_reason") for item in choices)
