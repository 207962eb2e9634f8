"""Which parts a process runs: the one list that ties a name of the catalog to the slice that implements it."""

import contextlib
import importlib
import inspect
from collections.abc import Iterable
from typing import Final

from slipway.base.errors import InvalidRequest
from slipway.manifest.catalog import CATALOG, start_order
from slipway.manifest.schema import Manifest
from slipway.runtime.part import Foundation, Part

ALL: Final = "all"


def parse_target(text: str, manifest: Manifest) -> tuple[str, ...]:
    """The parts that `--target` names, in start order; `all` is what the manifest declares.

    Raises InvalidRequest for a name that is no part.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if ALL in names:
        return manifest.component_order()
    unknown = [name for name in names if name not in CATALOG]
    if unknown or not names:
        raise InvalidRequest(
            f"{', '.join(unknown) or 'nothing'!r} is not a target: choose all, or some of {', '.join(CATALOG)}."
        )
    return tuple(name for name in start_order(names) if name in names)


async def wire(names: Iterable[str], foundation: Foundation) -> list[Part]:
    """The parts, wired in the order given. A slice is imported only where it runs.

    When one cannot be wired, those before it give back what they had opened.
    """
    parts: list[Part] = []
    async with contextlib.AsyncExitStack() as opened:
        for name in names:
            part = importlib.import_module(f"slipway.services.{name}.wiring").wire(foundation)
            parts.append(await part if inspect.isawaitable(part) else part)
            for stop in parts[-1].stop:
                opened.push_async_callback(stop)
        opened.pop_all()  # from here on the parts stop in the lifecycle
    return parts
