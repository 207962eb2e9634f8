"""The arithmetic of search, without a database."""

import math

import numpy as np
import pytest

from slipway.services.retrieval.ranking import DENSE_WEIGHT, K1, B, LexicalScores, fused, order
from slipway.services.retrieval.search_models import Postings, Statistics


def postings(occurrences: int, entries: list[tuple[int, int, int]]) -> Postings:
    """`entries`: number, occurrences and length of each chunk, in order of number."""
    blocks: dict[int, list[int]] = {}
    for number, times, length in entries:
        blocks.setdefault(number >> 10, []).append(((number & 1023) << 21) | (times << 15) | length)
    return Postings(
        occurrences,
        np.array(list(blocks), dtype=">i8").tobytes(),
        np.array([4 * len(found) for found in blocks.values()], dtype=">i4").tobytes(),
        b"".join(np.array(found, dtype=">i4").tobytes() for found in blocks.values()),
    )


def bm25(times: int, length: int, frequency: int, count: int, average: float) -> float:
    idf = math.log(1 + (count - frequency + 0.5) / (frequency + 0.5))
    return idf * times * (K1 + 1) / (times + K1 * (1 - B + B * length / average))


def test_scores_of_chunks_in_blocks_that_are_far_apart() -> None:
    far = 7 << 32
    lexical = LexicalScores(
        [postings(1, [(3, 2, 10), (far + 1023, 1, 20)]), postings(2, [(3, 63, 10), (far + 1024, 1, 32767)])],
        Statistics(chunk_count=10, lexeme_count=200),
    )
    asked = np.array([3, far + 1023, far + 1024, 4, 5 << 10, 9 << 32])
    assert lexical.of(asked).tolist() == pytest.approx(
        [
            bm25(2, 10, 2, 10, 20) + 2 * bm25(63, 10, 2, 10, 20),
            bm25(1, 20, 2, 10, 20),
            2 * bm25(1, 32767, 2, 10, 20),
            0,
            0,
            0,
        ]
    )
    assert lexical.best(10).tolist() == [3, far + 1023, far + 1024]
    assert lexical.best(2).tolist() == [3, far + 1023]
    assert lexical.reachable == pytest.approx(3 * math.log(1 + 8.5 / 2.5) * (K1 + 1))


def test_absent_lexemes_count_in_what_could_be_reached() -> None:
    found, statistics = [postings(1, [(0, 1, 5)])], Statistics(9, 45)
    rarer = LexicalScores(found, statistics, absent=2).reachable - LexicalScores(found, statistics).reachable
    assert rarer == pytest.approx(2 * math.log(1 + 9.5 / 0.5) * (K1 + 1))


def test_best_are_those_of_a_full_sort_at_every_depth() -> None:
    random = np.random.default_rng(1)
    numbers = np.sort(random.choice(20_000, 6_000, replace=False))
    entries = [(int(number), int(random.integers(1, 5)), int(random.integers(5, 9))) for number in numbers]
    lexical = LexicalScores([postings(1, entries)], Statistics(20_000, 140_000))
    scores = lexical.of(numbers)
    expected = numbers[np.lexsort((numbers, -scores))]
    for depth in (1, 10, 100, 319, 320, 321, 5_999, 6_000, 30_000):
        assert lexical.best(depth).tolist() == expected[:depth].tolist()


def test_no_posting_is_no_score() -> None:
    lexical = LexicalScores([], Statistics(5, 50))
    assert lexical.best(10).tolist() == []
    assert lexical.of(np.array([1, 2])).tolist() == [0, 0]
    assert lexical.reachable == 0
    assert fused(np.array([0.5]), lexical.of(np.array([1])), lexical.reachable).tolist() == [DENSE_WEIGHT * 0.5]


def test_lexeme_of_every_chunk_still_counts_for_it() -> None:
    lexical = LexicalScores([postings(1, [(0, 1, 5), (1, 1, 5)])], Statistics(2, 10))
    assert (lexical.of(np.array([0, 1])) > 0).all()


def test_fused_score_weighs_cosine_and_reached_share() -> None:
    scores = fused(np.array([1.0, 0.2, -1.0]), np.array([0.0, 4.0, 8.0]), 8.0)
    rest = 1 - DENSE_WEIGHT
    assert scores.tolist() == pytest.approx([DENSE_WEIGHT, DENSE_WEIGHT * 0.2 + rest / 2, rest - DENSE_WEIGHT])


def test_order_is_by_score_and_then_by_number() -> None:
    assert order(np.array([0.1, 0.5, 0.5, 0.2]), np.array([4, 9, 3, 1])).tolist() == [2, 1, 3, 0]
