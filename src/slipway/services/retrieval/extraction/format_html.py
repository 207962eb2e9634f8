"""HTML to text: what a reader sees of the page, without scripts, styles, navigation and hidden parts.

The parser hands on events and builds no tree, so a page of 100 MB needs little more than its text.
"""

import re
from typing import Any, cast

from lxml import etree

from slipway.services.retrieval.extraction.blocks import BlockWriter
from slipway.services.retrieval.extraction.format_plain import decoded, meta_charset
from slipway.services.retrieval.extraction.models import HTML, ExtractedText, single_page, storable


def _elements(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DROPPED = _elements(
    "script style nav noscript template svg math canvas iframe object audio video select datalist dialog"
)
_BLOCKS = _elements(
    "p div section article main header footer aside ul ol dl dt dd form fieldset figure figcaption blockquote "
    "address hr body html head caption details summary thead tbody tfoot legend center"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_FEED_BYTES = 1024 * 1024


def html_text(data: bytes, declared_charset: str | None) -> ExtractedText:
    """The visible text of a page; the title is `<title>`, else the first heading, else empty."""
    text = decoded(data, declared_charset or meta_charset(data))
    reader = _Reader()
    # The text is parsed as UTF-8 whatever the page says of itself: it has been decoded already.
    parser = etree.HTMLParser(target=cast("Any", reader), encoding="utf-8", huge_tree=True, no_network=True)
    encoded = text.encode("utf-8", errors="replace")
    del text
    for start in range(0, len(encoded), _FEED_BYTES):
        parser.feed(encoded[start : start + _FEED_BYTES])
    try:
        parser.close()
    except etree.XMLSyntaxError:  # raised for a page without any element; what was read of it stands
        reader.close()
    body, headings = reader.blocks.finish()
    body = storable(body)
    title = reader.title or next((body[h.start : h.end] for h in headings), "")
    return ExtractedText(body, single_page(body), storable(title), HTML, headings)


class _Reader:
    """The target of the parser: turns elements into blocks. What a start tag opened, its end tag closes."""

    def __init__(self) -> None:
        self.blocks = BlockWriter()
        self.title = ""
        self._dropped_depth = 0
        self._pre_depth = 0
        self._title_parts: list[str] | None = None
        self._open_tables = 0
        self._opened: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._dropped_depth or tag in _DROPPED or _is_hidden(attributes):
            self._dropped_depth += 1
            return
        opened = self._open(tag)
        self._opened.append(opened)

    def end(self, _tag: str) -> None:
        if self._dropped_depth:
            self._dropped_depth -= 1
            return
        if self._opened:
            self._close(self._opened.pop())

    def data(self, text: str) -> None:
        if self._dropped_depth:
            return
        if self._title_parts is not None:
            self._title_parts.append(text)
        elif self._pre_depth:
            self.blocks.add(text)
        else:
            self.blocks.add(_SPACE.sub(" ", text))

    def comment(self, _text: str) -> None:
        """Comments are not part of what a reader sees."""

    def close(self) -> None:
        while self._opened:
            self._close(self._opened.pop())

    def _open(self, tag: str) -> str:
        if tag == "br":
            self.blocks.add("\n")
        elif tag == "title" and not self.title:
            self._title_parts = []
            return "title"
        elif tag in _HEADINGS or tag in _BLOCKS or tag in {"li", "pre"}:
            self.blocks.end_block()
            self._pre_depth += tag == "pre"
            return tag
        elif tag == "table":
            self.blocks.start_table()
            self._open_tables += 1
            return "table"
        elif tag in {"td", "th"} and self._open_tables:
            self.blocks.start_cell()
            return "cell"
        elif tag == "tr" and self._open_tables:
            return "row"
        return ""

    def _close(self, opened: str) -> None:
        if opened == "title":
            self.title = _SPACE.sub(" ", "".join(self._title_parts or [])).strip()
            self._title_parts = None
        elif opened in _HEADINGS:
            self.blocks.end_block(level=_HEADINGS[opened])
        elif opened == "li":
            self.blocks.end_block(prefix="- ", tight=True)
        elif opened == "pre":
            self.blocks.end_block(raw=True)
            self._pre_depth -= 1
        elif opened == "cell":
            self.blocks.end_cell()
        elif opened == "row":
            self.blocks.end_row()
        elif opened == "table":
            self.blocks.end_table()
            self._open_tables -= 1
        elif opened:
            self.blocks.end_block()


def _is_hidden(attributes: dict[str, str]) -> bool:
    if not attributes:
        return False
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return True
    return attributes.get("role") == "navigation" or bool(_HIDING_STYLE.search(attributes.get("style", "")))
