"""The model `extractive`: answers with sentences of the sources in the chat, word for word, each with its source.

The gateway's embedded provider calls `answer` in a worker thread. It needs no language model, so an answer can be
incomplete but never made up: when no sentence is relevant it says so. It refuses chats that ask nothing. How
sources stand in the messages: see `sources`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from slipway.base.errors import InvalidRequest
from slipway.services.gateway.extractive.ranking import RELEVANT, Embed, Ranked, rank
from slipway.services.gateway.extractive.sentences import Candidate, candidates
from slipway.services.gateway.extractive.sources import Source, read_chat

NOTHING_RELEVANT = "I found nothing about this in the documents I was given."
NO_SOURCES = "I only quote the documents I am given, and this request came without any."

MAX_CHARS = 500_000  # some 100,000 tokens, which take 1.2 s to count (2026-11-21); chat sends 10,000 characters

_MOST_QUOTES = 3
# A further quote stands within this of the best, or it dilutes the answer.
_CLOSE_TO_BEST = 0.12
# Two sentences this alike (cosine) say the same when their figures are the same: the second is not quoted.
_SAME = 0.95
_FIGURES = re.compile(r"\d[\d.,]*")
_LINE_BREAK = re.compile(r"[ \t]*[\r\n]\s*")
_PIECE = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+$")


@dataclass(frozen=True)
class Answer:
    """The answer; `pieces` joined are `text`, for streaming. Tokens are counted by the embedder's tokenizer."""

    text: str
    pieces: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop"] = "stop"


@dataclass
class _Quote:
    ranked: Ranked
    sources: list[Source]


class Extractive:
    """Answers chats by quoting; it keeps nothing between calls and is safe in any thread."""

    name = "extractive"

    def __init__(self, embed: Embed, count_tokens: Callable[[Sequence[str]], Sequence[int]]) -> None:
        """`embed`: texts → float32[n, d], each of length 1."""
        self._embed = embed
        self._count_tokens = count_tokens

    def answer(self, messages: Sequence[Mapping[str, Any]]) -> Answer:
        """Answer the last user message from the sources in the messages.

        InvalidRequest when nothing is asked, or when there is more to read than `MAX_CHARS`.
        """
        chat = read_chat(messages)
        if sum(map(len, chat.texts)) > MAX_CHARS:
            raise InvalidRequest(f"The model extractive reads {MAX_CHARS:,} characters at most: send fewer sources.")
        if not chat.question:
            raise InvalidRequest("The messages ask nothing: end them with a user message that has text.")
        text = self._text(chat.question, chat.sources)
        *prompt, completion = self._count_tokens([*chat.texts, text])
        return Answer(text, tuple(_PIECE.findall(text)), sum(prompt), completion)

    def _text(self, question: str, sources: Sequence[Source]) -> str:
        if not sources:
            return NO_SOURCES
        ranked = rank(question, candidates(sources), self._embed)
        quotes = _quotes(ranked)
        if not quotes:
            return NOTHING_RELEVANT
        return "\n\n".join(_rendered(quote) for quote in quotes)


def _quotes(ranked: Sequence[Ranked]) -> list[_Quote]:
    """The best few, none of which says again what another says; the same sentence in two sources names both."""
    quotes: list[_Quote] = []
    for one in ranked:
        if one.score < max(RELEVANT, ranked[0].score - _CLOSE_TO_BEST):
            break
        if (same := _same_sentence(one.candidate, quotes)) is not None:
            if one.candidate.source not in same.sources:
                same.sources.append(one.candidate.source)
        elif len(quotes) < _MOST_QUOTES and not any(_repeats(one, quote.ranked) for quote in quotes):
            quotes.append(_Quote(one, [one.candidate.source]))
    return quotes


def _same_sentence(candidate: Candidate, quotes: Sequence[_Quote]) -> _Quote | None:
    # The white space too: each source that is named must have the quote word for word.
    return next((quote for quote in quotes if quote.ranked.candidate.text == candidate.text), None)


def _repeats(one: Ranked, other: Ranked) -> bool:
    if one.candidate.overlaps(other.candidate):
        return True
    # Rows of a table are alike in everything but their figures.
    alike = float(one.vector @ other.vector) > _SAME
    return alike and _FIGURES.findall(one.candidate.text) == _FIGURES.findall(other.candidate.text)


def _rendered(quote: _Quote) -> str:
    """The sentence without the line breaks of its page, which say nothing of it, and its sources."""
    text = _LINE_BREAK.sub(" ", quote.ranked.candidate.text)
    return " ".join([text, *(f"[{source.id}]" for source in quote.sources)])
