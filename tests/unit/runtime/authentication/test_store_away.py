"""A store that stops, hangs and comes back: how long a verified credential is honoured, and what is refused."""

import asyncio
import time
from pathlib import Path

import psycopg
import pytest

from slipway.base.errors import Unauthenticated, Unavailable
from slipway.base.ids import new_id
from slipway.runtime.authentication.api_keys import api_key_make
from slipway.runtime.authentication.authenticator import build_authenticator
from slipway.runtime.database import Database
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedPostgres
from tests.unit.runtime.authentication.conftest import Keys

pytestmark = pytest.mark.anyio


async def test_a_verified_key_is_honoured_for_a_minute_without_the_store(tmp_path: Path, tokens, clock) -> None:
    server = EmbeddedPostgres(tmp_path)
    addresses = await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(migrate, addresses.owner_url)
        tenant_id, keys = new_id("ten"), Keys(addresses.app_url)
        with psycopg.connect(addresses.app_url) as connection:
            connection.execute("SET LOCAL ROLE slipway_platform")
            connection.execute("INSERT INTO tenant (id, name) VALUES (%s, 'T')", (tenant_id,))
        (key_id, key), (_, other), (_, third) = (keys.add(tenant_id) for _ in range(3))
        database = await Database.open(addresses.app_url, max_connections=2)
        try:
            authenticator = build_authenticator(database, tokens, clock=clock)
            await authenticator.check()
            await authenticator.authenticate(key.secret)
            await authenticator.authenticate(other.secret)
            keys.revoke(tenant_id, key_id)
            await asyncio.to_thread(server.stop)

            for _ in range(3):
                clock.forward(20)
                for secret in (key.secret, other.secret):
                    await authenticator.authenticate(secret)
            with pytest.raises(Unavailable):
                await authenticator.authenticate(third.secret)  # good, but never verified here
            with pytest.raises(Unavailable):
                await authenticator.authenticate(api_key_make().secret)
            with pytest.raises(Unauthenticated):
                await authenticator.authenticate("sk-slip-nonsense")
            clock.forward(0.1)
            with pytest.raises(Unavailable) as refused:
                await authenticator.authenticate(other.secret)
            assert refused.value.retry_after_s is not None
            with pytest.raises(Unavailable):
                clock.forward(1)
                await authenticator.check()

            await asyncio.to_thread(server.start)
            deadline = time.monotonic() + 30
            while True:
                clock.forward(1)
                try:
                    await authenticator.authenticate(other.secret)
                    break
                except Unavailable:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)
            with pytest.raises(Unauthenticated):
                await authenticator.authenticate(key.secret)
        finally:
            await database.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_store_that_hangs_holds_nobody_up_for_long(postgres, tokens, clock, keys, new_caller) -> None:
    tenant_id = new_caller().tenant_id
    key_id, key = keys.add(tenant_id)
    _, unverified = keys.add(tenant_id)
    database = await Database.open(postgres.app_url, max_connections=3)
    try:
        authenticator = build_authenticator(database, tokens, clock=clock)
        await authenticator.check()
        await authenticator.authenticate(key.secret)
        with psycopg.connect(postgres.owner_url) as locker:
            locker.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
            clock.forward(2)
            started = time.monotonic()
            await authenticator.authenticate(key.secret)
            assert time.monotonic() - started < 1.0
            started = time.monotonic()
            await asyncio.gather(*(authenticator.authenticate(key.secret) for _ in range(50)))
            assert time.monotonic() - started < 0.5, "requests do not wait for the store each by itself"
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await authenticator.authenticate(unverified.secret)
            assert time.monotonic() - started < 3.0
        keys.revoke(tenant_id, key_id)
        clock.forward(2)
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(key.secret)
    finally:
        await database.close()


async def test_a_busy_event_loop_does_not_stretch_the_second(authenticator, keys, clock, new_caller) -> None:
    """Without any poll in the meantime, a use after the second asks by itself."""
    tenant_id = new_caller().tenant_id
    key_id, key = keys.add(tenant_id)
    await authenticator.check()
    await authenticator.authenticate(key.secret)
    keys.revoke(tenant_id, key_id)
    clock.forward(3600)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(key.secret)
