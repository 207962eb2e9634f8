"""DOCX to text: the paragraphs, lists, tables and footnotes of a Word document, by its XML (ECMA-376 part 1, 17).

It reads the parts itself and not through python-docx, which loses content controls and tracked insertions and keeps
the whole package in memory (ADR 0006). Word lays pages out when it opens a file; the file has none, so all is page 1.
"""

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, cast

from lxml import etree

from slipway.base.errors import InvalidRequest, TooLarge
from slipway.services.retrieval.extraction.blocks import BlockWriter
from slipway.services.retrieval.extraction.models import DOCX, ExtractedText, single_page, storable

_MAX_PART_BYTES = 512 * 1024 * 1024  # XML is some five times its text; above it the archive is a bomb
_MAX_RATIO = 200  # of a part to its compressed size; Word's XML reaches 20 to 60, zeros 1,000
_RATIO_FROM_BYTES = 8 * 1024 * 1024  # small parts may be as regular as they like
_READ_BYTES = 1024 * 1024
_BROKEN = "The DOCX file is broken or incomplete and could not be read."
_BOMB = "The DOCX file unpacks to far more than its size, and was not read."

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    etree.XMLSyntaxError,
    EOFError,
    KeyError,
    NotImplementedError,  # a compression that Python does not have
    ValueError,
)
_SKIPPED = frozenset(["moveFrom", "Fallback", "rt", "sectPr", "instrText", "delText", "delInstrText"])
_OFF = frozenset(["0", "false", "off"])


def docx_text(path: Path) -> ExtractedText:
    """The text of a document; the title is that of its properties, else the first heading, else empty."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except _UNREADABLE as error:
        raise InvalidRequest(_BROKEN, detail=f"{type(error).__name__}: {error}") from error


def _read(archive: zipfile.ZipFile) -> ExtractedText:
    main = _main_part(archive)
    folder = PurePosixPath(main).parent
    styles = _Styles()
    _parse(archive, str(folder / "styles.xml"), styles, optional=True)
    reader = _Reader(styles.names)
    _parse(archive, main, reader)
    for notes in ("footnotes.xml", "endnotes.xml"):
        _parse(archive, str(folder / notes), reader, optional=True)
    properties = _Properties()
    _parse(archive, "docProps/core.xml", properties, optional=True)
    text, headings = reader.blocks.finish()
    text = storable(text)
    title = properties.title.strip() or reader.title or next((text[h.start : h.end] for h in headings), "")
    return ExtractedText(text, single_page(text), storable(title), DOCX, headings)


def _main_part(archive: zipfile.ZipFile) -> str:
    relations = _Relations()
    _parse(archive, "_rels/.rels", relations, optional=True)
    return relations.main or "word/document.xml"


def _parse(archive: zipfile.ZipFile, name: str, target: "_Target", *, optional: bool = False) -> None:
    """Feed one part to the target, a piece at a time; stops at what no honest document has."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        if optional:
            return
        raise
    if info.flag_bits & 0x1:
        raise InvalidRequest("The DOCX file is protected by a password. Remove the protection and add it again.")
    if info.file_size > _MAX_PART_BYTES:
        raise TooLarge(_BOMB)
    if info.file_size > max(_RATIO_FROM_BYTES, _MAX_RATIO * info.compress_size):
        raise InvalidRequest(_BOMB, detail=f"{name}: {info.compress_size} bytes to {info.file_size}")
    parser = etree.XMLParser(target=cast("Any", target), resolve_entities=False, no_network=True)
    read = 0
    with archive.open(info) as part:
        while piece := part.read(_READ_BYTES):
            read += len(piece)
            parser.feed(piece)
    if read == 0 and not optional:
        raise InvalidRequest(_BROKEN, detail=f"{name} is empty")
    if read:
        parser.close()


