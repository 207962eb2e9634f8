"""What a slice gives to the process that runs it, and what it is given: the contract between `services` and `app`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slipway.base.clock import Clock
from slipway.base.errors import Misconfigured
from slipway.manifest.schema import Manifest
from slipway.runtime.authentication import Authenticator
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database
from slipway.runtime.database_login import DatabaseAddress
from slipway.runtime.http.routes import HotRoute, Routes
from slipway.runtime.objects import Objects
from slipway.runtime.settings import Settings

Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Address:
    """Where a part listens: a URL, and the unix socket to reach it through when it shares this process."""

    url: str
    unix_socket: Path | None = None


@dataclass(frozen=True)
class Foundation:
    """What every part is wired from. `secrets` are the platform's, newest first; `url` is where users reach it.

    `database_owner_url` is the login that owns the tables, for a process that has it.
    """

    settings: Settings
    manifest: Manifest
    database: Database
    database_url: DatabaseAddress
    database_owner_url: str | None
    objects: Objects
    authenticator: Authenticator
    tokens: InternalTokens
    secrets: Sequence[bytes]
    addresses: Mapping[str, Address]
    url: str
    clock: Clock

    def address(self, part: str) -> Address:
        """Where `part` is; raises Misconfigured when it neither runs here nor has an address."""
        if part not in self.addresses:
            raise Misconfigured(
                f"The part {part!r} does not run in this process and has no address: "
                f"add it to --target or set SLIPWAY_{part.upper()}_URL."
            )
        return self.addresses[part]


@dataclass(frozen=True)
class Part:
    """A wired slice.

    `start` is awaited in dependency order before the process is ready, `stop` in reverse; each of `run` is a task that
    lives as long as the process: when one ends or raises, the process stops with its cause. `checks` answer `/ready` by
    name and raise when what they name is missing.
    """

    name: str
    routes: Sequence[Routes] = ()
    hot_routes: Sequence[HotRoute] = ()
    start: Sequence[Work] = ()
    run: Mapping[str, Work] = field(default_factory=dict)
    stop: Sequence[Work] = ()
    checks: Mapping[str, Work] = field(default_factory=dict)
