"""The extracted texts of documents, read from the object store; the last few stay, as quotes are checked in bursts."""

import asyncio
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Final

from slipway.base.callers import Caller
from slipway.runtime.objects import Objects
from slipway.services.retrieval.extraction.models import ExtractedText

_MAX_CACHED_CHARS: Final = 4_000_000  # 16 MB at most; a book has some 600,000


class TextCache:
    """Texts by their object key, which no other text ever gets."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._texts: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def text(self, caller: Caller, key: str) -> str:
        """The text under `key`; raises NotFound."""
        known = self._texts.get((caller.tenant_id, key))
        if known is not None:
            self._texts.move_to_end((caller.tenant_id, key))
            return known
        text = (await self.extracted(caller, key)).text
        self._texts[caller.tenant_id, key] = text
        while len(self._texts) > 1 and sum(map(len, self._texts.values())) > _MAX_CACHED_CHARS:
            self._texts.popitem(last=False)
        return text

    async def extracted(self, caller: Caller, key: str) -> ExtractedText:
        """The text with its pages and headings, not kept; raises NotFound."""
        with tempfile.TemporaryDirectory(prefix="slipway-text-") as folder:
            path = Path(folder) / "text"
            await self._objects.fetch(caller, key, path)
            return await asyncio.to_thread(ExtractedText.load, path)
