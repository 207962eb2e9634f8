"""Reads a multipart form (RFC 7578) as it arrives: the file goes on piece by piece and is never whole in memory.

Fields may stand before or after the file, as clients differ; they are known once the file was read to its end.
"""

import re
from collections.abc import AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from slipway.base.errors import InvalidRequest

_MAX_FIELD_BYTES: Final = 1024
_FIELDS: Final = {"collection"}
_PATH: Final = re.compile(r"^.*[/\\]")
_WRONG: Final = "Send the file as multipart/form-data in the field `file`, as `curl -F file=@handbook.pdf` does."


class UploadForm:
    """A form with one `file` and the fields we know. `open`, then `content` to its end, then `fields`."""

    def __init__(self, content_type: str, stream: AsyncIterator[bytes]) -> None:
        """Raises InvalidRequest unless `content_type` is a form with a boundary."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest(_WRONG)
        self.fields: dict[str, str] = {}
        self.file_name = ""
        self.media_type: str | None = None
        self._stream = stream
        self._pieces: list[bytes] = []
        self._seen_file = self._in_file = self._ended = False
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._value = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise InvalidRequest(_WRONG, detail=str(error)) from error

    async def open(self) -> None:
        """Reads up to the file; raises InvalidRequest for a form without one."""
        while not self._seen_file and await self._advance():
            pass
        if not self._seen_file:
            raise InvalidRequest(_WRONG)

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of the file; reads the form to its end, raises InvalidRequest when it breaks off."""
        while True:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if not await self._advance():
                break
        for piece in self._pieces:
            yield piece

    async def _advance(self) -> bool:
        data = await anext(self._stream, None)
        if data is None:
            if not self._ended:
                raise InvalidRequest("The upload broke off before its end: send it again.")
            return False
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"The form cannot be read. {_WRONG}", detail=str(error)) from error
        return True

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._header_name = self._header_value = b""
        self._field, self._value, self._in_file = None, b"", False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        if name == "file":
            if self._seen_file:
                raise InvalidRequest("Send one file a request: the form carries more than one.")
            self.file_name = file_name_of(options.get(b"filename", b"").decode(errors="replace"))
            self.media_type = self._headers.get(b"content-type", b"").decode("latin-1")[:127] or None
            self._seen_file = self._in_file = True
        elif name in _FIELDS:
            self._field = name
        else:
            raise InvalidRequest(f"The form has a field {name[:64]!r} that is not known: `file` and `collection` are.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _MAX_FIELD_BYTES:
            raise InvalidRequest(f"The field `{self._field}` is longer than {_MAX_FIELD_BYTES} bytes.")

    def _on_part_end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._value.decode(errors="replace").strip()

    def _on_end(self) -> None:
        self._ended = True


def file_name_of(sent: str) -> str:
    """The last segment of what the sender calls the file, printable, 255 characters at most."""
    name = "".join(character for character in _PATH.sub("", sent) if character.isprintable()).strip()
    return name[-255:] or "document"
