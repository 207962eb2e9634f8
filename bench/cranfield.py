"""Cranfield as the retrieval benchmark reads it: documents, queries, judgements, and nDCG@10; and a stand-in for it.

A query is known by its position, from 1; binary relevance is a judged pair with a grade above 0.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_DOCUMENT = re.compile(r"(\d+)\n\.T\n(.*?)\.A\n(.*?)\.B\n(.*?)\.W\n(.*)", re.DOTALL)


@dataclass(frozen=True)
class Cranfield:
    """Documents as (title, abstract) by id, queries and the ids relevant to each by position."""

    documents: dict[int, tuple[str, str]]
    queries: dict[int, str]
    relevant: dict[int, set[int]]

    def first(self, count: int) -> "Cranfield":
        """The first `count` documents, with the judgements about them."""
        documents = {key: value for key, value in self.documents.items() if key <= count}
        relevant = {position: found & documents.keys() for position, found in self.relevant.items()}
        return Cranfield(documents, self.queries, {position: found for position, found in relevant.items() if found})


def cranfield_read(folder: Path) -> Cranfield:
    """The collection in `folder`."""
    documents = {}
    for block in _blocks(folder / "cran.all.1400"):
        match = _DOCUMENT.match(block)
        assert match is not None
        documents[int(match[1])] = (_line(match[2]), _body(match[2], match[5]))
    queries = {
        position: _line(block.partition(".W")[2])
        for position, block in enumerate(_blocks(folder / "cran.qry"), start=1)
    }
    relevant: dict[int, set[int]] = {}
    for line in (folder / "cranqrel").read_text().splitlines():
        fields = line.split()
        if len(fields) >= 3 and int(fields[2]) > 0:
            relevant.setdefault(int(fields[0]), set()).add(int(fields[1]))
    return Cranfield(documents, queries, relevant)


def stand_in(folder: Path) -> Cranfield:
    """The sections of the Markdown files in a folder, asked for by their first lines; nothing is judged."""
    documents: dict[int, tuple[str, str]] = {}
    for path in sorted(folder.rglob("*.md")):
        for section in re.split(r"^#+ ", path.read_text(), flags=re.MULTILINE)[1:]:
            title, _, body = section.partition("\n")
            if len(body.split()) >= 30:
                documents[len(documents) + 1] = (_line(title), body.strip())
    queries = {key: " ".join([title, *body.split()[:8]]) for key, (title, body) in documents.items()}
    return Cranfield(documents, queries, {})


def ndcg10(ranking: Sequence[int], relevant: set[int]) -> float:
    """nDCG@10 of one ranking."""
    gain = sum(1 / math.log2(place + 2) for place, found in enumerate(ranking[:10]) if found in relevant)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(10, len(relevant))))


def mean_ndcg10(rankings: dict[int, list[int]], relevant: dict[int, set[int]], parity: int) -> float:
    """The mean over the judged queries whose position is odd (1) or even (0)."""
    values = [ndcg10(rankings[key], found) for key, found in relevant.items() if key % 2 == parity and key in rankings]
    return sum(values) / len(values)


def _blocks(path: Path) -> list[str]:
    return re.split(r"^\.I ", path.read_text(), flags=re.MULTILINE)[1:]


def _line(text: str) -> str:
    return " ".join(text.split())


def _body(title: str, text: str) -> str:
    """The abstract without the title, which most repeat as their first words."""
    title, text = title.strip(), text.strip()
    return text.removeprefix(title).strip() or text
