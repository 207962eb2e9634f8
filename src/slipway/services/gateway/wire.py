"""OpenAI's wire, the way in and the way back: bodies checked, errors in OpenAI's envelope, server-sent events.

Called by the hot routes alone, without a validation framework. It checks what the gateway itself needs and passes
everything else on; what it cannot pass on it refuses by name. Source: OpenAI's API reference, chat and embeddings.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import orjson

from slipway.base.errors import InvalidRequest, SlipwayError
from slipway.services.gateway.models import (
    ChatRequest,
    EmbeddingRequest,
    Embeddings,
    Encoding,
    InvalidParameter,
    ModelNotFound,
)
from slipway.services.gateway.nesting import (
    LONG_BODY_BYTES,
    MAX_BRACKETS,
    MAX_ITEMS,
    MAX_LEVELS,
    has_too_many_brackets,
    nests_too_deeply,
    too_many,
)

MAX_INPUTS: Final = 2048  # OpenAI's own limit
DONE: Final = b"data: [DONE]\n\n"
_NOT_JSON: Final = "The body is not valid JSON: send one object with content-type application/json."
_TOO_DEEP: Final = f"The body is nested too deeply: send one of {MAX_LEVELS} levels or fewer."

# OpenAI's `type` and `code` for each of our errors; where it has no word of its own, ours stands as the code.
_KINDS: Final[dict[str, tuple[str, str | None]]] = {
    "invalid_request": ("invalid_request_error", None),
    "unauthenticated": ("invalid_request_error", "invalid_api_key"),
    "budget_exceeded": ("insufficient_quota", "insufficient_quota"),
    "forbidden": ("permission_error", "insufficient_permissions"),
    "not_found": ("invalid_request_error", "not_found"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "limit_exceeded": ("rate_limit_error", "rate_limit_exceeded"),
}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder: Final = json.JSONDecoder(parse_constant=_no_constant)


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object in a body; raises InvalidRequest when it is anything else, nests too deeply or has too much."""
    if has_too_many_brackets(content):
        raise InvalidRequest(
            f"The body has too many lists and objects: send {MAX_BRACKETS:,} of `[` and `{{` or fewer, those in texts "
            "included."
        )
    try:
        body = orjson.loads(content)
    except ValueError as error:
        body = _odd_json(content, error)
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if nests_too_deeply(body, len(content)):
        raise InvalidRequest(_TOO_DEEP)
    return body


def _odd_json(content: bytes, refusal: ValueError) -> Any:
    """What the fast parser refuses, read again: half of a surrogate pair is valid JSON."""
    if "depth limit" in str(refusal):
        raise InvalidRequest(_TOO_DEEP)
    if b"\\u" not in content:
        raise InvalidRequest(_NOT_JSON)
    if len(content) > LONG_BODY_BYTES:  # the slow parser would hold the interpreter for seconds
        raise InvalidRequest(
            "The body is not valid JSON, or has half of a surrogate pair in a text, which a body of this length may "
            "not: send whole characters."
        ) from refusal
    try:
        return _decoder.decode(content.decode("utf-8"))
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    except ValueError as error:
        raise InvalidRequest(_NOT_JSON) from error


