# ruff: noqa: ARG002 - every call of a port takes its caller
"""Models of Amazon Bedrock: Converse and ConverseStream, signed with SigV4 by botocore.

Credentials come from where AWS's SDKs find them (variables, profiles, the task's or the pod's role); botocore refreshes
them. Finding and refreshing may ask the network, so both are done in a thread. Source: Bedrock Runtime API
reference; the frames of a stream are `application/vnd.amazon.eventstream`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import quote

import orjson

from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import SlipwayError, Unavailable, UpstreamFailed
from slipway.runtime.outbound import Deadlines, Outbound
from slipway.services.gateway.models import Headers, WireName, WrittenBody
from slipway.services.gateway.upstream import json_object
from slipway.services.gateway.upstream_errors import answered, event_failed

_MAX_ERROR_BYTES: Final = 64 * 2**10
_LOOK_AGAIN_S: Final = 30.0  # where there are none, looking may wait for an address that does not answer
_SERVICE: Final = "bedrock"


class AwsSigner:
    """Signs requests for Bedrock with the credentials of this process."""

    def __init__(self, region: str | None, clock: Clock) -> None:
        self._region = region
        self._clock = clock
        self._credentials: Any = None
        self._looked_at_s = float("-inf")

    async def headers(self, url: str, body: bytes) -> list[tuple[bytes, bytes]]:
        """The headers of a signed POST. Raises Unavailable without a region or credentials, so that fallbacks serve."""
        if self._region is None:
            raise Unavailable(
                "The model's provider is Bedrock in no region: an operator writes the model's region in the manifest."
            )
        return await asyncio.to_thread(self._headers, url, body)

    def _headers(self, url: str, body: bytes) -> list[tuple[bytes, bytes]]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        try:
            self._find()
            if self._credentials is None:
                raise Unavailable(
                    "There are no AWS credentials for this model's provider: give this process a role, a profile or "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
                )
            request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=body)
            SigV4Auth(self._credentials.get_frozen_credentials(), _SERVICE, self._region or "").add_auth(request)
        except BotoCoreError as error:
            raise Unavailable(
                "The AWS credentials for this model's provider cannot be used: check this process's role or profile.",
                detail=repr(error),
            ) from error
        return [(name.lower().encode(), str(value).encode()) for name, value in request.headers.items()]

    def _find(self) -> None:
        from botocore.session import Session

        now_s = self._clock.monotonic_s()
        if self._credentials is None and now_s - self._looked_at_s > _LOOK_AGAIN_S:
            self._looked_at_s = now_s
            self._credentials = Session().get_credentials()


class BedrockModel:
    """One model in one region; implements ChatProvider."""

    wire: WireName = "converse"

    def __init__(
        self, outbound: Outbound, base_url: str, signer: AwsSigner, model_id: str, deadlines: Deadlines
    ) -> None:
        self._outbound = outbound
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._deadlines = deadlines
        self.model_id = model_id
        # An id may be an ARN, with slashes and colons; the signature is over the path as it is sent, quoted again.
        self._path = f"/model/{quote(model_id, safe='')}"

    async def complete(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> dict[str, Any]:
        """Converse's answer."""
        path, content = f"{self._path}/converse", body.content
        signed = await self._signer.headers(self._base_url + path, content)
        deadlines = self._deadlines.within(left_s)
        answer = await self._outbound.post(path, signed, content, deadlines, owner=caller.tenant_id)
        if answer.status != 200:
            raise _refused(answer.status, answer.headers, answer.body)
        return json_object(answer.body)

    async def stream(
        self, caller: Caller, body: WrittenBody, headers: Headers, left_s: float | None = None
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """ConverseStream's events, each as `{type: event}`."""
        from botocore.eventstream import EventStreamBuffer, ParserError

        path, content = f"{self._path}/converse-stream", body.content
        signed = await self._signer.headers(self._base_url + path, content)
        deadlines = self._deadlines.within(left_s)
        stream = await self._outbound.stream(path, signed, content, deadlines, owner=caller.tenant_id)
        try:
            if stream.status != 200:
                text = b""
                with contextlib.suppress(SlipwayError):
                    text = await stream.rest(_MAX_ERROR_BYTES)
                raise _refused(stream.status, stream.headers, text)
            frames = EventStreamBuffer()
            while piece := await stream.read():
                frames.add_data(piece)
                batch: list[dict[str, Any]] = []
                failure: SlipwayError | None = None
                try:
                    for frame in frames:
                        batch += (_event(frame),)
                except ParserError as error:
                    failure = UpstreamFailed(
                        "The model's provider sent an event that cannot be read.", detail=repr(error)
                    )
                except SlipwayError as error:
                    failure = error  # what came before it is the caller's all the same
                if batch:
                    yield batch
                if failure is not None:
                    raise failure
        except SlipwayError as error:
            if stream.status == 200:
                error.effect_unknown = True
            raise
        finally:
            stream.close()

    def redacted(self, text: str) -> str:
        """Signed requests carry no secret that could be repeated."""
        return text

    async def count_tokens(self, caller: Caller, body: WrittenBody, headers: Headers) -> int | None:
        """None: not every model of Bedrock offers a count."""
        return None


def _event(frame: Any) -> dict[str, Any]:
    headers = frame.headers
    if headers.get(":message-type") in ("exception", "error"):
        kind = headers.get(":exception-type") or headers.get(":error-code") or ""
        raise event_failed(str(kind), frame.payload)
    try:
        payload = orjson.loads(frame.payload)
    except ValueError as error:
        raise UpstreamFailed("The model's provider sent an event that is not JSON.") from error
    return {str(headers.get(":event-type", "")): payload}


def _refused(status: int, headers: Any, content: bytes) -> SlipwayError:
    return answered(status, headers, content[:_MAX_ERROR_BYTES], None)
