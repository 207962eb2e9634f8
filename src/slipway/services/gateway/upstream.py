"""One server of models as the adapters reach it: JSON posted, JSON or server-sent events back, errors in our terms.

The address comes from the manifest alone, redirects are not followed, proxies of the environment are not used
(`runtime/outbound`). A call is made once: whether there is another attempt is the service's to say. Keys never reach a
message: a provider's words about our credential are not passed on.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import orjson

from slipway.base.callers import Caller
from slipway.base.errors import Misconfigured, SlipwayError, UpstreamFailed
from slipway.runtime.outbound import Deadlines, Outbound, Stream
from slipway.services.gateway.models import Headers
from slipway.services.gateway.nesting import nests_too_deeply
from slipway.services.gateway.sse import Events
from slipway.services.gateway.upstream_errors import answered

MAX_STREAM_BYTES: Final = 256 * 2**20
_MAX_ERROR_BYTES: Final = 64 * 2**10
_DRAIN_S: Final = 0.05
_DONE: Final = b"[DONE]"
_JSON: Final = (b"content-type", b"application/json")

Secret = Callable[[str], str | None]
Credential = Callable[[str], Headers]


def bearer(key: str) -> Headers:
    """A key as most servers take it."""
    return ((b"authorization", b"Bearer " + key.encode()),)


def named(header: bytes) -> Credential:
    """A key in a header of its own."""
    return lambda key: ((header, key.encode()),)


class Upstream:
    """One server with one key; several models may share it."""

    def __init__(
        self,
        outbound: Outbound,
        *,
        api_key_env: str | None,
        secret: Secret,
        credential: Credential = bearer,
    ) -> None:
        self._outbound = outbound
        self._api_key_env = api_key_env
        self._secret = secret
        self._credential = credential
        self._headers: tuple[str | None, Headers, Headers] | None = None

    async def close(self) -> None:
        """Closes its connections."""
        await self._outbound.close()

    @property
    def key(self) -> str | None:
        """The key as it is now."""
        return self._secret(self._api_key_env) if self._api_key_env else None

    def redacted(self, text: str) -> str:
        """`text` without the key in it."""
        key = self.key
        return text.replace(key, "…") if key else text

    async def post(
        self, caller: Caller, path: str, content: bytes, deadlines: Deadlines, asked: Headers = ()
    ) -> dict[str, Any]:
        """The JSON object that the server answers to the JSON in `content`; raises as the providers' port says.

        `asked` are further headers.
        """
        answer = await self._outbound.post(path, self._headers_now(asked), content, deadlines, owner=caller.tenant_id)
        if answer.status != 200:
            raise answered(answer.status, answer.headers, answer.body[:_MAX_ERROR_BYTES], self.key)
        return json_object(answer.body)

    async def events(
        self, caller: Caller, path: str, content: bytes, deadlines: Deadlines, asked: Headers = ()
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The JSON objects of a streamed answer, as many at a time as came; ends after `[DONE]` or with the stream."""
        stream = await self._outbound.stream(path, self._headers_now(asked), content, deadlines, owner=caller.tenant_id)
        try:
            if stream.status != 200:
                text = b""
                with contextlib.suppress(SlipwayError):
                    text = await stream.rest(_MAX_ERROR_BYTES)
                raise answered(stream.status, stream.headers, text, self.key)
            events, size_bytes = Events(), 0
            while piece := await stream.read():
                size_bytes += len(piece)
                if size_bytes > MAX_STREAM_BYTES:
                    raise UpstreamFailed("The model's provider sent more than an answer.", retryable=False)
                batch, done, failure = _parsed(events, piece)
                if done:
                    await drained(stream)
                if batch:
                    yield batch
                if failure is not None:
                    raise failure
                if done:
                    return
        except SlipwayError as error:
            if stream.status == 200:
                error.effect_unknown = True
            raise
        finally:
            stream.close()

    def _headers_now(self, asked: Headers) -> Headers:
        key = self.key
        kept = self._headers
        if kept is not None and kept[0] == key and kept[1] == asked:
            return kept[2]
        if key is None and self._api_key_env is not None:
            raise Misconfigured(
                "The key of this model's provider is missing on the server: start it with the variable that "
                "the model's api_key_env names.",
                detail=f"the environment has no {self._api_key_env}",
            )
        headers = (_JSON, *asked, *(self._credential(key) if key is not None else ()))
        self._headers = (key, asked, headers)
        return headers


def _parsed(events: Events, piece: bytes) -> tuple[list[dict[str, Any]], bool, SlipwayError | None]:
    """The objects that a piece completes, whether it said `[DONE]`, and what was wrong after them."""
    batch: list[dict[str, Any]] = []
    try:
        for data in events.feed(piece):
            if data == _DONE:
                return batch, True, None
            batch.append(json_object(data))
    except SlipwayError as error:
        return batch, False, error
    return batch, False, None


async def drained(stream: Stream) -> None:
    """Takes the end of a body that has said all, since only a connection that was read to its end is used again."""
    with contextlib.suppress(TimeoutError, SlipwayError):
        async with asyncio.timeout(_DRAIN_S):
            while await stream.read():
                pass


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object that a provider sent; raises UpstreamFailed, since the call was made, with its effect unknown."""
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise UpstreamFailed(
            "The model's provider answered with something that is not JSON.", effect_unknown=True
        ) from error
    if not isinstance(value, dict):
        raise UpstreamFailed("The model's provider answered with JSON that is no object.", effect_unknown=True)
    if nests_too_deeply(value, len(text)):
        raise UpstreamFailed("The model's provider answered with JSON that is nested too deeply.", effect_unknown=True)
    return value
