"""What a simulated provider charges: its own count, kept apart from the gateway's, so that the two can be compared.

`Billing` says how it counts, `Bill` is what it booked. Nothing here calls the gateway's code: it is the other side.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Counted:
    """Tokens of one request: `prompt` is all input, of which `cache_read` and `cache_write` are parts."""

    prompt: int
    completion: int
    cache_read: int = 0
    cache_write: int = 0

    @property
    def uncached(self) -> int:
        """Input that no cache had to do with."""
        return self.prompt - self.cache_read - self.cache_write


@dataclass(frozen=True)
class Rates:
    """Micro-dollars per million tokens of each kind."""

    prompt: int = 2_500_000
    completion: int = 10_000_000
    cache_read: int = 2_500_000
    cache_write: int = 2_500_000

    def usd_micros(self, counted: Counted) -> int:
        """What `counted` costs, rounded up once."""
        cost = counted.uncached * self.prompt + counted.completion * self.completion
        cost += counted.cache_read * self.cache_read + counted.cache_write * self.cache_write
        return -(-cost // 1_000_000)


@dataclass
class Billing:
    """How a provider counts. By default each request has the documented example's tokens.

    `prompt_tokens` None counts characters, four a token. `completion_tokens` "asked" is the request's limit, or
    `without_limit` when it has none. `over_report` adds a fifth to each prompt; `cache_write` bills the whole prompt as
    written to the cache.
    """

    prompt_tokens: int | None = 11
    completion_tokens: int | Literal["asked"] = 7
    without_limit: int = 100
    cache_read: int = 3
    cache_write: bool = False
    over_report: bool = False
    rates: dict[str, Rates] = field(default_factory=dict)

    def count(self, characters: int, limit: int | None) -> Counted:
        """What a request of so many characters, limited to `limit` tokens of answer, takes."""
        prompt = -(-characters // 4) if self.prompt_tokens is None else self.prompt_tokens
        if self.over_report:
            prompt = -(-prompt * 6 // 5)
        completion = self.completion_tokens
        if completion == "asked":
            completion = self.without_limit if limit is None else limit
        read = min(self.cache_read, prompt)
        return Counted(prompt, completion, 0, prompt) if self.cache_write else Counted(prompt, completion, read)


@dataclass
class Line:
    """One request on the bill. `complete` once its last byte was handed over: what breaks off is billed too."""

    request_id: str
    model: str
    counted: Counted
    usd_micros: int
    complete: bool = False


@dataclass
class Bill:
    """What the provider booked, one line for each request that it did not refuse."""

    lines: list[Line] = field(default_factory=list)

    def of(self, model: str | None = None, *, complete: bool | None = None) -> list[Line]:
        """The lines of a model, or of all."""
        return [
            line
            for line in self.lines
            if model in (None, line.model) and (complete is None or line.complete is complete)
        ]

    def usd_micros(self, model: str | None = None) -> int:
        """Micro-dollars of a model, or of all."""
        return sum(line.usd_micros for line in self.of(model))

    def tokens(self, model: str | None = None) -> int:
        """Tokens in and out of a model, or of all."""
        return sum(line.counted.prompt + line.counted.completion for line in self.of(model))

    @property
    def requests(self) -> Counter[str]:
        """How many requests of each model were billed."""
        return Counter(line.model for line in self.lines)
