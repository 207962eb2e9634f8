"""How deeply JSON may nest, and of how much a request may be made: never so that others wait for one of them.

Not so deeply that what was read cannot be written again, or walked by a recursion: whatever reads JSON of a caller, a
provider or a model asks, so that no accepted request fails for it later. Not of so many pieces that reading or
translating it takes seconds.
"""

from collections.abc import Mapping
from typing import Any, Final

LONG_BODY_BYTES: Final = 256 * 2**10  # longer ones are read and written in a thread: a millisecond and more
# The parser holds the interpreter until it is done: some 50 ms for so many lists and objects, on 2 cores in 2026.
MAX_BRACKETS: Final = 200_000
MAX_ITEMS: Final = 10_000  # messages; parts and calls of all messages together; tools
# The fast parser reads 1024 levels, the fast writer writes 254, and a translation wraps what it is given into a few.
MAX_LEVELS: Final = 200


def nests_too_deeply(value: Mapping[str, Any], size_bytes: int) -> bool:
    """Whether an object that stood in `size_bytes` of JSON has more than MAX_LEVELS levels, itself included."""
    if size_bytes <= 2 * MAX_LEVELS:  # a level has a bracket at either end: most requests and events are done here
        return False
    level: list[Any] = [value]
    for _ in range(MAX_LEVELS):
        level = [
            item
            for each in level
            for item in (each.values() if type(each) is dict else each)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def has_too_many_brackets(content: bytes) -> bool:
    """Whether JSON opens more than MAX_BRACKETS lists and objects, those that only stand in its texts included."""
    return len(content) > 2 * MAX_BRACKETS and content.count(b"[") + content.count(b"{") > MAX_BRACKETS


def too_many(body: Mapping[str, Any], size_bytes: int) -> str | None:
    """The key of a chat that has more than MAX_ITEMS messages, parts or tools; None when there is none."""
    if size_bytes < 2 * MAX_ITEMS:  # not even of empty lists
        return None
    messages, tools = body["messages"], body.get("tools")
    if len(messages) > MAX_ITEMS:
        return "messages"
    if type(tools) is list and len(tools) > MAX_ITEMS:
        return "tools"
    waiting = [body.get("system")]
    for message in messages:
        waiting += (message.get("content"), message.get("tool_calls"), message.get("thinking_blocks"))
    parts = 0
    while waiting:
        listed = waiting.pop()
        if type(listed) is list:
            parts += len(listed)
            if parts > MAX_ITEMS:
                return "messages"
            waiting += [part.get("content") for part in listed if type(part) is dict]
    return None
