"""YAML text into nodes that know their line: the only reader of YAML in Slipway.

Called by `loading`. It reads the parser's events rather than constructing objects, so that every refusal has
a line and nothing is built before it is checked. Refused: tags, duplicate keys, merge keys, more than one
document, a text over 1 MiB, nesting deeper than 40, more than 20,000 values once aliases are written out.
Plain scalars follow the core schema of YAML 1.2 (section 10.3.2): `yes`, `off` and `22:00` are texts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from slipway.manifest.problems import Problem

Scalar = str | int | float | bool | None

SIZE_MAX_BYTES: Final = 1 << 20
DEPTH_MAX: Final = (
    40  # the deepest path of the schema has 7 steps; the recursive walks after this stay far from Python's limit
)
VALUES_MAX: Final = 20_000  # arbitrary; the largest reference manifest has some 400

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, Scalar]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands: at its key if it has one. Lines and columns count from 1."""

    value: "Scalar | dict[str, Node] | list[Node]"
    line: int
    column: int
    weight: int = 1  # values in it, aliases written out
    height: int = 1  # levels in it, aliases written out


class Unreadable(Exception):
    """The text cannot be read any further."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.problem = Problem(line, column, "", message)


def read(text: str) -> tuple[Node, tuple[Problem, ...]]:
    """The root of one YAML document, with the problems that do not stop the reading.

    Raises Unreadable when the text is no YAML, or more of it than the limits above allow.
    """
    from ruamel.yaml import YAML  # 40 ms to import (2026-11-21): only who reads a file pays for it
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = _Reader()
    try:
        root = reader.document(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise Unreadable(f"this is not YAML: {what}", *_place(mark)) from error
    except YAMLError as error:
        raise Unreadable(f"this is not YAML: {' '.join(str(error).split())}") from error
    return root, tuple(reader.problems)


@dataclass(slots=True)
class _Reader:
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)

    def document(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        for event in events:
            kind = type(event).__name__
            if kind in ("StreamStartEvent", "StreamEndEvent", "DocumentStartEvent", "DocumentEndEvent"):
                continue
            if root is not None:
                raise Unreadable("a manifest is one YAML document: remove `---` and what follows it", *_at(event))
            root = self.node(event, events, 1)
        if root is None:
            raise Unreadable("the file is empty: `slipway init` writes a manifest to start from")
        return root

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        line, column = _at(event)
        kind = type(event).__name__
        if depth > DEPTH_MAX:
            raise Unreadable(f"nested deeper than {DEPTH_MAX} levels", line, column)
        if kind == "AliasEvent":
            known = self.alias(event.anchor, line, column)
            if depth + known.height > DEPTH_MAX:
                raise Unreadable(f"nested deeper than {DEPTH_MAX} levels", line, column)
            return known
        if event.tag is not None:
            self.refuse(line, column, f"the tag {event.tag} is refused: write a plain value")
        if kind == "ScalarEvent":
            _refuse_half_characters(event)
            node = Node(event.value if event.style else _scalar(event.value), line, column)
        elif kind == "MappingStartEvent":
            node = self.mapping(events, line, column, depth)
        else:
            node = self.sequence(events, line, column, depth)
        if node.weight > VALUES_MAX:
            raise Unreadable(f"more than {VALUES_MAX:,} values, aliases written out", line, column)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, anchor: str, line: int, column: int) -> Node:
        known = self.anchors.get(anchor)
        if known is None:  # not written yet, or written around this very place
            raise Unreadable(f"the alias *{anchor} names nothing that stands before it", line, column)
        return known

    def mapping(self, events: Iterator[Any], line: int, column: int, depth: int) -> Node:
        entries: dict[str, Node] = {}
        weight = height = 1
        for key_event in events:
            if type(key_event).__name__ == "MappingEndEvent":
                break
            at = _at(key_event)
            key = self.key(key_event)
            value = self.node(next(events), events, depth + 1)
            weight += value.weight
            height = max(height, value.height + 1)
            if key in entries:
                first = entries[key].line
                self.refuse(*at, f"the key `{key}` already stands in line {first}: keep one of the two")
            elif key == "<<":
                self.refuse(*at, "merge keys are refused: environments are the way to override a value")
            else:
                entries[key] = replace(value, line=at[0], column=at[1])
        return Node(entries, line, column, weight, height)

    def sequence(self, events: Iterator[Any], line: int, column: int, depth: int) -> Node:
        items: list[Node] = []
        weight = height = 1
        for event in events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            items.append(self.node(event, events, depth + 1))
            weight += items[-1].weight
            height = max(height, items[-1].height + 1)
        return Node(items, line, column, weight, height)

    def key(self, event: Any) -> str:
        if type(event).__name__ == "ScalarEvent" and event.tag is None:
            _refuse_half_characters(event)
            return str(event.value)
        if type(event).__name__ == "AliasEvent" and isinstance(self.alias(event.anchor, *_at(event)).value, str):
            return str(self.anchors[event.anchor].value)
        raise Unreadable("a key is a plain text", *_at(event))

    def refuse(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(line, column, "", message))


def _refuse_half_characters(event: Any) -> None:
    """A lone surrogate (`"\\ud800"`) is no text: no JSON, no terminal and no file could take it."""
    if any("\ud800" <= character <= "\udfff" for character in event.value):
        raise Unreadable("the text holds half a character (a lone surrogate): write the whole one", *_at(event))


def _scalar(text: str) -> Scalar:
    """A plain scalar by the core schema of YAML 1.2, without its octal and hexadecimal forms."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and abs(number := float(text)) < 1e300:
        return number
    return text


def _at(event: Any) -> tuple[int, int]:
    return _place(event.start_mark)


def _place(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
