"""Values of the gateway: requests as providers get them, what they answer, tokens, prices and usage rows.

Everything in the slice passes these about; they hold no connection and check nothing that the wire has checked before.
Nothing changes them once they are made. Those that each request makes are not frozen all the same: that costs 0.1 µs a
field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest, NotFound

Operation = Literal["chat.completions", "embeddings", "messages", "messages.count_tokens"]
# unknown: the process was killed while it was served; lost: what a process spent of a budget whose journal is gone.
Status = Literal["ok", "error", "cancelled", "unknown", "lost"]
# counted: from tokens; bound: the most it may have cost, since nobody counted.
CostBasis = Literal["counted", "bound"]
Charge = tuple[str, int]  # an account of a budget, and an amount in its unit
Encoding = Literal["float", "base64"]
Headers = Sequence[tuple[bytes, bytes]]
CallerWire = Literal["openai", "anthropic"]
WireName = Literal["openai", "anthropic", "converse"]

# More tokens of a kind than any request means: a caller's figure beyond it is refused, a provider's is cut to it.
MOST_TOKENS: Final = 10**9
# The largest amount that every store keeps exactly: PostgreSQL's go on, those of Redis's scripts and of JSON end here.
MOST_AMOUNT: Final = 2**53 - 1


class InvalidParameter(InvalidRequest):
    """A request that is wrong in one parameter, which OpenAI's envelope names."""

    def __init__(self, param: str, public: str) -> None:
        super().__init__(public)
        self.param = param


class ModelNotFound(NotFound):
    """A model that this gateway does not serve."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name[:200]!r} does not exist: GET /v1/models lists those that do.")


@dataclass(slots=True)
class Tokens:
    """Tokens as the provider counted them; `estimated` when it gave no count and characters were counted instead.

    `prompt` is all input, whatever was read from or written to a provider's cache included: `cache_read`, `cache_write`
    (kept for minutes) and `cache_write_1h` are parts of it.
    """

    prompt: int
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """Input and output."""
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per million tokens of each kind; `version` says which table or manifest they are from.

    A kind of cached token without a price of its own costs what any other prompt token does. Prompts longer than
    `long_from_tokens` are charged at `long` throughout, where a provider does so.
    """

    prompt_usd_micros: int = 0
    completion_usd_micros: int = 0
    cache_read_usd_micros: int | None = None
    cache_write_usd_micros: int | None = None
    cache_write_1h_usd_micros: int | None = None
    version: str = "free"
    long_from_tokens: int | None = None
    long: "Price | None" = None

    def cost_usd_micros(self, tokens: Tokens) -> int:
        """What `tokens` cost, rounded up once to a whole micro-dollar."""
        if self.long is not None and self.long_from_tokens is not None and tokens.prompt > self.long_from_tokens:
            return self.long.cost_usd_micros(tokens)
        prompt = self.prompt_usd_micros
        cached = tokens.cache_read + tokens.cache_write + tokens.cache_write_1h
        cost = max(tokens.prompt - cached, 0) * prompt + tokens.completion * self.completion_usd_micros
        if cached:
            cost += tokens.cache_read * _either(self.cache_read_usd_micros, prompt)
            cost += tokens.cache_write * _either(self.cache_write_usd_micros, prompt)
            cost += tokens.cache_write_1h * _either(self.cache_write_1h_usd_micros, prompt)
        return -(-cost // 1_000_000)

    def bound_usd_micros(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The most that so many tokens can cost, whatever a provider's cache makes of the prompt."""
        prices = (
            self.prompt_usd_micros,
            self.cache_read_usd_micros or 0,
            self.cache_write_usd_micros or 0,
            self.cache_write_1h_usd_micros or 0,
        )
        cost = -(-(prompt_tokens * max(prices) + completion_tokens * self.completion_usd_micros) // 1_000_000)
        if self.long is None:
            return cost
        return max(cost, self.long.bound_usd_micros(prompt_tokens, completion_tokens))

    def text(self, tokens: Tokens) -> str:
        """The prices that `tokens` are charged at, in the order of `Tokens`, as usage rows keep them."""
        if self.long is not None and self.long_from_tokens is not None and tokens.prompt > self.long_from_tokens:
            return self.long.text(tokens)
        prompt = self.prompt_usd_micros
        return (
            f"{prompt}/{self.completion_usd_micros}/{_either(self.cache_read_usd_micros, prompt)}"
            f"/{_either(self.cache_write_usd_micros, prompt)}/{_either(self.cache_write_1h_usd_micros, prompt)}"
        )

    @classmethod
    def from_text(cls, text: str, version: str = "") -> "Price":
        """The price that `text` made the text of; ValueError for any other text."""
        prompt, completion, read, write, write_1h = map(int, text.split("/"))
        return cls(prompt, completion, read, write, write_1h, version)

    @property
    def is_free(self) -> bool:
        """Whether nothing of it costs anything."""
        return self.bound_usd_micros(1_000_000, 1_000_000) == 0


def _either(price: int | None, otherwise: int) -> int:
    return otherwise if price is None else price


FREE = Price()


@dataclass(slots=True)
class ChatRequest:
    """A chat that its wire has checked: `body` is the caller's, with every key it sent, `size_bytes` long.

    `headers` are what it asks of a provider of its own wire beside the body.
    """

    wire: CallerWire
    model: str
    body: Mapping[str, Any]
    size_bytes: int
    stream: bool = False
    include_usage: bool = False
    headers: Headers = ()


@dataclass(slots=True)
class WrittenBody:
    """A chat as one provider gets it: its keys, and the bytes of them that are sent."""

    fields: dict[str, Any]
    content: bytes


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to embed, in order. `user` is for providers that look for abuse, and changes no answer."""

    model: str
    inputs: tuple[str, ...]
    encoding: Encoding = "float"
    dimensions: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One JSON value a text, ready for the wire: a list of numbers, or base64 of little-endian float32 in quotes."""

    rows: list[bytes]
    prompt_tokens: int | None


@dataclass(slots=True)
class Opening:
    """What is known of an accepted request before its provider is called: enough to book it when nobody ends it."""

    request_id: str
    caller: Caller
    at: datetime
    operation: Operation
    requested_model: str
    model: str
    provider: str
    price_version: str
    bound_tokens: int
    bound_usd_micros: int
    holds: tuple[Charge, ...] = ()
    price: str = ""


@dataclass(frozen=True, slots=True)
class Booking:
    """Whose leases hold what a row books without knowing; `times`: of a lost lease, how often it was given up."""

    holder: str
    charges: tuple[Charge, ...]
    times: int = 0


@dataclass(slots=True)
class UsageRow:
    """What one accepted request took. `model` is the one that answered, `requested_model` the one asked for.

    A counted cost is that of `tokens` at `price` (`Price.text`) and `uncertain_usd_micros`, which attempts that broke
    before may have cost. `charged_tokens` is what budgets of tokens count. `charges` go to budgets
    and are no part of the stored row; `booking` is kept with one that may have to be put right.
    """

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
    price_version: str = ""
    price: str = ""
    reserved_usd_micros: int = 0
    cost_basis: CostBasis = "counted"
    uncertain_usd_micros: int = 0
    over_bound: bool = False
    provider_request_id: str | None = None
    charged_tokens: int = 0
    charges: tuple[Charge, ...] = ()
    booking: Booking | None = None
