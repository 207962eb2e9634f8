"""Where a provider says that a piece of its answer belongs: a whole number, or nothing.

Whatever reads a provider's choices, tool calls, blocks or vectors calls it.
"""

from typing import Any

from slipway.base.errors import UpstreamFailed


def index_of(value: Any) -> int | None:
    """The index; None where the provider gives none. Raises UpstreamFailed for anything else."""
    if value is None or type(value) is int:
        return value
    raise UpstreamFailed(
        "The model's provider numbered a piece of its answer with something that is no whole number.",
        effect_unknown=True,
    )
