"""Plain text and Markdown: the file's own characters are the text, so that offsets are those of the file itself.

Order of trust for the encoding: a byte order mark, the declared charset, UTF-8 if it is valid, else Windows-1252, which
gives every byte some character. UTF-16 without a mark is taken for what it is not: text full of NUL.
"""

import codecs
import re

from slipway.services.retrieval.extraction.models import (
    MARKDOWN,
    PLAIN,
    ExtractedText,
    Heading,
    single_page,
    storable,
)

_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-zA-Z0-9_:.-]{1,40})", re.IGNORECASE)
_META_BYTES = 4096
# A heading of Markdown with number signs, or a line underlined with = or -; fences switch both off.
_MARKDOWN_LINE = re.compile(
    r"^(?P<fence> {0,3}(?:```|~~~))"
    r"|^ {0,3}(?P<marks>#{1,6})[ \t]+(?P<title>[^\r\n]*[^\s#])[ \t]*#*[ \t]*\r?$"
    r"|^ {0,3}(?P<above>[^\s>|*+\-=][^\r\n]{0,200})\r?\n {0,3}(?P<rule>=+|-{2,})[ \t]*\r?$",
    re.MULTILINE,
)


def decoded(data: bytes, declared_charset: str | None) -> str:
    """The characters of the bytes, without a byte order mark; never fails."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(codec, errors="replace")
    for candidate in (declared_charset, "utf-8"):
        if candidate and _is_text_codec(candidate):
            try:
                return data.decode(candidate)
            except UnicodeError:
                continue
    return data.decode("cp1252", errors="replace")


def meta_charset(data: bytes) -> str | None:
    """The charset that an HTML page declares for itself near its start, if it does."""
    match = _META_CHARSET.search(data[:_META_BYTES])
    return match.group(1).decode("ascii") if match else None


def plain_text(data: bytes, declared_charset: str | None) -> ExtractedText:
    """A plain text file; its title is left to its name."""
    text = storable(decoded(data, declared_charset))
    return ExtractedText(text, single_page(text), "", PLAIN)


def markdown_text(data: bytes, declared_charset: str | None) -> ExtractedText:
    """A Markdown file as its own source; the title is its first heading."""
    text = storable(decoded(data, declared_charset))
    headings = _markdown_headings(text)
    title = text[headings[0].start : headings[0].end] if headings else ""
    return ExtractedText(text, single_page(text), title, MARKDOWN, headings)


def _markdown_headings(text: str) -> tuple[Heading, ...]:
    headings: list[Heading] = []
    in_fence = False
    for match in _MARKDOWN_LINE.finditer(text):
        if match.group("fence"):
            in_fence = not in_fence
        elif in_fence:
            continue
        elif match.group("marks"):
            headings.append(Heading(*match.span("title"), len(match.group("marks"))))
        else:
            start, end = match.span("above")
            end = start + len(text[start:end].rstrip())
            headings.append(Heading(start, end, 1 if match.group("rule").startswith("=") else 2))
    return tuple(headings)


def _is_text_codec(name: str) -> bool:
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    # Python also has codecs that are no character sets (rot13, zip) and one that runs escapes.
    return getattr(found, "_is_text_encoding", False) and "escape" not in found.name
