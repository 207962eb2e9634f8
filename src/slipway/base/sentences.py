"""Where sentences begin and end in extracted text: what a chunk is cut along and what a quote is made of.

Chunking and the extractive answerer call it. It takes text as documents give it: prose, prose wrapped
over lines as a PDF has it, headings, lists, and tables with one line per row (a row is a sentence of its
own). It never changes text, only names spans in it; every character that is not white space is in exactly
one span. It judges by the shape of the text, not by a model: an abbreviation it does not know followed by
a capital ends a sentence.
"""

import re
from collections.abc import Iterator
from itertools import pairwise


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Followed by a name or by more of the same sentence, whatever case that has.
_NEVER_LAST = _words(
    "dr mr mrs ms prof mt messrs gen sen rep capt sgt col lt rev hon eg ie e.g i.e cf vs viz approx ca "
    "bzw vgl gov pres maj cmdr fr mme mlle"
)
# Abbreviations when a number follows ("No. 5", "fig. 2", "Sept. 3"), words of their own otherwise.
_BEFORE_NUMBERS = _words(
    "no nos nr fig figs eq eqs sec sect art vol ch p pp para cl app tab ex ref pos ext tel v ver op pt "
    "st jan feb mar apr jun jul aug sep sept oct nov dec"
)
# May stand last in a sentence or inside one: the word that follows decides.
_MAYBE_LAST = _words("inc ltd co corp llc plc gmbh jr sr dept est bros univ assn ave blvd rd st")
_STARTERS = _words(
    "a after all also an and any as at because before both but by each every for from he her here his "
    "how however i if in it its my most new no not on once one or our please she since so some such "
    "that the their then there these they this those to two until we what when where while who why with "
    "without you your"
)
# A line that ends in one of these goes on in the next.
_CONNECTORS = _words(
    "a an and are as at be by for from has have in into is nor not of on or our per than that the their "
    "this to under via was were which will with your"
)

_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")  # U.S, a.m, z.B: the last dot is the candidate itself
_LIST_MARK = re.compile(r"\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})")
# A run of marks is tried once, from its beginning: a line of dots would take quadratic time.
_CANDIDATE = re.compile(
    r"(?<![.!?…।؟۔])[.!?…।؟۔]++[)\]}\"'’”»*_`]*+(?=\s)"
    r"|[。！？｡]+[」』”’）】》]*"
)
# What opens a line that is not the continuation of the one above.
_NEW_ITEM = re.compile(
    r"[-*+•‣▪◦·●○■□]\s"
    r"|[–—]\s+[A-Z]"
    r"|\(?\d{1,3}[.)]\s"
    r"|\(?[a-zA-Z]\)\s|[a-z]\.\s|\(?[ivx]{1,4}[.)]\s"
    r"|\d{1,3}(?:\.\d{1,3})+\.?\s+[^\W\d_]"
    r"|#{1,6}\s|>\s|```|~~~"
)
_COLUMNS = re.compile(r"\S(?:\t| {3,})\S| \| |^\||\|$")
_WORD = re.compile(r"[^\W_]")
_SPACE = re.compile(r"\s*")
_FIRST_WORD = re.compile(r"[\"'“‘«(\[*_]*([^\W\d_]+)")

