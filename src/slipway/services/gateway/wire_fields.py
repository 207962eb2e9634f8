"""Keys of a caller's JSON object, read by type; what nobody read is refused by name.

The request readers of each wire use it. Null counts as absent, as both wires' clients send it.
"""

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from slipway.services.gateway.models import InvalidParameter


class Fields:
    """One object at `path` of a body; `done` says what was left."""

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, Mapping):
            raise InvalidParameter(path, f"{path or 'The body'} must be an object.")
        self._value = value
        self._path = path
        self._left = {key for key, item in value.items() if item is not None}

    def param(self, key: str) -> str:
        """The full name of a key, as errors say it."""
        return f"{self._path}.{key}" if self._path else key

    def any(self, key: str) -> Any:
        """Whatever stands there; None when nothing does."""
        self._left.discard(key)
        return self._value.get(key)

    def skip(self, *keys: str) -> None:
        """Counts keys as read that mean nothing here."""
        self._left.difference_update(keys)

    def skip_only(self, key: str, *allowed: Any) -> None:
        """Counts a key as read when its value is one that asks for nothing."""
        value = self._value.get(key)
        if any(value == item and type(value) is type(item) for item in allowed):
            self._left.discard(key)

    def text(self, key: str) -> str | None:
        """A text."""
        value = self.any(key)
        if value is not None and not isinstance(value, str):
            self.wrong(key, "must be a text")
        typed: str | None = value
        return typed

    def need_text(self, key: str) -> str:
        """A text that must be there."""
        value = self.text(key)
        if value is None:
            self.wrong(key, "is missing")
        return value

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self.any(key)
        if value is not None and not isinstance(value, bool):
            self.wrong(key, "must be true or false")
        typed: bool | None = value
        return typed

    def whole(self, key: str, least: int | None = None) -> int | None:
        """A whole number."""
        value = self.any(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
            self.wrong(key, "must be a whole number" + ("" if least is None else f" of {least} or more"))
        return value

    def number(self, key: str) -> float | None:
        """A finite number."""
        value = self.any(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            self.wrong(key, "must be a number")
        return value

    def object(self, key: str) -> dict[str, Any] | None:
        """An object as it is."""
        value = self.any(key)
        if value is not None and not isinstance(value, dict):
            self.wrong(key, "must be an object")
        typed: dict[str, Any] | None = value
        return typed

    def fields(self, key: str) -> "Fields | None":
        """An object to be read."""
        value = self.any(key)
        return None if value is None else Fields(value, self.param(key))

    def items(self, key: str) -> "list[Fields]":
        """A list of objects to be read; empty when absent."""
        value = self.any(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(key, "must be a list")
        return [Fields(item, f"{self.param(key)}.{index}") for index, item in enumerate(value)]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when absent."""
        value = self.any(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(key, "must be a list of texts")
        return tuple(value)

    def wrong(self, key: str, what: str) -> NoReturn:
        """Refuses the value of a key; raises InvalidParameter."""
        param = self.param(key)
        raise InvalidParameter(param, f"{param} {what}.")

    def refused(self, key: str, instead: str = "leave it out, or ask a model that takes it") -> NoReturn:
        """Refuses a key that has no translation; raises InvalidParameter."""
        param = self.param(key)
        raise InvalidParameter(
            param, f"{param} cannot be translated for this model, which speaks another wire: {instead}."
        )

    def done(self) -> None:
        """Refuses the first key that nobody read; raises InvalidParameter."""
        if self._left:
            self.refused(min(self._left, key=str))