def dumped(value: Any) -> bytes:
    """JSON in the fewest bytes, readable in any language."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def chat_request(body: dict[str, Any], size_bytes: int) -> ChatRequest:
    """A chat request from its body; raises InvalidParameter naming what is wrong."""
    model = _model(body)
    _messages(body.get("messages"))
    refuse_too_many(body, size_bytes)
    stream = _flag(body, "stream")
    include_usage = False
    options = body.get("stream_options")
    if options is not None:
        if not stream:
            raise InvalidParameter("stream_options", "stream_options is only allowed together with stream: true.")
        if not isinstance(options, dict):
            raise InvalidParameter("stream_options", "stream_options must be an object.")
        include_usage = _flag(options, "include_usage", "stream_options.include_usage")
    choices = body.get("n")
    if choices is not None and (not isinstance(choices, int) or isinstance(choices, bool) or choices < 1):
        raise InvalidParameter("n", "n must be a whole number of 1 or more.")
    return ChatRequest("openai", model, body, size_bytes, stream, include_usage)


def refuse_too_many(body: Mapping[str, Any], size_bytes: int) -> None:
    """Raises InvalidParameter for a chat of more pieces than can be translated while others wait."""
    param = too_many(body, size_bytes)
    if param is not None:
        raise InvalidParameter(
            param, f"{param} has too many items: send {MAX_ITEMS:,} messages, parts of messages or tools at most."
        )


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if model is None:
        raise InvalidParameter("model", 'model is missing: name one of GET /v1/models, or "default".')
    if not isinstance(model, str) or not model:
        raise InvalidParameter("model", "model must be the name of a model.")
    return model


def _flag(body: Mapping[str, Any], key: str, param: str | None = None) -> bool:
    value = body.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidParameter(param or key, f"{param or key} must be true or false.")
    return value


def _messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise InvalidParameter("messages", "messages must be a list with one message or more.")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidParameter(f"messages.{index}", f"messages[{index}] must be an object with a role.")
        if not isinstance(message.get("content"), str | list | None):
            raise InvalidParameter(
                f"messages.{index}.content", f"messages[{index}].content must be a text or a list of parts."
            )


_EMBEDDING_KEYS: Final = ("model", "input", "encoding_format", "dimensions", "user")


def embedding_request(body: dict[str, Any]) -> EmbeddingRequest:
    """An embedding request from its body; raises InvalidParameter naming what is wrong."""
    model = _model(body)
    unknown = next((key for key in body if key not in _EMBEDDING_KEYS), None)
    if unknown is not None:  # nothing is dropped in silence
        raise InvalidParameter(
            unknown[:100], f"An embedding request has no {unknown[:100]!r} here: send {', '.join(_EMBEDDING_KEYS)}."
        )
    user = body.get("user")
    if user is not None and not isinstance(user, str):
        raise InvalidParameter("user", "user must be a text.")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise InvalidParameter("encoding_format", 'encoding_format must be "float" or "base64".')
    dimensions = body.get("dimensions")
    if dimensions is not None and (not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 1):
        raise InvalidParameter("dimensions", "dimensions must be a whole number of 1 or more.")
    kind: Encoding = "base64" if encoding == "base64" else "float"
    return EmbeddingRequest(model, _inputs(body.get("input")), kind, dimensions, user)


def _inputs(given: Any) -> tuple[str, ...]:
    inputs = [given] if isinstance(given, str) else given
    if not isinstance(inputs, list) or not inputs:
        raise InvalidParameter("input", "input must be a text or a list with one text or more.")
    if len(inputs) > MAX_INPUTS:
        raise InvalidParameter("input", f"input has {len(inputs)} texts: send {MAX_INPUTS} at most in one request.")
    for index, text in enumerate(inputs):
        if isinstance(text, int | list) and not isinstance(text, bool):
            raise InvalidParameter("input", "input must be text: arrays of token numbers are not understood here.")
        if not isinstance(text, str) or not text:
            raise InvalidParameter("input", f"input[{index}] must be a text that is not empty.")
    return tuple(inputs)


def error_body(error: SlipwayError) -> dict[str, Any]:
    """The error as OpenAI's envelope: what may leave the process, and nothing else."""
    kind, code = _KINDS.get(error.code, ("server_error", error.code))
    if isinstance(error, ModelNotFound):
        code = "model_not_found"
    param = (
        error.param if isinstance(error, InvalidParameter) else "model" if isinstance(error, ModelNotFound) else None
    )
    return {"error": {"message": error.public, "type": kind, "param": param, "code": code}}


def embeddings_body(model: str, embeddings: Embeddings, prompt_tokens: int, cost_usd_micros: int) -> bytes:
    """The list that answers an embedding request. Joins bytes: a large one is 16 MB of numbers."""
    items = [
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, row) for index, row in enumerate(embeddings.rows)
    ]
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens, "cost_usd_micros": cost_usd_micros}
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (b",".join(items), dumped(model), dumped(usage))


def model_body(name: str, provider: str) -> dict[str, Any]:
    """One model as `GET /v1/models` lists it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": provider}


def text_length(messages: Sequence[Mapping[str, Any]]) -> int:
    """Characters of all text in the messages, for an estimate of tokens."""
    length = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            length += len(content)
        elif isinstance(content, list):
            length += sum(len(part["text"]) for part in content if isinstance(part, dict) and _has_text(part))
    return length


def _has_text(part: Mapping[str, Any]) -> bool:
    return isinstance(part.get("text"), str)
