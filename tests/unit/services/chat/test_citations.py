"""Markers become quotes: exact spans, numbered by quote, whatever way the answer is cut into pieces."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from slipway.services.chat.citations import Citations, quote
from slipway.services.chat.models import Passage

TEXT = "Laptops go back within 30 days\nof delivery. Monitors go back within 14 days. Cables are not returned."
PASSAGES = [
    Passage("doc_a", "Handbook", 3, 100, TEXT, 0.8),
    Passage("doc_b", "Minutes", 1, 0, "The board met on Monday. Lunch was served at noon.", 0.4),
]


def rewritten(answer: str, cuts: list[int] | None = None) -> tuple[str, Citations]:
    citations = Citations(PASSAGES)
    borders = [0, *sorted(cuts or []), len(answer)]
    pieces = [answer[a:b] for a, b in itertools.pairwise(borders)]
    return "".join([*map(citations.feed, pieces), citations.end()]), citations


def test_a_verbatim_sentence_is_found_across_line_breaks_with_its_offsets():
    text, citations = rewritten("Laptops go back within 30 days of delivery. [1]")
    assert text == "Laptops go back within 30 days of delivery. [1]"
    (citation,) = citations.found
    assert citation.quote == "Laptops go back within 30 days\nof delivery."
    assert TEXT[citation.start - 100 : citation.end - 100] == citation.quote
    assert (citation.document_id, citation.page) == ("doc_a", 3)


def test_two_verbatim_sentences_before_one_marker_are_one_quote():
    _, citations = rewritten("Monitors go back within 14 days. Cables are not returned. [1]")
    assert [citation.quote for citation in citations.found] == [
        "Monitors go back within 14 days. Cables are not returned."
    ]


def test_a_paraphrase_is_quoted_by_the_sentence_that_shares_its_words():
    _, citations = rewritten("You have 14 days for monitors [1].")
    assert citations.found[0].quote == "Monitors go back within 14 days."


def test_markers_are_numbered_by_quote():
    text, citations = rewritten(
        "Monitors go back within 14 days. [1] Lunch was served at noon. [2] Cables are not returned. [1] "
        "Monitors go back within 14 days. [1]"
    )
    assert [part.split("]")[0] for part in text.split("[")[1:]] == ["1", "2", "3", "1"]
    assert [citation.document_id for citation in citations.found] == ["doc_a", "doc_b", "doc_a"]


def test_two_markers_after_one_sentence_stand_for_the_same_words():
    _, citations = rewritten("Monitors go back within 14 days. [1][1]")
    assert len(citations.found) == 1


def test_a_marker_without_support_or_source_is_dropped():
    text, citations = rewritten("Whales sing at night. [1] And so on. [7]")
    assert text == "Whales sing at night. And so on."
    assert citations.found == []


def test_brackets_that_are_no_markers_stay():
    text, _ = rewritten("See [appendix] and a[0] and [ 1 ] and an open [12")
    assert text == "See [appendix] and a[0] and [ 1 ] and an open [12"


def test_a_claim_without_words_supports_nothing():
    assert quote(PASSAGES[0], "…") is None


@given(st.lists(st.integers(0, 120), max_size=12))
def test_pieces_do_not_matter(cuts: list[int]):
    answer = "Laptops go back within 30 days of delivery. [1] Lunch was served at noon [2]. Nothing else [x] [99] 1]"
    whole, citations = rewritten(answer)
    pieced, same = rewritten(answer, [cut for cut in cuts if cut <= len(answer)])
    assert pieced == whole
    assert same.found == citations.found
