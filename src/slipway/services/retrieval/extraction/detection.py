"""Which of the five supported kinds a file is, by its content; the declared type and the name only break ties.

`documents.extract` calls it, and the upload route may, to refuse early. It refuses everything else by name with
`UnsupportedType`, and what is supported but cannot be opened (protected, empty) with `InvalidRequest`.
"""

import re
import zipfile
from pathlib import Path, PurePath

from slipway.base.errors import InvalidRequest, TooLarge, UnsupportedType
from slipway.services.retrieval.extraction.models import DOCX, HTML, MARKDOWN, MAX_BYTES, PDF, PLAIN

_HEAD_BYTES = 64 * 1024
_SUPPORTED = "supported are PDF, DOCX, HTML, Markdown and plain text"

_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"{\\rtf", "a rich text (RTF) file"),
    (b"%!PS", "a PostScript file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"RIFF", "an audio, video or image file"),
    (b"ID3", "an audio file"),
    (b"OggS", "an audio or video file"),
    (b"SQLite format 3", "a SQLite database"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")  # MS-OFFCRYPTO 2.3.2: the stream of a protected OOXML file
_ZIP_KINDS = (
    ("xl/", "an Excel workbook"),
    ("ppt/", "a PowerPoint presentation"),
    ("META-INF/container.xml", "an EPUB book"),
    ("content.xml", "an OpenDocument file"),
)
_MARKDOWN_NAMES = {".md", ".markdown", ".mdown", ".mkd"}
_HTML_NAMES = {".html", ".htm", ".xhtml"}
# Nothing is given back once matched: a page of comments would take exponential time.
_HTML_START = re.compile(
    rb"(?>\s+|<!--.*?-->|<\?xml[^>]*\?>)*+<(?:!doctype\s+html|html|head|body|title|meta|h[1-6]|div|p|table|article|main)\b",
    re.IGNORECASE | re.DOTALL,
)
_XML_START = re.compile(rb"\s*<(?:\?xml|svg)\b")
_TAG = re.compile(rb"</?[a-zA-Z][^<>]*>")
# Control characters that no text has; NUL apart, which a damaged log may have.
_BINARY = bytes(set(range(32)) - {0x00, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1B})
_BINARY_SHARE = 0.02  # arbitrary: text has none, compressed data some 8 %


def media_type_of(path: Path, file_name: str, declared_type: str | None) -> str:
    """The media type of the file, one of the five; raises InvalidRequest, TooLarge or UnsupportedType."""
    size = path.stat().st_size
    if size == 0:
        raise InvalidRequest("The file is empty.")
    if size > MAX_BYTES:
        raise TooLarge(f"The file has {size:,} bytes; at most {MAX_BYTES:,} are taken. Split it and add the parts.")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    suffix = PurePath(file_name).suffix.lower()
    declared = (declared_type or "").partition(";")[0].strip().lower()
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_type(path, expected=suffix == ".docx" or declared == DOCX)
    if head.startswith(_OLE):
        raise _ole_refusal(path)
    if _is_pdf(head, expected=suffix == ".pdf" or declared == PDF):
        return PDF
    _refuse_binary(head)
    return _text_type(head, suffix, declared)


def unsupported(what: str) -> UnsupportedType:
    """The refusal of a kind of file, with what can be added instead."""
    return UnsupportedType(f"The file is {what}, which cannot be read; {_SUPPORTED}.")


def _is_pdf(head: bytes, *, expected: bool) -> bool:
    if head.startswith(b"%PDF-"):
        return True
    # Readers take a header anywhere in the first 1,024 bytes; a text that only mentions it is not a PDF.
    return b"%PDF-" in head[:1024] and (expected or b" obj" in head)


def _zip_type(path: Path, *, expected: bool) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if expected:
            raise InvalidRequest(
                "The DOCX file is broken or incomplete and could not be read.", detail=str(error)
            ) from error
        raise unsupported("a broken or incomplete ZIP archive") from error
    if "[Content_Types].xml" in names and any(name.startswith("word/") for name in names):
        return DOCX
    for prefix, kind in _ZIP_KINDS:
        if any(name.startswith(prefix) for name in names):
            raise unsupported(kind)
    raise unsupported("a ZIP archive")


def _ole_refusal(path: Path) -> InvalidRequest | UnsupportedType:
    if _ENCRYPTED_PACKAGE in path.read_bytes():
        return InvalidRequest("The document is protected by a password. Remove the protection and add it again.")
    return unsupported("an old Office file (.doc, .xls, .ppt); save it as DOCX first")


def _refuse_binary(head: bytes) -> None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            raise unsupported(kind)
    if head[4:8] == b"ftyp":
        raise unsupported("an audio, video or image file")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 and UTF-32 are full of NUL
        return
    controls = len(head) - len(head.translate(None, _BINARY))
    if controls > _BINARY_SHARE * len(head) or head.count(b"\x00") > 0.1 * len(head):
        raise unsupported("not text")


def _text_type(head: bytes, suffix: str, declared: str) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16-le" if head.startswith(b"\xff\xfe") else "utf-16-be"
        head = head[2:].decode(codec, errors="ignore").encode()
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML_START.match(head):
        # Markdown may open with a tag of HTML; its name or its declared type says so.
        return MARKDOWN if suffix in _MARKDOWN_NAMES else HTML
    if _XML_START.match(head):
        raise unsupported("an XML file")
    if suffix in _MARKDOWN_NAMES or (declared == MARKDOWN and suffix not in _HTML_NAMES):
        return MARKDOWN
    if (suffix in _HTML_NAMES or declared in {HTML, "application/xhtml+xml"}) and _TAG.search(head):
        return HTML
    return PLAIN
