"""What the chat service works with between its ports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that an answer may rest on: characters `start` to `start + len(text)` of its document."""

    document_id: str
    title: str
    page: int
    start: int
    text: str
    similarity: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier message of the session."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What the gateway booked for the answer; comes once, at its end."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd_micros: int
