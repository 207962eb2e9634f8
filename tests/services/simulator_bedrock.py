"""Amazon Bedrock's Converse and ConverseStream on loopback: signatures verified, requests checked, frames as AWS sends.

A request is held against botocore's own model of the service, its SigV4 signature against the secret; what the real one
would refuse is refused. A model's id is a behaviour's name, or stands between "anthropic." and "-v1:0" as real ids do.
Source: Amazon Bedrock API reference, Converse and ConverseStream; Smithy, "Amazon Event Stream" (frames and CRCs).
"""

import asyncio
import base64
import binascii
import json
import struct
import urllib.parse
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.services.provider_bill import Counted
from tests.services.simulated_provider import (
    SIGNATURE,
    THOUGHT,
    Answer,
    Asked,
    Failures,
    SimulatedProvider,
    breaks,
    fails,
    image_seen,
    pace,
)

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"  # AWS's own example of a credential
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "eu-central-1"
MAX_SKEW = timedelta(minutes=5)
EVENT_STREAM = b"application/vnd.amazon.eventstream"
STATUSES = {
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
    "ValidationException": 400,
    "ResourceNotFoundException": 404,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
    "MissingAuthenticationTokenException": 403,
}


class BedrockSimulator(SimulatedProvider):
    """The ASGI application; `seen` is what it got."""

    request_id_header = b"x-amzn-requestid"

    def model(self, scope: Mapping[str, Any], request: dict[str, Any]) -> str:
        model_id = urllib.parse.unquote(scope["raw_path"].decode().split("/")[2])
        return model_id.removeprefix("anthropic.").removesuffix("-v1:0")

    async def refuses(self, scope, headers: dict[str, str], body: bytes, answer: Answer) -> bool:
        if problem := unsigned(scope["method"], scope["raw_path"].decode(), headers, body):
            await error(answer, *problem)
            return True
        if self.model(scope, {}) == "wrong-key":
            text = f"The security token included in the request is invalid ({ACCESS_KEY_ID})."
            await error(answer, "UnrecognizedClientException", text)
            return True
        return False

    async def serve(self, path: str, model: str, request: dict[str, Any], answer: Answer) -> None:
        operation = {"converse": "Converse", "converse-stream": "ConverseStream"}.get(path.rsplit("/", 1)[-1])
        if operation is None:
            await error(answer, "ResourceNotFoundException", "Unknown operation")
            return
        failures: Failures = {
            "rate-limited": lambda: error(answer, "ThrottlingException", "Slow down.", [(b"retry-after", b"17")]),
            "broken": lambda: error(answer, "InternalServerException", "The system encountered an unexpected error."),
            "overloaded": lambda: error(answer, "ServiceUnavailableException", "Too many connections, please wait."),
            "strict": lambda: error(answer, "ValidationException", "temperature: range: 0..1"),
            "redirect": lambda: answer.whole(302, b"", [(b"location", b"/v1/elsewhere")]),
            "not-json": lambda: answer.whole(200, b"<html>hello</html>"),
            "silent": lambda: asyncio.sleep(30),
        }
        if model in failures:
            await failures[model]()
            return
        if self.recovers(model):
            await error(answer, "ServiceUnavailableException", "Too many connections.", [(b"retry-after", b"0")])
            return
        problems = [*unfit({"modelId": model, **request}, shape(operation), "")]
        if problems:
            await error(answer, "ValidationException", "; ".join(problems))
            return
        asked = read(model, request, stream=operation == "ConverseStream")
        line = self.book(asked, answer)
        if asked.stream:
            line.complete = await stream(asked, answer, line.counted)
        else:
            await answer.json(converse(asked, line.counted))
            line.complete = True


