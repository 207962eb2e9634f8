"""PDF to text with page offsets, by PDFium: opens the file, walks its pages, and says why it cannot.

What a page's text is in reading order, with tables a line per row, is `pdf_layout`'s. Pages without text stay as empty
pages; a file with no text at all is a scan and is refused, because no text recognition is done.
"""

import re
from pathlib import Path
from statistics import median

import pypdfium2
from pypdfium2 import raw

from slipway.base.errors import InvalidRequest, TooLarge
from slipway.services.retrieval.extraction.models import (
    MAX_PAGES,
    MAX_TEXT_CHARS,
    PDF,
    ExtractedText,
    Heading,
    Page,
    Progress,
    storable,
)
from slipway.services.retrieval.extraction.pdf_layout import page_lines
from slipway.services.retrieval.extraction.pdf_tables import Line

_BROKEN = "The PDF is broken or incomplete and could not be read."
_BETWEEN_PAGES = "\n\n"
_HEADING_SHARE = 1.12  # of the body's letter height
_HEADING_MAX_CHARS = 120
_BLANK_LINE_SHARE = 1.55  # of the letter height, from one baseline to the next: single spacing is 1.15 to 1.5
_TITLE_OF_TOOLS = re.compile(
    r"^(untitled|\(?anonymous\)?|microsoft word - .*|.*\.(docx?|pdf|tex|indd))$", re.IGNORECASE
)
_HAS_WORD = re.compile(r"[^\W\d_]")


def pdf_text(path: Path, progress: Progress) -> ExtractedText:
    """The text of all pages; the title is that of the metadata, else the largest line of the first page with text."""
    document = _opened(path)
    try:
        pages = len(document)
        if pages > MAX_PAGES:
            raise TooLarge(f"The PDF has {pages:,} pages; at most {MAX_PAGES:,} are taken. Split it and add the parts.")
        if pages == 0:
            raise InvalidRequest(_BROKEN, detail="no pages")
        lines = []
        failed = 0
        for index in range(pages):
            found = _lines_of(document, index)
            failed += found is None
            lines.append(found or [])
            progress(index + 1, pages)
        if failed == pages:
            raise InvalidRequest(_BROKEN, detail="no page could be loaded")
        return _assembled(lines, _metadata_title(document))
    finally:
        document.close()


def _opened(path: Path) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD:
            raise InvalidRequest(
                "The PDF is protected by a password. Remove the protection and add it again."
            ) from error
        if getattr(error, "err_code", None) == raw.FPDF_ERR_SECURITY:
            raise InvalidRequest("The PDF is protected in a way that cannot be opened.") from error
        raise InvalidRequest(_BROKEN, detail=str(error)) from error


def _lines_of(document: pypdfium2.PdfDocument, index: int) -> list[Line] | None:
    """The lines of one page, or None when that page is broken: the others are still worth reading."""
    try:
        page = document[index]
    except pypdfium2.PdfiumError:
        return None
    try:
        return page_lines(page)
    except pypdfium2.PdfiumError:
        return None
    finally:
        page.close()


def _assembled(pages: list[list[Line]], title: str) -> ExtractedText:
    """One text of all pages, with a blank line where paragraphs part."""
    body_height = _body_height(pages)
    parts: list[str] = []
    spans: list[Page] = []
    headings: list[Heading] = []
    position = 0
    for number, lines in enumerate(pages, start=1):
        if number > 1:
            parts.append(_BETWEEN_PAGES)
            position += len(_BETWEEN_PAGES)
        first = position
        previous: Line | None = None
        for line in lines:
            is_heading = _is_heading(line, body_height)
            if previous is not None:
                gap = "\n\n" if _parts_paragraphs(previous, line, body_height) else "\n"
                parts.append(gap)
                position += len(gap)
            if is_heading:
                level = 1 if line.height > 1.5 * body_height else 2
                headings.append(Heading(position, position + len(line.text), level))
            parts.append(line.text)
            position += len(line.text)
            previous = line
        spans.append(Page(number, first, position))
        if position > MAX_TEXT_CHARS:
            raise TooLarge(f"The PDF has more than {MAX_TEXT_CHARS:,} characters of text. Split it and add the parts.")
    text = storable("".join(parts))
    if not text.strip():
        raise InvalidRequest(
            "No text was found in the PDF. It may be a scan: text recognition (OCR) is not done, "
            "so add a version that has text."
        )
    return ExtractedText(text, tuple(spans), storable(title or _largest_line(pages)), PDF, tuple(headings))


def _body_height(pages: list[list[Line]]) -> float:
    """The usual letter height: the median over the first lines, which is weighed enough for headings to stand out."""
    heights = [line.height for lines in pages[:200] for line in lines if len(line.text) > 20]
    return median(heights) if heights else 0.0


def _is_heading(line: Line, body_height: float) -> bool:
    return (
        not line.is_row
        and line.height > _HEADING_SHARE * body_height > 0
        and len(line.text) <= _HEADING_MAX_CHARS
        and _HAS_WORD.search(line.text) is not None
    )


def _parts_paragraphs(above: Line, below: Line, body_height: float) -> bool:
    if above.is_row and below.is_row:
        return False
    if above.is_row != below.is_row or _is_heading(above, body_height) != _is_heading(below, body_height):
        return True
    drop = above.baseline - below.baseline
    # Upwards is the next column; a paragraph may go on there.
    return drop > _BLANK_LINE_SHARE * max(above.height, below.height)


def _metadata_title(document: pypdfium2.PdfDocument) -> str:
    title = " ".join(document.get_metadata_value("Title").replace("\x00", "").split())
    return "" if _TITLE_OF_TOOLS.match(title) else title


def _largest_line(pages: list[list[Line]]) -> str:
    first = next((lines for lines in pages if lines), [])
    wordy = [line for line in first if _HAS_WORD.search(line.text) and len(line.text) <= _HEADING_MAX_CHARS]
    return max(wordy, key=lambda line: line.height).text if wordy else ""
