"""How long a call may take and how much it may bring, and the headers of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slipway.base.errors import LimitExceeded

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: to connect; until a stream begins, and between the pieces of any answer; for the whole of a call.

    `whole_first_byte_s` is until an answer begins that is not streamed; by default there is none but the total, because
    servers of models send nothing of such an answer before all of it is there.
    """

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    total_s: float = 600.0
    whole_first_byte_s: float = float("inf")

    def within(self, left_s: float | None) -> "Deadlines":
        """These with `left_s` for the whole, where that is said and less."""
        return self if left_s is None or left_s >= self.total_s else replace(self, total_s=left_s)


class ShareExceeded(LimitExceeded):
    """One owner has as many calls open as may be its own while others want to call the same server too."""

    def __init__(self, calls: int) -> None:
        super().__init__(
            f"{calls} of your calls to this model's server are open, all that one tenant may have there now: "
            "try again when some of them have ended.",
            retry_after_s=1.0,
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one server may take of this process.

    `connections`: each is one call in flight. `body_bytes` holds for whole answers; a stream may be longer, and is not
    read on above `queue_bytes` that nobody has taken. `idle_s`: how long an unused connection is kept.
    """

    connections: int = 1000
    head_bytes: int = 64 * 2**10
    body_bytes: int = 64 * 2**20
    queue_bytes: int = 256 * 2**10
    idle_s: float = 30.0


class HeaderList:
    """Headers as they came; names in lower case."""

    __slots__ = ("items",)

    def __init__(self, items: Headers) -> None:
        self.items = items

    def get(self, name: str, /) -> str | None:
        """The first header of that name."""
        wanted = name.encode("latin-1")
        for found, value in self.items:
            if found == wanted:
                return value.decode("latin-1")
        return None
