"""What it costs to know a caller again: `authenticate()` for an API key that was verified before, on a real database.

    python -m bench.authentication

It stands in front of every request of the gateway. The best of many short rounds, because other work on the machine can
only add to it; and the first use of a key beside it, which asks the database.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from slipway.base.clock import SystemClock
from slipway.runtime.authentication.authenticator import build_authenticator
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedPostgres
from slipway.services.identity.bootstrap import admin_key_new, bootstrap

ROUNDS, CALLS = 40, 500
TARGET_US = 15.0


async def costs_us(url: str) -> tuple[float, float]:
    """Microseconds of the first and of a later verification."""
    database = await Database.open(url, max_connections=3)
    try:
        await bootstrap(database)
        first_us = cached_us = float("inf")
        authenticator = build_authenticator(database, InternalTokens([bytes(32)]), clock=SystemClock())
        for _ in range(ROUNDS):
            key = (await admin_key_new(database)).key_secret
            await authenticator.check()
            began = time.perf_counter()
            await authenticator.authenticate(key)
            first_us = min(first_us, (time.perf_counter() - began) * 1e6)
            began = time.perf_counter()
            for _ in range(CALLS):
                await authenticator.authenticate(key)
            cached_us = min(cached_us, (time.perf_counter() - began) * 1e6 / CALLS)
        return first_us, cached_us
    finally:
        await database.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "home")
        addresses = server.start()
        try:
            migrate(addresses.owner_url)
            first_us, cached_us = asyncio.run(costs_us(addresses.app_url))
        finally:
            server.stop()
    print(f"first use of a key     {first_us:>9.1f} µs")
    print(f"a key verified before  {cached_us:>9.2f} µs   < {TARGET_US:g}")
    if cached_us >= TARGET_US:
        raise SystemExit("a target is missed")


if __name__ == "__main__":
    main()
