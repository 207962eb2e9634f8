"""Takes over journals of dead processes, again and again until each is settled, ever less often.

The usage journal calls it for each journal that it has adopted. What is delivered once is not delivered again while
this process lives; should it end, whoever comes next repeats it, which changes nothing.
"""

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic
from typing import Final

from slipway.base.errors import SlipwayError
from slipway.runtime.journal import Orphan
from slipway.services.gateway.usage_delivery import RowStore, SettleDead, delivered

_FIRST_PAUSE_S: Final = 2.0
_LAST_PAUSE_S: Final = 300.0  # arbitrary
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """A journal that is not settled yet: what it says, once its rows are delivered, and when it is its turn again."""

    said: tuple[dict[str, int], bool] | None = None
    pause_s: float = _FIRST_PAUSE_S
    due_s: float = 0.0


class Recovery:
    """What this process knows of journals that it has tried to recover."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._known: dict[str, _Known] = {}

    async def attempt(self, orphan: Orphan, settle_dead: SettleDead) -> None:
        """Recovers a journal and removes it, unless it failed a moment ago. Raises nothing."""
        known = self._known.setdefault(orphan.instance_id, _Known())
        if monotonic() < known.due_s:
            return
        try:
            if known.said is None:
                known.said = await delivered(orphan, self._store)
            spent, complete = known.said
            await settle_dead(orphan.instance_id, spent, complete=complete)
            await asyncio.to_thread(orphan.done)
        except Exception as error:  # noqa: BLE001 - one journal that cannot be read must not end the others
            known.due_s = monotonic() + known.pause_s
            known.pause_s = min(known.pause_s * 2, _LAST_PAUSE_S)
            if isinstance(error, SlipwayError):
                _log.warning("journal %s is not settled yet: %s", orphan.instance_id, error)
            else:
                _log.exception("journal %s is not recovered", orphan.instance_id, exc_info=error)
        else:
            del self._known[orphan.instance_id]
