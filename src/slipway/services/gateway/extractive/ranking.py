"""How well each sentence answers the question: meaning, shared words, and figures where figures are asked for.

The answerer calls `rank`. The weights and thresholds were calibrated on the even half of
tests/unit/services/gateway/extractive_cases.toml (2026-11-21); the other half is reported by its test.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slipway.services.gateway.extractive.sentences import Candidate

Embed = Callable[[Sequence[str]], NDArray[np.float32]]

# Below this a sentence is no answer. The worst true answer of the calibration half scored 0.506, the best sentence
# for a question without an answer 0.403.
RELEVANT = 0.45

# What one answer may embed: about 0.2 s on 2 cores. The rest is left out by shared words and the source's place.
_EMBEDDED_SENTENCES = 40

# The title is left out of what is embedded: with it, a question about anything of the named product looked answered
# by each of its sentences, and a threshold would depend on how telling the file's name is.
_WEIGHT_MEANING = 0.7
_WEIGHT_WORDS = 0.3
_FIGURE_BONUS = 0.06
_UNIT_BONUS = 0.04


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STOP_WORDS = _words(
    "a about after all am an and any are as at be been but by can could did do does for from get give had "
    "has have he her here his how i if in into is it its kind many may me much must my need of on one or "
    "our shall she should so some tell than that the their them then there these they this to us was we "
    "were what when where which who whom whose why will with would you your please often far soon"
)
# Questions name a quality where documents name its measure.
_MEASURES = {
    "heavy": "weight",
    "tall": "height",
    "high": "height",
    "wide": "width",
    "deep": "depth",
    "fast": "speed",
    "old": "age",
    "hot": "temperature",
    "loud": "noise",
    "cost": "price",
    "price": "cost",
    "expensive": "price",
}
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_ASKS_FIGURE = re.compile(
    r"\bhow (?:many|much|long|often|far|soon|old|fast|heavy|big|large|high|tall)\b|\bwhen\b"
    r"|\b(?:what|which)(?:'s| is| are| was)? (?:the )?"
    r"(?:price|cost|date|year|time|number|amount|percentage|limit|maximum|minimum|deadline|weight|size|height)\b"
    r"|\bwhat (?:does|do|did|will)\b.*\bcost\b",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\bhow many (?:\w+ )??([^\W\d_]+)", re.IGNORECASE)
_NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty ninety "
    "hundred thousand million half twice once daily weekly monthly yearly unlimited"
)
_FIGURE = re.compile(rf"\d|\b(?:{'|'.join(_NUMBER_WORDS.split())})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Ranked:
    """A sentence with its score, 0 to about 1, and the vector of the sentence in context."""

    candidate: Candidate
    score: float
    vector: NDArray[np.float32]


def rank(question: str, candidates: Sequence[Candidate], embed: Embed) -> list[Ranked]:
    """The sentences by how well they answer, best first; those without a chance are left out."""
    if not candidates:
        return []
    words = _WordScores(question, candidates)
    chosen = sorted(range(len(candidates)), key=lambda i: words.of(i) - 0.02 * candidates[i].rank, reverse=True)
    chosen = sorted(chosen[:_EMBEDDED_SENTENCES])
    vectors = embed([question, *(candidates[i].in_context for i in chosen)])
    meaning = vectors[1:] @ vectors[0]
    figures = _Figures(question)
    ranked = [
        Ranked(
            candidates[i],
            _WEIGHT_MEANING * float(cosine) + _WEIGHT_WORDS * words.of(i) + figures.bonus(candidates[i].text),
            vector,
        )
        for i, cosine, vector in zip(chosen, meaning, vectors[1:], strict=True)
    ]
    return sorted(ranked, key=lambda one: one.score, reverse=True)


class _WordScores:
    """The share of the question's words that a sentence has, each by how rare it is among the sentences."""

    def __init__(self, question: str, candidates: Sequence[Candidate]) -> None:
        self._own = [stems(candidate.text) for candidate in candidates]
        self._around = [stems(f"{one.source.title} {one.in_context}") for one in candidates]
        spread = Counter(stem for around in self._around for stem in around)
        # Each word of the question with what may stand for it, and how much finding it says.
        self._asked = []
        for word in stems(question):
            meant = {word, _stem(_MEASURES.get(word, word))}
            self._asked.append((meant, math.log(1 + (len(candidates) + 1) / (max(spread[m] for m in meant) + 0.5))))

    def of(self, index: int) -> float:
        """0 to 1; a word that only stands in the title or the context counts half."""
        total = sum(weight for _, weight in self._asked)
        if not total:
            return 0.0
        own, around = self._own[index], self._around[index]
        found = sum(
            weight * (0.0 if meant.isdisjoint(around) else 0.5 if meant.isdisjoint(own) else 1.0)
            for meant, weight in self._asked
        )
        return found / total


class _Figures:
    """What a sentence gains for having the number that the question asks for."""

    def __init__(self, question: str) -> None:
        self._asked = _ASKS_FIGURE.search(question) is not None
        unit = _UNIT.search(question)
        self._unit = _stem(unit[1].lower()) if unit else ""

    def bonus(self, text: str) -> float:
        if not self._asked or not _FIGURE.search(text):
            return 0.0
        return _FIGURE_BONUS + (_UNIT_BONUS if self._unit and self._unit in stems(text) else 0.0)


def stems(text: str) -> frozenset[str]:
    """The words that carry meaning, without their commonest English endings."""
    words = (word.lower().replace("’", "'") for word in _WORD.findall(text))
    return frozenset(_stem(word) for word in words if word not in _STOP_WORDS)


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    for ending, left in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return (word[: -len(ending)] + left).removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word
