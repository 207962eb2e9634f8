from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.services.retrieval.chunking import MAX_TOKENS, OVERLAP_TOKENS, TARGET_TOKENS, Chunk, chunk, embedded_text
from slipway.services.retrieval.extraction.models import PLAIN, ExtractedText, Heading, Page


def words_of(texts: Sequence[str]) -> list[int]:
    """Counts as WordPiece does in kind: white space parts, long words and those without spaces count more."""
    return [sum(1 + len(word) // 8 for word in text.split()) for text in texts]


def document(text: str, headings: Sequence[str] = (), pages: Sequence[int] = (0,)) -> ExtractedText:
    ends = [*pages[1:], len(text)]
    return ExtractedText(
        text=text,
        pages=tuple(Page(n, start, end) for n, (start, end) in enumerate(zip(pages, ends, strict=True), 1)),
        title="t",
        media_type=PLAIN,
        headings=tuple(Heading(text.index(h), text.index(h) + len(h), 1) for h in headings),
    )


def check(text: str, chunks: Sequence[Chunk], pages: Sequence[Page] = ()) -> None:
    covered = 0
    for number, piece in enumerate(chunks):
        assert piece.ordinal == number
        assert piece.text == text[piece.start : piece.end] == piece.text.strip()
        assert piece.text
        assert text[covered : piece.start].strip() == ""
        assert piece.end > covered
        assert words_of([piece.text])[0] <= MAX_TOKENS
        assert len(piece.text.split()) * 16 + 4000 >= len("".join(piece.text.split()))
        covered = piece.end
        assert not pages or pages[piece.page - 1].start <= piece.start < piece.end <= pages[piece.page - 1].end
    assert text[covered:].strip() == ""


PROSE = " ".join(f"Sentence number {n} says something about the desk on floor {n % 7}." for n in range(400))


def test_prose_is_cut_at_sentences_near_the_target_and_overlaps() -> None:
    chunks = chunk(document(PROSE), words_of)
    check(PROSE, chunks)
    for left, right in pairwise(chunks):
        assert right.text.startswith("Sentence number") and left.text.endswith(".")
        shared = words_of([PROSE[right.start : left.end]])[0]
        assert 0 < shared <= OVERLAP_TOKENS
    sizes = words_of([piece.text for piece in chunks[:-1]])
    assert all(TARGET_TOKENS - 30 <= size <= TARGET_TOKENS for size in sizes)


def test_the_same_text_gives_the_same_chunks() -> None:
    assert chunk(document(PROSE), words_of) == chunk(document(PROSE), words_of)


def test_a_section_starts_a_chunk_with_its_heading() -> None:
    body = " ".join(f"This is sentence {n} of the section." for n in range(20))
    text = f"Leave\n\n{body}\n\nReturns\n\n{body}"
    leave, returns = chunk(document(text, ["Leave", "Returns"]), words_of)
    assert (leave.heading, returns.heading) == ("Leave", "Returns")
    assert leave.text == f"Leave\n\n{body}"
    assert returns.text == f"Returns\n\n{body}"


def test_a_heading_is_never_left_at_the_end() -> None:
    body = " ".join(f"This is sentence {n} of it." for n in range(6))
    parts = [f"Heading {n}\n\n{body}" for n in range(100, 130)]
    text = "\n\n".join(parts)
    chunks = chunk(document(text, [f"Heading {n}" for n in range(100, 130)]), words_of)
    check(text, chunks)
    assert not [piece for piece in chunks if piece.text.rsplit("\n\n", 1)[-1].startswith("Heading")]
    assert all(piece.text.startswith(piece.heading or "-") for piece in chunks)


def test_rows_stay_whole() -> None:
    rows = [f"Item {n} | {n} days after the last day of work | the desk on floor {n}" for n in range(100)]
    chunks = chunk(document("\n".join(rows)), words_of)
    assert {row for piece in chunks for row in piece.text.split("\n")} == set(rows)


def test_a_chunk_stands_on_one_page_also_when_a_sentence_does_not() -> None:
    text = "Title\n\nThe bill is kept for thirty\ndays after the day. Then it is shredded."
    split = text.index("days")
    chunks = chunk(document(text, pages=[0, 7, split]), words_of)
    assert [(piece.page, piece.text) for piece in chunks] == [
        (1, "Title"),
        (2, "The bill is kept for thirty"),
        (3, "days after the day. Then it is shredded."),
    ]


def test_a_text_that_the_embedder_reads_whole_stays_whole_up_to_its_sections() -> None:
    paragraph = " ".join(f"This is part {n} of the abstract." for n in range(14))
    text = "\n\n".join([paragraph] * 2)
    assert TARGET_TOKENS < words_of([text])[0] <= MAX_TOKENS
    assert [piece.text for piece in chunk(document(text), words_of)] == [text]
    halves = chunk(document(text + "\n\nReturns\nAll.", headings=["Returns"]), words_of)
    assert [piece.text for piece in halves] == [text, "Returns\nAll."]


def test_title_and_heading_are_embedded_before_a_text_that_does_not_say_them() -> None:
    assert embedded_text("Handbook", "Returns", "Thirty days.") == "Handbook\nReturns\nThirty days."
    assert embedded_text("Handbook", "", "The  HANDBOOK says so.") == "The  HANDBOOK says so."
    assert embedded_text("Returns", "Returns", "Thirty days.") == "Returns\nThirty days."
    assert embedded_text("A long title " * 12, "Returns", "Thirty days.") == "Returns\nThirty days."


def test_the_page_is_that_of_the_start() -> None:
    page = " ".join(f"This is sentence {n} of the page." for n in range(12))
    text = "\n\n".join([page] * 5)
    chunks = chunk(document(text, pages=[n * (len(page) + 2) for n in range(5)]), words_of)
    assert [piece.page for piece in chunks if piece.text.startswith("This is sentence 0")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 50_000,
        "汉" * 5_000,
        "汉字。" * 3_000,
        "word " * 5_000,
        "a" * 3_000 + " " + "b c " * 900,
        "😀" * 3_000,
        "",
        " \n",
    ],
)
def test_text_without_borders_is_cut_all_the_same(text: str) -> None:
    check(text, chunk(document(text), words_of))


def test_a_word_that_the_tokenizer_takes_for_one_unknown_piece_is_still_bounded() -> None:
    chunks = chunk(document("x" * 100_000), lambda texts: [len(text.split()) for text in texts])
    assert max(len(piece.text) for piece in chunks) <= 4_000
    assert "".join(piece.text for piece in chunks) == "x" * 100_000


TEXT = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(["\n\n", ". ", "a | b\n", "# Head\n", "word " * 90, "汉" * 300, "y" * 2_000, "\f"]),
    ),
    max_size=25,
).map("".join)


@settings(max_examples=120, deadline=None)
@given(TEXT, st.lists(st.integers(0, 400), max_size=4), st.lists(st.integers(0, 400), max_size=3))
def test_any_text_is_covered_in_order_within_the_limit(text: str, heads: list[int], pages: list[int]) -> None:
    starts = [0, *sorted({page for page in pages if 0 < page < len(text)})]
    headings = tuple(Heading(at, at + 1, 1) for at in sorted(set(heads)) if at < len(text))
    base = document(text, pages=starts)
    check(text, chunk(ExtractedText(text, base.pages, "t", PLAIN, headings), words_of), base.pages)
