r"""Reads the question and the sources out of a chat, by a grammar that whoever writes the prompt keeps to.

A system, developer or user message may hold any number of blocks, anywhere in its text:

    <source id="1" title="Employee handbook" page="3">
    Laptops can be returned within 30 days of delivery.
    </source>

- `id` is required; `title` and `page` are optional, other attributes are ignored. Values stand in double quotes and
  are escaped as by `html.escape`. Attributes come in any order.
- One line break after the opening tag and one before the closing tag belong to the markup. All between them is the
  passage, raw: `<`, `>` and `&` stand for themselves.
- The only escape in a passage: each `</source` is written `<\/source`. What looks like an opening tag inside a
  passage is text, so a document cannot pose as another source.
- Two blocks with one id: the later one counts, as in a conversation that brings new sources with each turn.

The question is the last user message without its blocks. The answerer calls `read_chat`; it refuses messages that
are not lists of texts.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slipway.base.errors import InvalidRequest

_OPENING = re.compile(r'<source((?:\s+[a-z_]+="[^"]*")+)\s*>(?:\r?\n)?')
_CLOSING = re.compile(r"(?:\r?\n)?</source\s*>")
_ATTRIBUTE = re.compile(r'([a-z_]+)="([^"]*)"')
_ESCAPED_END = re.compile(r"<\\/(?=source)")
_ROLES_WITH_SOURCES = frozenset({"system", "developer", "user"})


@dataclass(frozen=True)
class Source:
    """A passage as its document has it, and how answers refer to it: `[id]`."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Chat:
    """The question, the sources in the order given, and every text of the conversation, for counting."""

    question: str
    sources: tuple[Source, ...]
    texts: tuple[str, ...]


def read_chat(messages: Sequence[Mapping[str, Any]]) -> Chat:
    """The question and the sources. InvalidRequest when a message's content is neither a text nor parts."""
    question = ""
    sources: dict[str, Source] = {}
    texts = []
    for message in messages:
        text = _content(message.get("content"))
        texts.append(text)
        role = message.get("role")
        if role in _ROLES_WITH_SOURCES:
            found, rest = _split(text)
            for source in found:
                sources.pop(source.id, None)  # so that the later one also takes the later place
                sources[source.id] = source
            if role == "user":
                question = rest.strip()
    return Chat(question, tuple(sources.values()), tuple(texts))


def _content(content: Any) -> str:
    """A message's text; images and other parts are passed over, because this model reads text alone."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
        raise InvalidRequest("The content of a message must be a text or a list of parts.")
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("A part of type text must have its text.")
    return "\n".join(text for text in texts if isinstance(text, str))


def _split(text: str) -> tuple[list[Source], str]:
    """The sources in a text and the text without them. Tags are searched forwards only: linear in hostile text."""
    found, rest, position = [], [], 0
    while (opening := _OPENING.search(text, position)) and (closing := _CLOSING.search(text, opening.end())):
        rest.append(text[position : opening.start()])
        position = closing.end()
        facts = {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(opening[1])}
        if "id" in facts:
            passage = _ESCAPED_END.sub("</", text[opening.end() : closing.start()])
            found.append(Source(facts["id"], facts.get("title", ""), passage))
    return found, " ".join([*rest, text[position:]])