class _Target:
    """What the parser calls; a document with a DOCTYPE is refused, as it could define entities that multiply."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, tag: str) -> None:
        """An element ends."""

    def data(self, text: str) -> None:
        """Characters between tags."""

    def doctype(self, _name: str, _public_id: str | None, _system: str | None) -> None:
        raise InvalidRequest(_BROKEN, detail="a part has a DOCTYPE")

    def close(self) -> None:
        """The part ends."""


class _Relations(_Target):
    """Where the package keeps its main document."""

    def __init__(self) -> None:
        self.main = ""

    def start(self, _tag: str, attributes: dict[str, str]) -> None:
        if attributes.get("Type", "").endswith("/officeDocument"):
            self.main = attributes.get("Target", "").lstrip("/")


class _Properties(_Target):
    """The title in the properties of the document."""

    def __init__(self) -> None:
        self.title = ""
        self._inside = False

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._inside = _local(tag) == "title"

    def end(self, _tag: str) -> None:
        self._inside = False

    def data(self, text: str) -> None:
        if self._inside:
            self.title += text


class _Styles(_Target):
    """Names of styles by id: ids are translated ("berschrift1"), names of built-in styles are not."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._id = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        if name == "style":
            self._id = _value(attributes, "styleId")
        elif name == "name" and self._id:
            self.names[self._id] = _value(attributes, "val").lower()
            self._id = ""


class _Reader(_Target):
    """The body: turns paragraphs and tables into blocks."""

    def __init__(self, styles: dict[str, str]) -> None:
        self.blocks = BlockWriter()
        self.title = ""
        self._styles = styles
        self._path: list[str] = []
        self._skipped_depth = 0
        self._style = ""
        self._listed = False
        self._hidden = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        if self._skipped_depth or name in _SKIPPED:
            self._skipped_depth += 1
            return
        parent = self._path[-1] if self._path else ""
        self._path.append(name)
        if name == "p":
            self.blocks.end_block()
            self._style, self._listed = "", False
        elif name == "r":
            self._hidden = False
        elif name == "tbl":
            self.blocks.start_table()
        elif name == "tc":
            self.blocks.start_cell()
        elif parent in {"pPr", "rPr"}:
            self._property(name, attributes)
        elif parent == "r":
            self._character(name)

    def end(self, _tag: str) -> None:
        if self._skipped_depth:
            self._skipped_depth -= 1
            return
        name = self._path.pop()
        if name == "p":
            self._end_paragraph()
        elif name == "tc":
            self.blocks.end_cell()
        elif name == "tr":
            self.blocks.end_row()
        elif name == "tbl":
            self.blocks.end_table()

    def data(self, text: str) -> None:
        if not self._skipped_depth and not self._hidden and self._path and self._path[-1] == "t":
            self.blocks.add(text)

    def _property(self, name: str, attributes: dict[str, str]) -> None:
        if name == "pStyle":
            self._style = self._styles.get(_value(attributes, "val"), "")
        elif name == "numPr":
            self._listed = True
        elif name == "vanish" and self._path[-3:-1] == ["r", "rPr"]:
            self._hidden = _value(attributes, "val").lower() not in _OFF

    def _character(self, name: str) -> None:
        if name == "tab":
            self.blocks.add("\t")
        elif name in {"br", "cr"}:
            self.blocks.add("\n")
        elif name == "noBreakHyphen":
            self.blocks.add("-")

    def _end_paragraph(self) -> None:
        style = self._style
        if style == "title":
            text = self.blocks.end_block(level=1)
            self.title = self.title or text
        elif style.startswith("heading ") and style[8:].isdigit():
            self.blocks.end_block(level=int(style[8:]))
        elif self._listed or style.startswith("list "):
            self.blocks.end_block(prefix="- ", tight=True)
        else:
            self.blocks.end_block()
        self._style, self._listed = "", False


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _value(attributes: dict[str, str], name: str) -> str:
    """An attribute by its local name: the namespace differs between transitional and strict documents."""
    return next((value for key, value in attributes.items() if _local(key) == name), "")
