"""What each reader makes of a file, and which sentence it refuses a bad one with."""

import io
import zipfile
from pathlib import Path

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib import colors
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, FrameBreak, PageTemplate, Paragraph, SimpleDocTemplate, Table

from slipway.base.errors import InvalidRequest, SlipwayError, TooLarge, UnsupportedType
from slipway.services.retrieval.extraction import detection, format_docx, models
from slipway.services.retrieval.extraction.documents import extract
from slipway.services.retrieval.extraction.format_html import html_text
from slipway.services.retrieval.extraction.format_plain import decoded, markdown_text
from slipway.services.retrieval.extraction.models import (
    DOCX,
    HTML,
    MARKDOWN,
    PDF,
    PLAIN,
    ExtractedText,
    Heading,
    Page,
)


def read(folder: Path, data: bytes, name: str = "file", declared: str | None = None) -> ExtractedText:
    path = folder / "stored"
    path.write_bytes(data)
    return extract(path, name, declared, lambda done, total: None)


def pdf(*pages: list[tuple[float, float, str]], title: str = "", encrypt: StandardEncryption | None = None) -> bytes:
    """A PDF whose pages have texts at (x, y)."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1, encrypt=encrypt)
    if title:
        canvas.setTitle(title)
    for texts in pages:
        for x, y, text in texts:
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def word(document: "docx.document.Document") -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return buffer.getvalue()


W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def word_of_xml(body: str, prefix: str = "") -> bytes:
    xml = f'{prefix}<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'
    return archive({"[Content_Types].xml": b"<Types/>", "word/document.xml": xml.encode()})


PLAIN_PDF = pdf([(72, 700, "Hello from the first page.")], [(72, 700, "And from the second.")])
PLAIN_DOCX = word_of_xml("<w:p><w:r><w:t>Hello</w:t></w:r></w:p>")


@pytest.mark.parametrize(
    ("data", "name", "declared", "expected"),
    [
        (PLAIN_PDF, "report.txt", "text/plain", PDF),
        (b"junk before\n" + PLAIN_PDF, "report.pdf", None, PDF),
        (PLAIN_DOCX, "letter.pdf", "application/pdf", DOCX),
        (b"<!DOCTYPE html><p>Hi</p>", "page", None, HTML),
        (b"\xef\xbb\xbf  <!-- c --><html><body>Hi", "page.txt", "text/plain", HTML),
        ("<html><body>Hi".encode("utf-16"), "page", None, HTML),
        (b"Hi <b>there</b>", "page.html", None, HTML),
        (b"Hi <b>there</b>", "page", "text/html; charset=utf-8", HTML),
        (b"# Title", "notes.md", "application/octet-stream", MARKDOWN),
        (b"<p>one</p>\n# Title", "notes.md", None, MARKDOWN),
        (b"# Title", "notes", "text/markdown", MARKDOWN),
        (b"just text", "notes.txt", None, PLAIN),
        (b"The mark %PDF- opens a PDF.", "notes", None, PLAIN),
        (b"a,b\n1,2\n", "table.csv", "text/csv", PLAIN),
    ],
)
def test_the_content_tells_the_kind(
    tmp_path: Path, data: bytes, name: str, declared: str | None, expected: str
) -> None:
    assert read(tmp_path, data, name, declared).media_type == expected


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"{\\rtf1 hello}", "RTF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Office file"),
        (archive({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "an Excel workbook"),
        (archive({"a.txt": b"a"}), "a ZIP archive"),
        (b"PK\x03\x04 and then nothing", "incomplete ZIP archive"),
        (b"<?xml version='1.0'?><feed/>", "an XML file"),
        (bytes(range(256)) * 40, "not text"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(50), "audio, video or image"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path: Path, data: bytes, kind: str) -> None:
    with pytest.raises(UnsupportedType, match=r"supported are PDF, DOCX, HTML, Markdown and plain text") as refusal:
        read(tmp_path, data)
    assert kind in refusal.value.public


ENCRYPTED_PDF = pdf([(72, 700, "Secret")], encrypt=StandardEncryption("user", "owner"))


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (b"", "a.pdf", "The file is empty."),
        (b"  \n\t ", "a.txt", "No text was found in the file."),
        (b"<html><script>x</script></html>", "a.html", "No text was found"),
        (word(docx.Document()), "a.docx", "No text was found"),
        (pdf([], []), "scan.pdf", r"may be a scan: text recognition \(OCR\) is not done"),
        (ENCRYPTED_PDF, "a.pdf", "The PDF is protected by a password"),
        (PLAIN_PDF[: len(PLAIN_PDF) // 3], "a.pdf", "The PDF is broken or incomplete"),
        (b"%PDF-1.7\n" + b"garbage " * 50, "a.pdf", "The PDF is broken or incomplete"),
        (PLAIN_DOCX[: len(PLAIN_DOCX) // 2], "a.docx", "The DOCX file is broken or incomplete"),
        (word_of_xml("<w:p><w:r>"), "a.docx", "The DOCX file is broken or incomplete"),
        (archive({"[Content_Types].xml": b"", "word/other.xml": b""}), "a.docx", "The DOCX file is broken"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le"),
            "a.docx",
            "protected by a password",
        ),
        (
            word_of_xml("<w:p><w:r><w:t>&a;</w:t></w:r></w:p>", '<!DOCTYPE d [<!ENTITY a "aaaa">]>'),
            "a.docx",
            "The DOCX file is broken",
        ),
        (word_of_xml("<w:p/>" + " " * 20_000_000), "a.docx", "unpacks to far more than its size"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path: Path, data: bytes, name: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        read(tmp_path, data, name)


def test_above_the_limits_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "MAX_BYTES", 1000)
    with pytest.raises(TooLarge, match=r"1,001 bytes; at most 1,000"):
        read(tmp_path, b"x" * 1001)
    assert read(tmp_path, b"x" * 1000).text == "x" * 1000
    monkeypatch.setattr(format_docx, "_MAX_PART_BYTES", 100)
    with pytest.raises(TooLarge):
        read(tmp_path, PLAIN_DOCX)
    assert models.MAX_BYTES >= 100_000_000 and models.MAX_PAGES >= 5_000


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        ("Grüße".encode(), None, "Grüße"),
        ("Grüße".encode("utf-8-sig"), None, "Grüße"),
        ("Grüße 😀".encode("utf-16"), None, "Grüße 😀"),
        (b"\xfe\xff" + "Grüße".encode("utf-16-be"), "utf-8", "Grüße"),
        ("Grüße".encode("utf-32"), None, "Grüße"),
        ("Grüße – „so“".encode("cp1252"), None, "Grüße – „so“"),
        ("Łódź".encode("iso-8859-2"), "iso-8859-2", "Łódź"),
        ("Łódź".encode(), "rot13", "Łódź"),
        ("Łódź".encode(), "no-such-charset", "Łódź"),
        (b"\x81\x8d", None, "\ufffd\ufffd"),
    ],
)
def test_encodings(data: bytes, charset: str | None, expected: str) -> None:
    assert decoded(data, charset) == expected


def test_nothing_that_a_database_refuses_is_left(tmp_path: Path) -> None:
    assert read(tmp_path, b"a\x00b " * 3 + b"x" * 100).text.startswith("a\ufffdb ")
    assert models.storable("\ud800x\udfff\x00") == "\ufffdx\ufffd\ufffd"


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.sampled_from(["a.txt", "a.html", "a.md", "a.docx", "a.pdf"]))
def test_any_bytes_give_text_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    try:
        found = read(tmp_path_factory.mktemp("any"), data, name)
    except SlipwayError:
        return
    assert found.text.encode() and "\x00" not in found.text and found.title


def test_markdown_headings() -> None:
    source = "Intro\r\n=====\r\n\r\n## Two ##\n```\n# not one\n```\n- item\n---\n#tag\n### Three\n"
    found = markdown_text(source.encode(), None)
    assert [(found.text[h.start : h.end], h.level) for h in found.headings] == [
        ("Intro", 1),
        ("Two", 2),
        ("Three", 3),
    ]
    assert (found.title, found.text) == ("Intro", source)


def test_html_is_what_a_reader_sees() -> None:
    page = """<html><head><title> A <b>t</b></title></head><body><header>Top</header>
    <p>One<br>two &amp; <i>three</i><p style="display: none">x</p><div aria-hidden=true>x</div>
    <pre>  a
      b</pre><ul><li>first<li>second</ul>
    <table><caption>Cap</caption><tr><th>A<th>B<tr><td>1<td><p>2</p><p>3</p></table>
    <table><tr><td>left<td><h2>In layout</h2><p>Text</p></table>
    <input hidden><span>after</span></td></tr></table>"""
    found = html_text(page.encode(), None)
    assert found.text == (
        "Top\n\nOne\ntwo & three\n\n  a\n      b\n- first\n- second\n\nCap\n\nA | B\n1 | 2 3\n\n"
        "left\n\nIn layout\n\nText\n\nafter"
    )
    assert [found.text[h.start : h.end] for h in found.headings] == ["In layout"]


def test_html_declares_its_charset() -> None:
    assert html_text('<meta charset="iso-8859-2"><p>Łódź'.encode("iso-8859-2"), None).text == "Łódź"
    assert html_text('<?xml version="1.0" encoding="utf-16"?><html><p>Łódź</p></html>'.encode(), None).text == "Łódź"


def test_word_paragraphs_in_all_their_wrappings(tmp_path: Path) -> None:
    body = """
    <w:p><w:r><w:t>Kept </w:t></w:r><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>
      <w:del><w:r><w:delText>deleted</w:delText></w:r></w:del><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>
      <w:hyperlink><w:r><w:t> link</w:t></w:r></w:hyperlink><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>
      <w:r><w:instrText>PAGE</w:instrText><w:br/><w:t>new</w:t><w:noBreakHyphen/><w:t>line</w:t></w:r></w:p>
    <w:sdt><w:sdtContent><w:p><w:r><w:t>In a control</w:t></w:r></w:p></w:sdtContent></w:sdt>
    <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc><w:tc><w:p/></w:tc>
      <w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
    <w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>item</w:t></w:r></w:p>"""
    found = read(tmp_path, word_of_xml(body), "Letter to all.docx")
    assert found.text == "Kept inserted link\nnew-line\n\nIn a control\n\na b |  | c\n- item"
    assert found.title == "Letter to all"


@pytest.mark.parametrize(
    "body", ["<w:tc>{}</w:tc>", "<w:tr>{}</w:tr>", "<w:tr><w:tc>{}</w:tc></w:tr>", "<w:tbl>{}</w:tbl>"]
)
def test_word_parts_of_a_table_that_stand_alone(tmp_path: Path, body: str) -> None:
    xml = body.format("<w:p><w:r><w:t>x</w:t></w:r></w:p>")
    assert read(tmp_path, word_of_xml(xml + "<w:p><w:r><w:t>y</w:t></w:r></w:p>")).text.split() == ["x", "y"]


def test_word_headings_by_the_name_of_their_style(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("Chapter", 1)
    document.add_paragraph("Text of it.")
    document.add_heading("Section", 2)
    found = read(tmp_path, word(document), "x.docx")
    assert found.headings == (Heading(0, 7, 1), Heading(22, 29, 2))
    assert (found.text, found.title) == ("Chapter\n\nText of it.\n\nSection", "Chapter")


def test_pdf_pages_keep_their_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, pdf([(72, 700, "First")], [], [(72, 700, "Third")], title="untitled"), "x.pdf")
    assert found.text == "First\n\n\n\nThird"
    assert found.pages == (Page(1, 0, 5), Page(2, 7, 7), Page(3, 9, 14))
    assert [found.page_at(at) for at in (0, 4, 9, 13)] == [1, 1, 3, 3]
    assert found.title == "First"


def test_pdf_rows_without_rulings_by_their_gaps(tmp_path: Path) -> None:
    cells = [["Item", "Days", "Where"], ["Laptop", "14", "IT desk"], ["Card", "1", "Reception"]]
    by_row = [(72 + 150 * x, 700 - 16 * y, text) for y, row in enumerate(cells) for x, text in enumerate(row)]
    expected = "Item | Days | Where\nLaptop | 14 | IT desk\nCard | 1 | Reception"
    assert read(tmp_path, pdf(by_row)).text == expected


def test_pdf_labels_are_part_of_their_line(tmp_path: Path) -> None:
    labels = ["•", "3.", "(a)", "2.11"]
    items = [(x, 700 - 16 * y, text) for y, label in enumerate(labels) for x, text in ((72, label), (110, "An item"))]
    assert read(tmp_path, pdf(items)).text == "\n".join(f"{label} An item" for label in labels)


def test_pdf_letters_beyond_the_basic_plane_do_not_shift_the_cells(tmp_path: Path) -> None:
    text = read(tmp_path, pdf([(72, 700, "Grüße aus Łódź"), (300, 700, "zweite")])).text
    assert text.endswith(" | zweite")


def test_a_dump_loads_as_it_was(tmp_path: Path) -> None:
    found = ExtractedText("Grüße\n😀 x", (Page(1, 0, 5), Page(2, 6, 9)), 'A "t"\n', PDF, (Heading(0, 5, 1),))
    found.dump(tmp_path / "dump")
    assert ExtractedText.load(tmp_path / "dump") == found


CELLS = [
    ["Item", "Return within", "Where"],
    ["Laptop with charger and the dock of the home office", "14 days after the last working day", "IT desk"],
    ["Access card", "1 day", "Reception"],
    ["Phone", "14 days", "IT desk"],
]
RULED = ("LINEBELOW", (0, 0), (-1, -1), 0.5, colors.grey)
HEAD_RULED = [
    ("LINEABOVE", (0, 0), (-1, 0), 1, colors.black),
    ("LINEBELOW", (0, 0), (-1, 0), 1, colors.black),
    ("LINEBELOW", (0, -1), (-1, -1), 1, colors.black),
]


@pytest.mark.parametrize(
    "style",
    [
        [("GRID", (0, 0), (-1, -1), 0.5, colors.grey)],
        [RULED],
        HEAD_RULED,
        [("ROWBACKGROUNDS", (0, 0), (-1, -1), [colors.lightgrey, colors.white])],
    ],
    ids=["grid", "rows ruled", "head ruled", "striped"],
)
def test_pdf_cells_of_several_lines_are_one_row(tmp_path: Path, style: list[tuple[object, ...]]) -> None:
    cell = getSampleStyleSheet()["BodyText"]
    rows = [[Paragraph(text, cell) for text in row] for row in CELLS]
    table = Table(rows, colWidths=[130, 110, 130], style=[*style, ("VALIGN", (0, 0), (-1, -1), "TOP")])
    buffer = io.BytesIO()
    story = [Paragraph("Above.", cell), table, Paragraph("Between.", cell), table, Paragraph("Below.", cell)]
    SimpleDocTemplate(buffer, invariant=1).build(story)
    lines = [line for line in read(tmp_path, buffer.getvalue()).text.split("\n") if line]
    expected = [" | ".join(row) for row in CELLS]
    assert lines == ["Above.", *expected, "Between.", *expected, "Below."]


def test_pdf_justified_text_has_no_cells(tmp_path: Path) -> None:
    justified = ParagraphStyle("j", fontSize=10, leading=12, alignment=4)
    text = "A laptop has to be returned within fourteen extraordinarily long days, notwithstanding circumstances. " * 12
    buffer = io.BytesIO()
    document = BaseDocTemplate(buffer, invariant=1)
    document.addPageTemplates(PageTemplate("two", [Frame(60, 60, 230, 700), Frame(310, 60, 230, 700)]))
    document.build([Paragraph(text, justified), FrameBreak(), Paragraph("Right. " + text, justified)])
    found = read(tmp_path, buffer.getvalue()).text
    assert "|" not in found
    left, right = " ".join(found.split()).split("Right. ")
    assert left.strip() == right.strip() == text.strip()