async def error(answer: Answer, kind: str, text: str, headers=()) -> None:
    """An error as AWS writes it: its kind in a header, its text in the body."""
    named = (b"x-amzn-errortype", f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/".encode())
    await answer.json({"message": text}, STATUSES[kind], [named, *headers])


def unsigned(method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[str, str] | None:
    """What is wrong with a request's signature, as kind and text; None when it is good."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return "MissingAuthenticationTokenException", "Missing Authentication Token"
    given = dict(part.strip().split("=", 1) for part in rest.split(","))
    access_key, date, *scope = given["Credential"].split("/")
    if access_key != ACCESS_KEY_ID:
        return "UnrecognizedClientException", "The security token included in the request is invalid."
    signed_at = headers.get("x-amz-date", "")
    if scope != [REGION, "bedrock", "aws4_request"] or not signed_at.startswith(date):
        return "InvalidSignatureException", f"Credential should be scoped to {REGION}/bedrock, not {scope}."
    age = datetime.now(UTC) - datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(age) > MAX_SKEW:
        return "InvalidSignatureException", f"Signature expired: {signed_at}"
    signed = given["SignedHeaders"].split(";")
    if not {"host", "x-amz-date"} <= set(signed):
        return "InvalidSignatureException", "'Host' and 'X-Amz-Date' must be signed."
    request = AWSRequest(method, f"http://{headers['host']}{target}", {name: headers[name] for name in signed}, body)
    request.context["timestamp"] = signed_at
    auth = SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY), "bedrock", REGION)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if given["Signature"] != expected:
        return "InvalidSignatureException", "The request signature we calculated does not match the signature provided."
    return None


@cache
def shape(operation: str) -> Any:
    """The operation's input in botocore's model of the service."""
    return botocore.session.get_session().get_service_model("bedrock-runtime").operation_model(operation).input_shape


def unfit(value: Any, expected: Any, where: str) -> Iterator[str]:
    """What in a JSON value is not as the service's model has it."""
    kinds = {"structure": dict, "map": dict, "list": list, "string": str, "blob": str, "boolean": bool}
    kind = kinds.get(expected.type_name, int | float)
    if getattr(expected, "is_document_type", False):
        return
    if not isinstance(value, kind):
        yield f"{where}: expected {expected.type_name}"
    elif expected.type_name == "structure":
        yield from _unfit_structure(value, expected, where)
    elif expected.type_name == "list":
        if len(value) < expected.metadata.get("min", 0):
            yield f"{where}: too short"
        for index, each in enumerate(value):
            yield from unfit(each, expected.member, f"{where}[{index}]")
    elif expected.type_name == "blob":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            yield f"{where}: not base64"
    elif expected.type_name == "string" and len(value) < expected.metadata.get("min", 0):
        yield f"{where}: too short"


def _unfit_structure(value: dict[str, Any], expected: Any, where: str) -> Iterator[str]:
    for name in sorted(set(value) - set(expected.members)):
        yield f"{where}.{name}: extraneous key"
    for name in expected.required_members:
        if name not in value:
            yield f"{where}.{name}: required key not found"
    if getattr(expected, "is_tagged_union", False) and len(value) != 1:
        yield f"{where}: exactly one member of a union"
    for name in set(value) & set(expected.members):
        yield from unfit(value[name], expected.members[name], f"{where}.{name}")


def read(model: str, request: dict[str, Any], *, stream: bool) -> Asked:
    """A request of this wire that has been checked."""
    messages = request.get("messages", [])
    blocks = [block for each in messages for block in each["content"]]
    texts = [block["text"] for block in blocks if "text" in block]
    system = [block["text"] for block in request.get("system", []) if "text" in block]
    last = messages[-1]["content"] if messages else []
    return Asked(
        model=model,
        stream=stream,
        question=texts[-1] if texts else "",
        characters=sum(map(len, [*system, *texts])),
        limit=request.get("inferenceConfig", {}).get("maxTokens"),
        has_tools=bool(request.get("toolConfig", {}).get("tools")),
        answers_tool=any("toolResult" in block for block in last),
        images=tuple(
            image_seen(f"image/{block['image']['format']}", block["image"]["source"]["bytes"])
            for block in blocks
            if "image" in block
        ),
    )


def usage_of(counted: Counted) -> dict[str, Any]:
    """The count as Bedrock reports it: `inputTokens` leaves out what a cache had to do with, the total does not."""
    usage: dict[str, Any] = {
        "inputTokens": counted.uncached,
        "outputTokens": counted.completion,
        "totalTokens": counted.prompt + counted.completion,
        "cacheReadInputTokens": counted.cache_read,
        "cacheWriteInputTokens": counted.cache_write,
    }
    if counted.cache_write:
        usage["cacheDetails"] = [{"ttl": "5m", "inputTokens": counted.cache_write}]
    return usage


def converse(asked: Asked, counted: Counted) -> dict[str, Any]:
    """A whole answer."""
    content: list[dict[str, Any]] = []
    if asked.model == "thinking":
        content.append({"reasoningContent": {"reasoningText": {"text": "".join(THOUGHT), "signature": SIGNATURE}}})
    if not asked.calls:
        content.append({"text": "".join(asked.words)})
    for call_id, name, arguments in asked.calls:
        content.append({"toolUse": {"toolUseId": call_id, "name": name, "input": json.loads(arguments)}})
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": asked.reason,
        "usage": usage_of(counted),
        "metrics": {"latencyMs": 1},
    }


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of an event stream: two lengths, their CRC, headers, payload, and the CRC of it all."""
    head = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    content = lengths + struct.pack(">I", zlib.crc32(lengths)) + head + payload
    return content + struct.pack(">I", zlib.crc32(content))


def event(kind: str, payload: dict[str, Any]) -> bytes:
    """An event's frame. `p` is the padding that AWS puts against guesses from the length."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps({**payload, "p": "abcdefghijkl"}).encode())


def exception(kind: str, payload: dict[str, Any]) -> bytes:
    """An exception's frame, which ends a stream."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps(payload).encode())


def blocks_of(asked: Asked) -> Iterator[tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
    """Each block's start, which text and thoughts go without, and its deltas."""
    if asked.model == "thinking":
        deltas: list[dict[str, Any]] = [{"reasoningContent": {"text": piece}} for piece in THOUGHT]
        yield None, [*deltas, {"reasoningContent": {"signature": SIGNATURE}}]
    if not asked.calls:
        yield None, [{"text": word} for word in asked.words]
    for call_id, name, arguments in asked.calls:
        pieces = [arguments[at : at + 5] for at in range(0, len(arguments), 5)]
        start = {"toolUse": {"toolUseId": call_id, "name": name}}
        yield start, [{"toolUse": {"input": piece}} for piece in pieces]


async def stream(asked: Asked, answer: Answer, counted: Counted) -> bool:
    """A streamed answer, whether it is whole; `slow` takes its time, others break in their own way."""
    model = asked.model
    await answer.begin(EVENT_STREAM)
    if model == "together":
        answer.hold()
    await answer.piece(event("messageStart", {"role": "assistant"}))
    for index, (start, deltas) in enumerate(blocks_of(asked)):
        if start is not None:
            await answer.piece(event("contentBlockStart", {"start": start, "contentBlockIndex": index}))
        for number, delta in enumerate(deltas):
            await pace(model, number)
            content = event("contentBlockDelta", {"delta": delta, "contentBlockIndex": index})
            await answer.piece(content)
            if breaks(model, number):
                if await fails(model):
                    problem = {"message": "The model crashed.", "originalStatusCode": 500}
                    await answer.piece(exception("modelStreamErrorException", problem))
                elif model == "cut":
                    await answer.piece(content[:20])
                if model != "severed":  # its connection just ends, within the chunked body
                    await answer.piece(b"", more=False)
                return False
        await answer.piece(event("contentBlockStop", {"contentBlockIndex": index}))
    await answer.piece(event("messageStop", {"stopReason": asked.reason}))
    await answer.piece(event("metadata", {"usage": usage_of(counted), "metrics": {"latencyMs": 1}}))
    await answer.piece(b"", more=False)
    return True
