"""Values of the gateway: requests as providers get them, what they answer, tokens, prices and usage rows.

Everything in the slice passes these about; they hold no connection and check nothing that the wire has checked before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest, NotFound
from slipway.base.money import cost_usd_micros

Operation = Literal["chat.completions", "embeddings"]
Status = Literal["ok", "error", "cancelled"]
Encoding = Literal["float", "base64"]


class InvalidParameter(InvalidRequest):
    """A request that is wrong in one parameter, which OpenAI's envelope names."""

    def __init__(self, param: str, public: str) -> None:
        super().__init__(public)
        self.param = param


class ModelNotFound(NotFound):
    """A model that this gateway does not serve."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name[:200]!r} does not exist: GET /v1/models lists those that do.")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens as the provider counted them; `estimated` when it gave no count and characters were counted instead."""

    prompt: int
    completion: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per million tokens."""

    prompt_usd_micros: int = 0
    completion_usd_micros: int = 0

    def cost_usd_micros(self, tokens: Tokens) -> int:
        """What `tokens` cost; each kind rounded up to a whole micro-dollar."""
        cost = 0
        if self.prompt_usd_micros:
            cost += cost_usd_micros(tokens.prompt, self.prompt_usd_micros)
        if self.completion_usd_micros:
            cost += cost_usd_micros(tokens.completion, self.completion_usd_micros)
        return cost


FREE = Price()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion that the wire has checked: `body` is the caller's, with every key it sent."""

    model: str
    body: Mapping[str, Any]
    stream: bool = False
    include_usage: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's `chat.completion` object; `tokens` is None when it gave no count."""

    body: dict[str, Any]
    tokens: Tokens | None


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to embed, in order."""

    model: str
    inputs: tuple[str, ...]
    encoding: Encoding = "float"
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One JSON value a text, ready for the wire: a list of numbers, or base64 of little-endian float32 in quotes."""

    rows: list[bytes]
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one accepted request took. `model` is the one that answered, `requested_model` the one asked for."""

    request_id: str
    caller: Caller
    at: datetime
    operation: Operation
    requested_model: str
    model: str
    provider: str
    tokens: Tokens
    cost_usd_micros: int
    latency_ms: int
    ttft_ms: int | None
    status: Status
    error_code: str | None
