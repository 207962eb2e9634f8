import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.base.sentences import sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["It rains.", "We stay in."],
        ["Dr. Okafor signs it.", "Mr. Lind does not."],
        ["See No. 5 of the list.", "Fig. 2 shows more."],
        ["The answer was no.", "Nobody asked again."],
        ["It costs 3.50 EUR, i.e. less than 4.", "Tea is free."],
        ["Offices exist in the U.S. and Norway.", "We like both."],
        ["We moved to the U.S. Navy yard.", "It is large."],
        ["They live in the U.S.", "The office is there."],
        ["Call J. R. Hart at 9 a.m.", "Nobody answers before."],
        ["Is it done?", "Yes!", "Good."],
        ['She said "wait."', "Then she left."],
        ["Bring cables, e.g. USB ones.", "Leave the rest."],
        ["Harbour & Pine Ltd. owns it.", "Lind Inc. Shipping does not."],
        ["We waited... and waited.", "Nothing came…", "We left."],
        ["Version 2.1.3 fixes it.", "Update by Sept. 3 at the latest."],
        ["(See the annex.)", "It is short."],
    ],
)
def test_prose_is_cut_at_sentence_ends_only(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected
    assert sentences("\n\n".join(expected)) == expected


def test_a_wrapped_line_does_not_end_a_sentence() -> None:
    text = (
        "A laptop has to be returned within fourteen days of the last day of work, in\n"
        "its bag and with its charger. The desk on the ground floor takes it from Monday\n"
        "to Thursday and gives you a receipt, which you keep until the last payslip of\n"
        "Harbour & Pine has arrived."
    )
    first, second = (sentence.replace("\n", " ") for sentence in sentences(text))
    assert first.startswith("A laptop has") and first.endswith("last day of work, in its bag and with its charger.")
    assert second.startswith("The desk on") and second.endswith("payslip of Harbour & Pine has arrived.")


def test_a_heading_is_not_part_of_the_sentence_below_it() -> None:
    text = (
        "4.2 Returning equipment\n"
        "Everything that the company lent you comes back before the final payslip is paid out.\n"
        "Annex"
    )
    assert sentences(text) == text.split("\n")


@pytest.mark.parametrize(
    "text",
    [
        "Item | Days | Place\nLaptop | 14 | IT desk\nAccess card | 1 | Reception",
        "| Item | Days |\n|------|------|\n| Laptop | 14 |",
        "Item\tDays\nLaptop\t14",
        "Item      Days   Place\nlaptop    14     desk",
        (
            "Laptop with dock and charger 14 days after the last day\n"
            "Monitor and keyboard 30 days after the last day\n"
            "Access card on the last day of work Reception"
        ),
        "# Pricing\nText of it\n## Terms\n- one thing\n- another thing\n1. first\n2. second\n(a) third",
        "Title\n=====\n```\nmake up\n```",
    ],
)
def test_each_row_item_and_heading_is_its_own(text: str) -> None:
    assert sentences(text) == text.split("\n")


def test_a_list_number_does_not_end_a_sentence() -> None:
    assert sentences("1. Switch it off. 2 minutes later switch it on.\n2. Call us.") == [
        "1. Switch it off.",
        "2 minutes later switch it on.",
        "2. Call us.",
    ]


def test_an_item_may_go_on_in_the_next_line() -> None:
    text = "- Bring the laptop and\n  its charger.\n- Sign the form."
    assert sentences(text) == ["- Bring the laptop and\n  its charger.", "- Sign the form."]


def test_chinese_and_japanese_need_no_spaces() -> None:
    assert sentences("笔记本电脑须在十四天内归还。請問在哪裡？「好的。」謝謝！") == [
        "笔记本电脑须在十四天内归还。",
        "請問在哪裡？",
        "「好的。」",
        "謝謝！",
    ]


def test_nothing_comes_of_nothing() -> None:
    assert sentence_spans("") == []
    assert sentence_spans(" \n\t\r\n ") == []


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(list(".!? \n\r\fAa1|-#。\t"))), max_size=200))
def test_every_character_is_in_exactly_one_span(text: str) -> None:
    covered = 0
    for start, end in sentence_spans(text):
        assert text[covered:start].strip() == ""
        assert start < end
        assert text[start:end] == text[start:end].strip()
        covered = end
    assert text[covered:].strip() == ""


@pytest.mark.parametrize(
    "unit", ["x", "e.g. ", ".", "!", '."', ". ", "A. ", "a\n", "- x\n", "a | b\n", "汉。", "\t ", "a   "]
)
def test_time_is_linear_whatever_repeats(unit: str) -> None:
    """Half a million characters of the same take about a second, 20 on a busy machine; quadratic time is hours."""
    text = unit * (500_000 // len(unit))
    began = time.perf_counter()
    spans = sentence_spans(text)
    assert sum(end - start for start, end in spans) <= len(text)
    assert time.perf_counter() - began < 20
