"""Cuts a document's text into the passages that are embedded, searched and cited.

The ingestion workflow calls it between extraction and embedding. The same text gives the same chunks, so that a step
that runs twice writes the same rows. A chunk is exactly a slice of the text; every character that is not white space
is in one at least; neighbours share their last sentence or two, so that a fact that spans a border is found whole.
It cuts at headings, paragraphs, rows and sentences in that order, inside a sentence between words, and inside a
"word" only when that alone is above the limit. A chunk stands on one page, so that a quote of it does.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from slipway.base.sentences import sentence_spans
from slipway.services.retrieval.extraction.models import ExtractedText

# The embedder cuts off behind 256 word pieces, two of which are its own marks.
MAX_TOKENS: Final = 250
TARGET_TOKENS: Final = 200
OVERLAP_TOKENS: Final = 32  # about 15 %, one or two sentences; with TARGET_TOKENS it stays below MAX_TOKENS
_CLOSE_AT_HEADING_TOKENS: Final = 30  # arbitrary: two sentences; a section below this shares its chunk
_CLOSE_AT_PARAGRAPH_TOKENS: Final = 150  # arbitrary: three quarters, better a short chunk than a cut paragraph
_PREFIX_CHARS: Final = 160  # arbitrary: of title and heading before a chunk's text, some 40 tokens: they fit above it
_PREFIX_CHARS_PER_TOKEN: Final = 3  # fewer than English has: better to leave a token free
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
    """One passage: `text == document.text[start:end]`; `page` is the one it stands on, `heading` the one above it."""

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
    page: int = 0  # counted from 0


def chunk(document: ExtractedText, count_tokens: TokenCounter) -> list[Chunk]:
    """The document's passages in order, each at most MAX_TOKENS by the counts given, about TARGET_TOKENS usually."""
    text = document.text
    atoms = _atoms(document, _Counter(count_tokens))
    _mark_borders(atoms, document)
    # A short text stays whole: on Cranfield's odd queries abstracts in one piece give the dense ranking 0.389 nDCG@10,
    # those above the target in two 0.361 (2026-11-21).
    prefix = embedded_text(document.title, "", text)[: -len(text) or None]
    whole = sum(atom.tokens for atom in atoms) + len(prefix) // _PREFIX_CHARS_PER_TOKEN <= MAX_TOKENS
    heading_starts = [heading.start for heading in document.headings]
    chunks: list[Chunk] = []
    for first, last in _groups(atoms, whole=whole):
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


def embedded_text(title: str, heading: str, text: str) -> str:
    """What is embedded of a chunk: title and heading, unless it says them itself or they are long, before its text.

    They say what a passage is about when it does not: on Cranfield's odd queries the dense ranking has 0.375 nDCG@10
    with them and 0.361 without (2026-11-21).
    """
    known, room = _plain(text), _PREFIX_CHARS
    above: list[str] = []
    for line in (heading, title):  # the heading is nearer
        plain = _plain(line)
        if plain and plain not in known and len(line) < room:
            above.insert(0, line)
            known += "\n" + plain
            room -= len(line)
    return "\n".join([*above, text])


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


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


def _atoms(document: ExtractedText, counter: _Counter) -> list[_Atom]:
    """The sentences of the text with their counts, in parts where a page ends in one or it is above the target."""
    text = document.text
    spans = _within_pages(sentence_spans(text), document)
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


def _within_pages(spans: Sequence[tuple[int, int]], document: ExtractedText) -> list[tuple[int, int]]:
    """The same spans, cut where a page begins inside one."""
    text, page_starts = document.text, _page_starts(document)
    cut: list[tuple[int, int]] = []
    for start, end in spans:
        inside = page_starts[bisect_right(page_starts, start) : bisect_left(page_starts, end)]
        for left, right in pairwise([start, *inside, end]):
            part = text[left:right]
            if stripped := part.strip():
                first = left + len(part) - len(part.lstrip())
                cut.append((first, first + len(stripped)))
    return cut


def _page_starts(document: ExtractedText) -> list[int]:
    return [page.start for page in document.pages[1:]]


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
    page_starts = _page_starts(document)
    page = end = 0
    for atom in atoms:
        atom.page = bisect_right(page_starts, atom.start)
        index = bisect_right(heading_starts, atom.end - 1) - 1
        if atom.border == _FORCED:
            pass
        elif index >= 0 and heading_starts[index] >= atom.start:
            atom.border = _HEADING
        elif atom.page != page:
            atom.border = _PAGE
        elif _PARAGRAPH_GAP.search(document.text, end, atom.start):
            atom.border = _PARAGRAPH
        page, end = atom.page, atom.end


def _groups(atoms: list[_Atom], *, whole: bool) -> Iterator[tuple[int, int]]:
    """Chunks as (first, last) atom, both included."""
    first = fresh = 0  # `fresh` is the first atom that is in no chunk yet
    while fresh < len(atoms):
        last = fresh
        tokens = sum(atom.tokens for atom in atoms[first : fresh + 1])
        while last + 1 < len(atoms) and not _closes(atoms[last], atoms[last + 1], tokens, whole=whole):
            last += 1
            tokens += atoms[last].tokens
        # A heading belongs to what it is above.
        while last > fresh and atoms[last].border == _HEADING and last + 1 < len(atoms):
            last -= 1
        yield first, last
        fresh = last + 1
        first = _overlap_start(atoms, fresh, first)


def _closes(atom: _Atom, following: _Atom, tokens: int, *, whole: bool) -> bool:
    """Whether a chunk of so many tokens that ends with `atom` ends before `following`; `whole` texts end it nowhere
    but at pages and sections."""
    if following.border == _FORCED or atom.border == _FORCED or following.page != atom.page:
        return True
    if following.border == _HEADING and tokens >= _CLOSE_AT_HEADING_TOKENS:
        return True
    if whole:
        return False
    if tokens + following.tokens > TARGET_TOKENS:
        return True
    return following.border == _PARAGRAPH and tokens >= _CLOSE_AT_PARAGRAPH_TOKENS


def _overlap_start(atoms: list[_Atom], fresh: int, first: int) -> int:
    """Where the next chunk begins so that it repeats the end of the last; a page or section repeats nothing."""
    start, tokens = fresh, 0
    while (
        start < len(atoms)
        and start - 1 > first
        and atoms[start].border < _PAGE
        and atoms[start].page == atoms[start - 1].page
        and atoms[start - 1].border != _FORCED
        and tokens + atoms[start - 1].tokens <= OVERLAP_TOKENS
    ):
        start -= 1
        tokens += atoms[start].tokens
    return start
