"""Cuts a document's text into the passages that are embedded, searched and cited.

The ingestion workflow calls it between extraction and embedding. The same text gives the same chunks, so that a step
that runs twice writes the same rows. A chunk is exactly a slice of the text; every character that is not white space
is in one at least; neighbours share their last sentence or two, so that a fact that spans a border is found whole.
It cuts at headings, paragraphs, rows and sentences in that order, inside a sentence between words, and inside a
"word" only when that alone is above the limit.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.base.sentences import sentence_spans
from slipway.services.retrieval.extraction.models import ExtractedText

# The embedder cuts off behind 256 word pieces, two of which are its own marks.
MAX_TOKENS: Final = 250
TARGET_TOKENS: Final = 200
OVERLAP_TOKENS: Final = 32  # about 15 %, one or two sentences; with TARGET_TOKENS it stays below MAX_TOKENS
_CLOSE_AT_HEADING_TOKENS: Final = 30  # arbitrary: two sentences; a section or page below this shares its chunk
_CLOSE_AT_PARAGRAPH_TOKENS: Final = 150  # arbitrary: three quarters, better a short chunk than a cut paragraph
# A tokenizer may count a very long word as one unknown piece; this bounds a chunk to 4,000 characters all the same.
_CHARS_PER_TOKEN_AT_MOST: Final = 16

# The counts of word pieces for texts: a tokenizer's batch, without the embedder's own marks. It must treat white space
# as a border between pieces, as WordPiece does: words are counted once each and summed (5,000 pages: ADR 0006).
TokenCounter = Callable[[Sequence[str]], list[int]]

_PARAGRAPH_GAP = re.compile(r"\n[ \t\r]*\n")
_WORD = re.compile(r"\S+")
_SENTENCE, _PARAGRAPH, _PAGE, _HEADING, _FORCED = range(5)  # how good a border is, worst first


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage: `text == document.text[start:end]`; `page` is that of its start, `heading` the one above it."""

    ordinal: int
    start: int
    end: int
    page: int
    text: str
    heading: str | None


@dataclass(slots=True)
class _Atom:
    """What is not cut any more: a sentence, a row, or a part of one that is above the target."""

    start: int
    end: int
    tokens: int
    border: int = _SENTENCE  # before it


def chunk(document: ExtractedText, count_tokens: TokenCounter) -> list[Chunk]:
    """The document's passages in order, each at most MAX_TOKENS by the counts given, about TARGET_TOKENS usually."""
    text = document.text
    atoms = _atoms(text, _Counter(count_tokens))
    _mark_borders(atoms, document)
    heading_starts = [heading.start for heading in document.headings]
    chunks: list[Chunk] = []
    for first, last in _groups(atoms):
        start, end = atoms[first].start, atoms[last].end
        above = bisect_right(heading_starts, atoms[first].end - 1) - 1
        heading = document.headings[above] if above >= 0 else None
        chunks.append(
            Chunk(
                ordinal=len(chunks),
                start=start,
                end=end,
                page=document.page_at(start),
                text=text[start:end],
                heading=text[heading.start : heading.end] if heading else None,
            )
        )
    return chunks


