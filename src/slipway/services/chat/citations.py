"""From a model's `[n]` markers to quotes: every marker that leaves here stands for an exact span of a document.

A model cites source n; a reader needs the words. For each marker the sentence before it is looked up in that source: as
it stands, up to white space, or else as the sentence of the source that shares most of its content words. Markers are
renumbered by quote, so that `[k]` is the k-th citation; one that nothing in its source supports is dropped.
"""

import re
from collections.abc import Sequence
from typing import Final

from slipway.api.sessions import Citation
from slipway.base.sentences import sentence_spans
from slipway.services.chat.models import Passage

_MARKER: Final = re.compile(r"[ \t]*\[([1-9]\d{0,2})\]")
# What may still become a marker when more text comes.
_OPEN_MARKER: Final = re.compile(r"[ \t]*(?:\[(?:[1-9]\d{0,2})?)?$")
_WORD: Final = re.compile(r"\w+")
# Share of the sentence's content words that its quote must hold; arbitrary, tried on the examples.
_LEAST_SUPPORT: Final = 0.3
_MAX_CLAIM_CHARS: Final = 1_000
# What says little about a sentence's content.
_FUNCTION_WORDS: Final = frozenset(
    word
    for line in (
        "a an and are as at be by for from has have how i if in is it its may must of on or that",
        "the their they this to was we were what when which who will with you your",
    )
    for word in line.split()
)


class Citations:
    """Rewrites one answer as it comes, piece by piece, and collects its citations."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._held = ""  # text not yet given out, because it may be the beginning of a marker
        self._claim = ""  # given out since the last marker: what the next one stands for
        self._last_claim = ""
        self.found: list[Citation] = []

    def feed(self, text: str) -> str:
        """What of the answer can be shown now."""
        held = self._held + text
        out: list[str] = []
        position = 0
        for match in _MARKER.finditer(held):
            out.append(self._plain(held[position : match.start()]))
            out.append(self._marker(int(match[1])))
            position = match.end()
        rest = held[position:]
        keep = _OPEN_MARKER.search(rest)
        cut = keep.start() if keep else len(rest)
        self._held = rest[cut:]
        out.append(self._plain(rest[:cut]))
        return "".join(out)

    def end(self) -> str:
        """What was still held back."""
        rest, self._held = self._held, ""
        return self._plain(rest)

    def _plain(self, text: str) -> str:
        self._claim = (self._claim + text)[-_MAX_CLAIM_CHARS:]
        return text

    def _marker(self, number: int) -> str:
        # `one fact [1][2]`: the second marker stands for the same words as the first.
        if _WORD.search(self._claim):
            self._last_claim, self._claim = self._claim, ""
        if not 1 <= number <= len(self._passages):
            return ""
        citation = quote(self._passages[number - 1], self._last_claim)
        if citation is None:
            return ""
        if citation not in self.found:
            self.found.append(citation)
        return f" [{self.found.index(citation) + 1}]"


def quote(passage: Passage, claim: str) -> Citation | None:
    """The span of `passage` that supports `claim` (what stands before a marker), None when nothing in it does."""
    sentence = _last_sentence(claim)
    span = _verbatim(passage.text, claim) or _verbatim(passage.text, sentence) or _closest(passage.text, sentence)
    if span is None:
        return None
    start, end = span
    return Citation(
        document_id=passage.document_id,
        title=passage.title,
        page=passage.page,
        start=passage.start + start,
        end=passage.start + end,
        quote=passage.text[start:end],
    )


def _last_sentence(text: str) -> str:
    spans = sentence_spans(text)
    return text[spans[-1][0] : spans[-1][1]] if spans else text


def _verbatim(text: str, claim: str) -> tuple[int, int] | None:
    words = claim.strip().strip('"“”').split()
    if not words:
        return None
    match = re.search(r"\s+".join(re.escape(word) for word in words), text)
    return match.span() if match else None


def _closest(text: str, claim: str) -> tuple[int, int] | None:
    wanted = _content_words(claim)
    best, best_support = None, 0.0
    for start, end in sentence_spans(text):
        shared = wanted & _content_words(text[start:end])
        support = len(shared) / len(wanted) if wanted else 0.0
        if support > best_support:
            best, best_support = (start, end), support
    return best if best_support >= _LEAST_SUPPORT else None


def _content_words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if word not in _FUNCTION_WORDS}