_SHORT_LINE_CHARS = 40  # arbitrary: narrower than any column of running text
_SHORT_LINE_SHARE = 0.7  # of the widest line of the paragraph: wrapped lines come within one long word of it


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The sentences of the text as (start, end) in code points, in order, without surrounding white space."""
    spans: list[tuple[int, int]] = []
    for start, end in _segments(text):
        while start < end:
            stop = _sentence_end(text, start, end)
            spans.append((start, stop))
            start = _after_space(text, stop, end)
    return spans


def _after_space(text: str, position: int, end: int) -> int:
    match = _SPACE.match(text, position, end)
    return match.end() if match else position


def _segments(text: str) -> Iterator[tuple[int, int]]:
    """Runs of lines that a sentence may go through: it crosses no item, heading, row or blank line."""
    for block in _blocks(text):
        breaks = _breaks([text[start:end] for start, end in block])
        first = 0
        for index, ends_here in enumerate(breaks):
            if ends_here:
                yield block[first][0], block[index][1]
                first = index + 1
        yield block[first][0], block[-1][1]


def _blocks(text: str) -> Iterator[list[tuple[int, int]]]:
    """Paragraphs: lines without a blank one between them, each line as its span without outer white space."""
    block: list[tuple[int, int]] = []
    position = 0
    for line in text.splitlines(keepends=True):
        content = line.strip()
        if content:
            start = position + len(line) - len(line.lstrip())
            block.append((start, start + len(content)))
        elif block:
            yield block
            block = []
        position += len(line)
        if block and line.endswith("\f"):  # a page ends: so does the paragraph
            yield block
            block = []
    if block:
        yield block


def _breaks(lines: list[str]) -> list[bool]:
    """For each line but the last, whether a sentence must end with it."""
    if len(lines) < 2:
        return []
    width = max(map(len, lines))
    loose = [_is_loose(line, following) for line, following in pairwise(lines)]
    breaks = []
    for index, (line, following) in enumerate(pairwise(lines)):
        if _stands_alone(line) or _stands_alone(following) or _NEW_ITEM.match(following):
            breaks.append(True)
        elif not loose[index]:
            # A short line above an opening that has no letter case, as a heading above Chinese text.
            breaks.append(_is_uncased(following) and len(line) < width / 2)
        else:
            neighbour = (index > 0 and loose[index - 1]) or (index + 1 < len(loose) and loose[index + 1])
            short = len(line) < max(_SHORT_LINE_SHARE * width, _SHORT_LINE_CHARS)
            # Prose rarely has two lines in a row that break before a capital: those are rows of a table.
            breaks.append(short or neighbour)
    return breaks


def _stands_alone(line: str) -> bool:
    """A heading of Markdown, a row of a table, a fence or a rule."""
    return line.startswith(("#", "```", "~~~")) or _COLUMNS.search(line) is not None or _WORD.search(line) is None


def _is_uncased(line: str) -> bool:
    return line[0].isalpha() and not line[0].islower() and not line[0].isupper()


def _is_loose(line: str, following: str) -> bool:
    """No sign that the line goes on: no comma or connecting word at its end, no small letter after it."""
    opening = following.lstrip("\"'“‘«([*_")[:1]
    if not (opening.isupper() or opening.isdigit()):
        return False
    if line[-1] in ",;-–—/&([+=" or line[-1] in ".!?…।؟۔":  # the latter are judged as ends of sentences
        return False
    last_word = line.rsplit(None, 1)[-1]
    return last_word.lower() not in _CONNECTORS


def _sentence_end(text: str, start: int, end: int) -> int:
    """Where the sentence that begins at `start` ends, at most at `end`."""
    for match in _CANDIDATE.finditer(text, start, end):
        if match.end() >= end:
            break
        if text[match.start()] in "。！？｡" or _ends_sentence(text, start, match, end):
            return match.end()
    return end


def _ends_sentence(text: str, start: int, match: re.Match[str], end: int) -> bool:
    following = _after_space(text, match.end(), end)
    if following >= end or text[following].islower():
        return following >= end
    if match.group()[0] != "." or match.group().startswith(".."):
        return True
    # No abbreviation is longer than 24 characters; a longer look back would cost time on text without spaces.
    before = text[max(start, match.start() - 24) : match.start()].rsplit(None, 1)
    token = before[-1].lstrip("\"'“‘«([*_") if before else ""
    at_start = match.start() - len(token) <= start + 1
    return _dot_ends(token, text[following : following + 40], at_start=at_start)


def _dot_ends(token: str, following: str, *, at_start: bool) -> bool:
    """Whether the dot behind `token` ends a sentence; `at_start` when nothing stands before the token."""
    word = token.lower()
    if at_start and _LIST_MARK.fullmatch(token):
        return False
    if word in _NEVER_LAST:
        return False
    if word in _BEFORE_NUMBERS and following[:1].isdigit():
        return False
    if word in {"a.m", "p.m"}:
        return True
    is_initial = len(token) == 1 and token.isupper()
    if is_initial or word in _MAYBE_LAST or _DOTTED.fullmatch(token):
        first = _FIRST_WORD.match(following)
        return first is None or (first.group(1).lower() in _STARTERS and not first.group(1).islower())
    return True
