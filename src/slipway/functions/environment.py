"""The variables of a function, read here and nowhere else; `infra` sets them.

Standard library alone: the pre-token function is awaited by a person who signs in.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from slipway.base.errors import Misconfigured


def set_trace(identifier: str) -> None:
    """Says which trace this invocation is part of: AWS's clients read it there."""
    os.environ["_X_AMZN_TRACE_ID"] = identifier


class Environment:
    """The environment of one function. Getters raise Misconfigured, naming the variable, for what they cannot read."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables

    def text(self, name: str) -> str:
        """A variable that must be set."""
        value = self._variables.get(name)
        if not value:
            raise Misconfigured(f"The function's variable {name} is not set.")
        return value

    def optional(self, name: str) -> str | None:
        """A variable that may be missing."""
        return self._variables.get(name) or None

    def names(self, name: str) -> tuple[str, ...]:
        """Values separated by commas; none when the variable is missing."""
        return tuple(part.strip() for part in self._variables.get(name, "").split(",") if part.strip())

    def number(self, name: str) -> float:
        """A number above zero."""
        text = self.text(name)
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise Misconfigured(f"The function's variable {name} is {text!r}, no number above zero.")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A JSON object."""
        try:
            value = json.loads(self.text(name))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Misconfigured(f"The function's variable {name} is no JSON object.")
        return value
