"""The sentences of the sources that could be quoted, each with what a reader would know when reaching it.

The ranking calls `candidates`. Headings, questions and the head of a table say what the lines below are about; they
become context and are not offered as answers themselves.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slipway.base.sentences import sentence_spans
from slipway.services.gateway.extractive.sources import Source

# Longer than this a quote is no longer read at a glance; arbitrary.
_LONGEST_CHARS = 400
_CELLS = re.compile(r"\t|\s\|\s|^\||\|$| {3,}")
_RULE = re.compile(r"[\s|:+=_-]+")
_ITEM = re.compile(r"(?:[-*+•–]|\(?\d{1,3}[.)])\s+(?=\S)")
_FIGURE = re.compile(r"(?<![^\W_])\d")  # not the digit of a name such as S3
_NUMBER = re.compile(r"(\d{1,3}(?:\.\d{1,3}){0,3})[.)]?\s+(?=[^\W\d_a-z])")
_END = re.compile(r"[.!?;…。！？][)\]}\"'’”»*_`]*$")
_HEADING_WORDS = 9  # arbitrary: longer lines without a full stop are prose that was cut


# Openings that point back: quoted alone, such a sentence does not say what it is about.
_POINTS_BACK = re.compile(
    r"(?:it|its|they|their|them|this|that|these|those|he|she|his|her|such|otherwise|however|but|then|therefore|"
    r"afterwards|after that|in (?:this|that) case|if (?:not|so|it|they|this)|the (?:latter|former|same))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Candidate:
    """What may be quoted: `text` is exactly `source.text[start:end]`, one sentence, two when it points back.

    `in_context` is that after its heading, the question it answers and the names of its columns, on one line and
    without the title. `rank` is the place of the source.
    """

    source: Source
    rank: int
    start: int
    end: int
    in_context: str

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def overlaps(self, other: "Candidate") -> bool:
        """Whether both quote some of the same text."""
        return self.rank == other.rank and self.start < other.end and other.start < self.end


def candidates(sources: Sequence[Source]) -> list[Candidate]:
    """Every sentence that could be an answer, in the order of the sources."""
    return [candidate for rank, source in enumerate(sources) for candidate in _of(source, rank)]


def _of(source: Source, rank: int) -> Iterator[Candidate]:
    spans = list(_short_spans(source.text))
    lines = [source.text[start:end] for start, end in spans]
    heading, asked, table_head = "", "", ""
    quotable = False  # whether the sentence before could be quoted together with this one
    for index, (start, end) in enumerate(spans):
        text = lines[index]
        is_row = _CELLS.search(text) is not None
        if not is_row:
            table_head = ""
        role = _role(lines, index, in_table=bool(table_head))
        if role == "sentence":
            if item := _ITEM.match(text):
                start += item.end()
            elif quotable and _POINTS_BACK.match(text) and end - spans[index - 1][0] <= _LONGEST_CHARS:
                start = spans[index - 1][0]
            said = _row(text, table_head) if is_row else source.text[start:end]
            parts = (heading, asked, said)
            yield Candidate(source, rank, start, end, " ".join(": ".join(part for part in parts if part).split()))
            asked = ""
        elif role == "heading":
            number = _NUMBER.match(text)
            heading, asked = text[number.end() if number else 0 :].strip("#*: "), ""
        elif role == "question":
            asked = text
        elif role == "columns":
            table_head = text
        quotable = role == "sentence" and not is_row and _gap_is_plain(source.text, end, spans, index)


def _gap_is_plain(text: str, end: int, spans: Sequence[tuple[int, int]], index: int) -> bool:
    """Whether the next sentence follows in the same paragraph."""
    return index + 1 < len(spans) and text.count("\n", end, spans[index + 1][0]) < 2


def _role(lines: Sequence[str], index: int, *, in_table: bool) -> str:
    """What a line is to its reader: rule, columns, question, heading or sentence."""
    text = lines[index]
    before = lines[index - 1] if index else ""
    following = lines[index + 1] if index + 1 < len(lines) else ""
    if _RULE.fullmatch(text):
        return "rule"
    if not in_table and _CELLS.search(text) and not _FIGURE.search(text) and _shows_table(following):
        return "columns"
    if text.endswith(("?", "？")):
        return "question"
    if text.startswith("#") or _is_numbered_heading(text, before, following):
        return "heading"
    if not _is_fragment(text):
        return "sentence"
    # Of several fragments in a row the first is a heading and the others are a list. One that ends the passage after
    # whole sentences is the heading of what comes next in the document.
    if following and not _is_fragment(following):
        return "heading"
    return "heading" if not _is_fragment(before) and (following or before) else "sentence"


def _is_numbered_heading(text: str, before: str, following: str) -> bool:
    """ "5. Summer party" or "3.1 Annual leave", unless a line beside it has a number of as many levels: a list."""
    number = _NUMBER.match(text)
    if number is None or not _is_fragment(text[number.end() :]):
        return False
    levels = number[1].count(".")
    neighbours = (_NUMBER.match(line) for line in (before, following))
    return all(neighbour is None or neighbour[1].count(".") != levels for neighbour in neighbours)


def _shows_table(line: str) -> bool:
    """Whether the line says of the row above that it names columns: a rule, or a row with figures where it has none."""
    return _RULE.fullmatch(line) is not None or (_CELLS.search(line) is not None and _FIGURE.search(line) is not None)


def _is_fragment(text: str) -> bool:
    """A few words without a figure or a full stop, as headings are."""
    if not text or _CELLS.search(text) or _ITEM.match(text) or _END.search(text) or re.search(r"[\d\n]", text):
        return False
    return len(text.split()) <= _HEADING_WORDS


def _short_spans(text: str) -> Iterator[tuple[int, int]]:
    """The sentences; those too long to quote fall into pieces at white space."""
    for start, end in sentence_spans(text):
        while end - start > _LONGEST_CHARS:
            window = text[start : start + _LONGEST_CHARS]
            breaks = [match.end() for match in re.finditer(r"[;:,]\s|\s", window)]
            clauses = [match.end() for match in re.finditer(r"[;:,]\s", window) if match.end() > _LONGEST_CHARS // 2]
            cut = (clauses or breaks or [_LONGEST_CHARS])[-1]
            piece = text[start : start + cut]
            yield start, start + len(piece.rstrip())
            start += cut
            while start < end and text[start].isspace():
                start += 1
        if start < end:
            yield start, end


def _row(text: str, table_head: str) -> str:
    """The cells, each after the name of its column when the table has as many."""
    names, cells = _cells(table_head), _cells(text)
    if len(names) == len(cells):
        cells = [f"{name} {cell}" for name, cell in zip(names, cells, strict=True)]
    return ", ".join(cells)


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in _CELLS.split(row) if cell.strip()]
