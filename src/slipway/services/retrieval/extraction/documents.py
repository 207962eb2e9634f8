"""Extracts one file in this process: finds its kind, hands it to the reader of that kind, settles the title.

The child process calls it (`isolation` starts that); tests of the readers do too. A server never calls it with a
file from outside: a file may crash, hang or fill the process that reads it.
"""

import re
from pathlib import Path, PurePath

from slipway.base.errors import InvalidRequest
from slipway.services.retrieval.extraction.detection import media_type_of
from slipway.services.retrieval.extraction.models import (
    DOCX,
    HTML,
    MARKDOWN,
    PDF,
    ExtractedText,
    Progress,
    storable,
)

_MAX_TITLE_CHARS = 300  # arbitrary: a line of a list of documents
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)


def extract(path: Path, file_name: str, declared_type: str | None, progress: Progress) -> ExtractedText:
    """The text of the file at `path`; `file_name` is what the person calls it.

    Raises InvalidRequest (empty, protected, broken, without text), TooLarge and UnsupportedType.
    """
    media_type = media_type_of(path, file_name, declared_type)
    match = _CHARSET.search(declared_type or "")
    found = _read(path, media_type, match.group(1) if match else None, progress)
    if not found.text.strip():
        raise InvalidRequest("No text was found in the file.")
    title = " ".join(found.title.split())[:_MAX_TITLE_CHARS].strip()
    return ExtractedText(
        text=found.text,
        pages=found.pages,
        title=title or _title_of_name(file_name),
        media_type=media_type,
        headings=found.headings,
    )


def _read(path: Path, media_type: str, charset: str | None, progress: Progress) -> ExtractedText:
    # Readers are imported when they are needed: a child for a text file does not pay for PDFium or lxml.
    if media_type == PDF:
        from slipway.services.retrieval.extraction.format_pdf import pdf_text

        return pdf_text(path, progress)
    if media_type == DOCX:
        from slipway.services.retrieval.extraction.format_docx import docx_text

        found = docx_text(path)
    elif media_type == HTML:
        from slipway.services.retrieval.extraction.format_html import html_text

        found = html_text(path.read_bytes(), charset)
    else:
        from slipway.services.retrieval.extraction.format_plain import markdown_text, plain_text

        found = (markdown_text if media_type == MARKDOWN else plain_text)(path.read_bytes(), charset)
    progress(1, 1)
    return found


def _title_of_name(file_name: str) -> str:
    stem = PurePath(file_name.replace("\\", "/")).stem
    return " ".join(storable(stem).split())[:_MAX_TITLE_CHARS] or "Untitled"
