"""How deeply JSON may nest: never so deeply that what was read cannot be written again, or walked by a recursion.

Whatever reads JSON of a caller, a provider or a model calls it, so that no accepted request fails for it later.
"""

from collections.abc import Mapping
from typing import Any, Final

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