class _Counter:
    """Counts tokens through distinct words: a document has few, so the tokenizer has little to do."""

    def __init__(self, count_tokens: TokenCounter) -> None:
        self._count_tokens = count_tokens
        self._known: dict[str, int] = {}

    def of(self, texts: Sequence[str]) -> list[int]:
        """For each text the sum over its words, each at least as much as its length asks for."""
        split = [text.split() for text in texts]
        # A dict and not a set: the order of the batch, and with it the counts of any tokenizer, stays the same.
        unknown = list(dict.fromkeys(word for words in split for word in words if word not in self._known))
        if unknown:
            for word, tokens in zip(unknown, self._count_tokens(unknown), strict=True):
                self._known[word] = max(tokens, 1 + len(word) // _CHARS_PER_TOKEN_AT_MOST)
        known = self._known
        return [sum([known[word] for word in words]) for words in split]


def _atoms(text: str, counter: _Counter) -> list[_Atom]:
    """The sentences of the text with their counts; those above the target in parts."""
    spans = sentence_spans(text)
    atoms: list[_Atom] = []
    for first in range(0, len(spans), 10_000):  # in slices, so that the words of all sentences are not held at once
        some = spans[first : first + 10_000]
        counts = counter.of([text[start:end] for start, end in some])
        for (start, end), tokens in zip(some, counts, strict=True):
            if tokens <= TARGET_TOKENS:
                atoms.append(_Atom(start, end, tokens))
            else:
                atoms.extend(_split(text, start, end, counter))
    return atoms


def _split(text: str, start: int, end: int, counter: _Counter) -> list[_Atom]:
    """A sentence above the target as runs of words within it."""
    words = [match.span() for match in _WORD.finditer(text, start, end)]
    counts = counter.of([text[left:right] for left, right in words])
    atoms: list[_Atom] = []
    joinable = False
    for (left, right), tokens in zip(words, counts, strict=True):
        if tokens > TARGET_TOKENS:
            atoms.extend(_split_word(text, left, right, counter))
            joinable = False
        elif joinable and atoms[-1].tokens + tokens <= TARGET_TOKENS:
            atoms[-1].end = right
            atoms[-1].tokens += tokens
        else:
            atoms.append(_Atom(left, right, tokens))
            joinable = True
    return atoms


def _split_word(text: str, start: int, end: int, counter: _Counter) -> list[_Atom]:
    """A run without spaces (an address, Chinese) in parts, halved until each is within the target.

    Parts are chunks of their own: what they count together is not the sum of what each counts.
    """
    pending = [(start, end)]
    done: list[_Atom] = []
    while pending:
        counts = counter.of([text[left:right] for left, right in pending])
        halves: list[tuple[int, int]] = []
        for (left, right), tokens in zip(pending, counts, strict=True):
            if tokens <= TARGET_TOKENS or right - left == 1:
                done.append(_Atom(left, right, tokens, _FORCED))
            else:
                middle = (left + right) // 2
                halves += [(left, middle), (middle, right)]
        pending = halves
    return sorted(done, key=lambda atom: atom.start)


def _mark_borders(atoms: list[_Atom], document: ExtractedText) -> None:
    """Say of each atom how good a border there is before it."""
    heading_starts = [heading.start for heading in document.headings]
    page_starts = {page.start for page in document.pages[1:]}
    end = 0
    for atom in atoms:
        index = bisect_right(heading_starts, atom.end - 1) - 1
        if atom.border == _FORCED:
            pass
        elif index >= 0 and heading_starts[index] >= atom.start:
            atom.border = _HEADING
        elif atom.start in page_starts:
            atom.border = _PAGE
        elif _PARAGRAPH_GAP.search(document.text, end, atom.start):
            atom.border = _PARAGRAPH
        end = atom.end


def _groups(atoms: list[_Atom]) -> Iterator[tuple[int, int]]:
    """Chunks as (first, last) atom, both included."""
    first = fresh = 0  # `fresh` is the first atom that is in no chunk yet
    while fresh < len(atoms):
        last = fresh
        tokens = sum(atom.tokens for atom in atoms[first : fresh + 1])
        while last + 1 < len(atoms) and not _closes(atoms[last], atoms[last + 1], tokens):
            last += 1
            tokens += atoms[last].tokens
        # A heading belongs to what it is above.
        while last > fresh and atoms[last].border == _HEADING and last + 1 < len(atoms):
            last -= 1
        yield first, last
        fresh = last + 1
        first = _overlap_start(atoms, fresh, first)


def _closes(atom: _Atom, following: _Atom, tokens: int) -> bool:
    """Whether a chunk of so many tokens that ends with `atom` ends before `following`."""
    if following.border == _FORCED or atom.border == _FORCED or tokens + following.tokens > TARGET_TOKENS:
        return True
    if following.border in (_HEADING, _PAGE):
        return tokens >= _CLOSE_AT_HEADING_TOKENS
    return following.border == _PARAGRAPH and tokens >= _CLOSE_AT_PARAGRAPH_TOKENS


def _overlap_start(atoms: list[_Atom], fresh: int, first: int) -> int:
    """Where the next chunk begins so that it repeats the end of the last; a page or section repeats nothing."""
    start, tokens = fresh, 0
    while (
        start < len(atoms)
        and start - 1 > first
        and atoms[start].border < _PAGE
        and atoms[start - 1].border != _FORCED
        and tokens + atoms[start - 1].tokens <= OVERLAP_TOKENS
    ):
        start -= 1
        tokens += atoms[start].tokens
    return start
