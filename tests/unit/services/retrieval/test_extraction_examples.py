"""The example documents, extracted: facts, rows and pages that the README's answers stand on."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from slipway.services.retrieval.chunking import chunk
from slipway.services.retrieval.extraction.documents import extract
from slipway.services.retrieval.extraction.models import DOCX, HTML, MARKDOWN, PDF, PLAIN, ExtractedText

EXAMPLES = Path(__file__).parents[4] / "examples" / "documents"


def extracted(name: str) -> ExtractedText:
    found = extract(EXAMPLES / name, Path(name).name, None, lambda done, total: None)
    covered = 0
    for page in found.pages:
        assert found.text[covered : page.start].strip() == "" and page.start <= page.end
        covered = page.end
    assert found.text[covered:].strip() == ""
    assert all(found.text[heading.start : heading.end].strip() for heading in found.headings)
    return found


def page_of(found: ExtractedText, quote: str) -> int:
    return found.page_at(found.text.index(quote))


def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_make", EXAMPLES / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # reportlab's own
def test_the_files_are_what_the_script_makes() -> None:
    """The text and not the bytes: another zlib compresses the same content differently."""
    for name, data in make().files().items():
        if name.endswith((".html", ".md", ".txt")):
            assert (EXAMPLES / name).read_bytes() == data
        else:
            assert len((EXAMPLES / name).read_bytes()) == pytest.approx(len(data), rel=0.1)


def test_the_handbook() -> None:
    found = extracted("handbook.pdf")
    assert (found.media_type, found.title) == (PDF, "Harbour & Pine employee handbook")
    assert [page.number for page in found.pages] == [1, 2, 3, 4, 5, 6]
    answer = "You have 14 days after your last working day to return a laptop, together with its charger."
    assert page_of(found, answer) == 3
    lines = found.text.split("\n")
    assert "5 to 9 years | 30 days | 5 days" in lines
    assert "Access card and keys | The last working day itself | Reception | 60 EUR" in lines
    # Cells of several lines each are one row all the same.
    assert (
        "Monitor, dock and other equipment of a home office | 30 days after the last working day; collected on request"
        " | Service depot or IT desk | 180 EUR"
    ) in lines
    assert page_of(found, "Germany | 140 EUR | 48 EUR | 36 EUR") == 4
    assert page_of(found, "A, C and F; the defibrillator") == 6
    headings = [found.text[heading.start : heading.end] for heading in found.headings]
    assert headings[0] == "Employee handbook"
    assert "4.2 Returning equipment" in headings and "10 Leaving us" in headings
    assert not [heading for heading in headings if "|" in heading or len(heading) > 40]
    assert [line for line in lines if line.startswith("Page ")] == [f"Page {n}" for n in range(1, 7)]
    assert found.text.endswith("Page 6")


def test_a_chunk_of_the_handbook_holds_the_answer_under_its_heading() -> None:
    found = extracted("handbook.pdf")
    chunks = chunk(found, lambda texts: [1 + len(text) // 6 for text in texts])
    holding = [piece for piece in chunks if "14 days after your last working day to return a laptop" in piece.text]
    assert [(piece.heading, piece.page) for piece in holding] == [("4.2 Returning equipment", 3)]


def test_the_onboarding_notes() -> None:
    found = extracted("notes/onboarding.docx")
    assert (found.media_type, found.title) == (DOCX, "Onboarding at Harbour & Pine")
    lines = found.text.split("\n")
    assert "Tuesday | 10:00 | Security training (90 minutes) | Tomas Brekke" in lines
    assert "- Sign the confidentiality agreement. The link in the letter is valid for 14 days." in lines
    assert [found.text[heading.start : heading.end] for heading in found.headings] == [
        "Onboarding at Harbour & Pine",
        "Before the first day",
        "The first week",
        "Probation",
        "Accounts",
    ]


def test_the_price_list() -> None:
    found = extracted("notes/pricing.html")
    assert (found.media_type, found.title) == (HTML, "Prices 2026 · Harbour & Pine")
    lines = found.text.split("\n")
    assert "Fjord | 2 to 3 | 329 EUR per month | 269 EUR per month | 700 EUR" in lines
    assert "repairs within three working days." in found.text
    for hidden in ("analytics", "font-family", "Contact", "Draft", "2027"):
        assert hidden not in found.text


def test_the_operations_guide_keeps_its_source() -> None:
    found = extracted("notes/operations.md")
    assert (found.media_type, found.title) == (MARKDOWN, "Operations guide of the service depot")
    assert found.text == (EXAMPLES / "notes/operations.md").read_text()
    assert [heading.level for heading in found.headings] == [1] + [2] * 6


def test_the_minutes() -> None:
    found = extracted("notes/minutes.txt")
    assert (found.media_type, found.title) == (PLAIN, "minutes")
    assert found.text == (EXAMPLES / "notes/minutes.txt").read_text()
