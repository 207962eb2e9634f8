"""Objects: whole files by key, in a folder on a laptop and in S3 in the cloud, behind one port.

A key is relative to its tenant (`documents/doc_…/original`); an adapter puts the tenant in front, so that no key
reaches another tenant's objects. An object appears whole or not at all: a crash leaves no half object.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from slipway.base.callers import Caller


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What is known of an object once it is stored."""

    key: str
    size_bytes: int
    sha256: str | None  # known where this process wrote the bytes; a presigned upload to S3 has none until it is read


@dataclass(frozen=True, slots=True)
class PresignedPut:
    """A URL that takes one PUT of one object until it expires, with the headers the sender must repeat."""

    url: str
    headers: dict[str, str]
    expires_at: datetime


class Objects(Protocol):
    """The port. Every method raises Unavailable when the store is away and StorageFull when it has no room."""

    async def put(self, caller: Caller, key: str, content: AsyncIterator[bytes], *, max_bytes: int) -> StoredObject:
        """Stores `content` whole; raises TooLarge above `max_bytes`. Nothing remains of a failed or cancelled put."""
        ...

    def read(self, caller: Caller, key: str) -> AsyncIterator[bytes]:
        """The bytes in pieces; raises NotFound."""
        ...

    async def fetch(self, caller: Caller, key: str, into: Path) -> StoredObject:
        """Writes the object to the file `into`; raises NotFound."""
        ...

    async def stat(self, caller: Caller, key: str) -> StoredObject | None:
        """What is stored under `key`, None when nothing is."""
        ...

    async def delete(self, caller: Caller, key: str) -> None:
        """Removes the object; one that is not there is no error."""
        ...

    async def delete_under(self, caller: Caller, folder: str) -> None:
        """Removes every object whose key begins with `folder/`."""
        ...

    async def presign_put(self, caller: Caller, key: str, *, size_bytes: int, expires_s: int) -> PresignedPut:
        """A URL for one upload of exactly `size_bytes`."""
        ...

    async def sweep(self) -> None:
        """Removes what crashed writers left behind; called at start, harmless to writers that live."""
        ...

    async def check(self) -> None:
        """Raises Unavailable unless the store can be written to."""
        ...
