"""The credentials that this process has verified lately, so that the hot path asks no database.

Keyed on the SHA-256 of the whole credential: two that share a beginning have nothing in common here. Bounded, and
found again by the identity behind them, so that a change to a key or user drops every copy of it.
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from slipway.base.callers import Caller

_MAX_VERIFIED: Final = 20_000  # arbitrary; about 10 MB
_MAX_UNKNOWN: Final = 10_000  # arbitrary; about 1 MB
_UNKNOWN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Verified:
    """A credential that held. `stale_at_s` (monotonic) is when it is verified anew, `expires_at` when it ends."""

    caller: Caller
    identity: str
    version: datetime | None
    stale_at_s: float
    expires_at: datetime | None


class VerifiedCredentials:
    """Verified credentials by hash, and hashes that are known to belong to nobody."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Verified] = {}
        self._of_identity: dict[str, set[bytes]] = {}
        self._unknown: dict[bytes, float] = {}

    def put(self, digest: bytes, entry: Verified) -> None:
        """Keeps a credential; the oldest tenth goes when there is no room."""
        self.drop(digest)
        if len(self.entries) >= _MAX_VERIFIED:
            for oldest in list(islice(self.entries, _MAX_VERIFIED // 10)):
                self.drop(oldest)
        self.entries[digest] = entry
        self._of_identity.setdefault(entry.identity, set()).add(digest)

    def drop(self, digest: bytes) -> None:
        """Forgets one credential."""
        entry = self.entries.pop(digest, None)
        if entry is None:
            return
        digests = self._of_identity[entry.identity]
        digests.discard(digest)
        if not digests:
            del self._of_identity[entry.identity]

    def changed(self, versions: dict[str, datetime]) -> None:
        """Drops the credentials of every identity whose version is another than the one they were verified with."""
        for identity, version in versions.items():
            for digest in list(self._of_identity.get(identity, ())):
                if self.entries[digest].version != version:
                    self.drop(digest)

    def clear(self) -> None:
        """Forgets everything."""
        self.entries.clear()
        self._of_identity.clear()
        self._unknown.clear()

    def unknown_put(self, digest: bytes, now_s: float) -> None:
        """Remembers for a second that nobody has this credential."""
        if len(self._unknown) >= _MAX_UNKNOWN:
            self._unknown.clear()
        self._unknown[digest] = now_s + _UNKNOWN_S

    def is_unknown(self, digest: bytes, now_s: float) -> bool:
        """Whether nobody had this credential within the last second."""
        until_s = self._unknown.get(digest)
        if until_s is None:
            return False
        if until_s <= now_s:
            del self._unknown[digest]
            return False
        return True
