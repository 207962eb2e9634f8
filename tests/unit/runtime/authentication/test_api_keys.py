"""API keys: form, cache, expiry, revocation."""

import asyncio
import re
from datetime import timedelta

import pytest

from slipway.base.callers import ROLE_SCOPES, Role, Scope
from slipway.base.errors import Unauthenticated
from slipway.runtime.authentication.api_keys import api_key_make, api_key_prefix, credential_hash
from slipway.runtime.authentication.authenticator import build_authenticator
from slipway.runtime.database import Database

pytestmark = pytest.mark.anyio


def test_a_key_has_the_form_that_scanners_look_for_and_keeps_its_secret() -> None:
    key = api_key_make()
    assert re.fullmatch(r"sk-slip-[0-9a-z]{12}-[0-9A-Za-z]{43}", key.secret)
    assert api_key_prefix(key.secret) == key.prefix
    assert key.hash == credential_hash(key.secret)
    assert key.secret not in repr(key)
    assert api_key_make().secret != key.secret


@pytest.mark.parametrize("text", ["", "sk-slip-", "sk-other-000000000000-" + "a" * 43, "x" * 64, "sk-slip-aé"])
async def test_what_is_no_credential_is_refused(authenticator, text: str) -> None:
    assert api_key_prefix(text) is None
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(text)


async def test_a_key_tells_tenant_role_and_scopes(authenticator, keys, new_caller) -> None:
    tenant_id = new_caller().tenant_id
    key_id, key = keys.add(tenant_id, Role.SERVICE, frozenset({Scope.CHAT_USE, Scope.TENANTS_ADMIN}))
    await authenticator.check()
    caller = await authenticator.authenticate(key.secret)
    assert (caller.tenant_id, caller.subject, caller.key_id, caller.role) == (tenant_id, key_id, key_id, Role.SERVICE)
    assert caller.scopes == {Scope.CHAT_USE}, "a scope beyond the role counts for nothing"
    assert await authenticator.authenticate(key.secret) is caller


async def test_a_key_that_only_begins_like_another_is_refused(authenticator, keys, new_caller) -> None:
    _, key = keys.add(new_caller().tenant_id)
    await authenticator.authenticate(key.secret)
    other = key.secret[:-1] + ("a" if key.secret[-1] != "a" else "b")
    for text in (other, key.secret[:-1], key.secret + "a", key.secret + "\n", key.secret.swapcase()):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(text)


async def test_an_unknown_key_is_asked_for_once_a_second(authenticator, keys, clock, new_caller, monkeypatch) -> None:
    asked = 0
    stored = authenticator._stored
    real = stored.key

    async def counted(prefix: str, digest: bytes):
        nonlocal asked
        asked += 1
        return await real(prefix, digest)

    monkeypatch.setattr(stored, "key", counted)
    secret = api_key_make().secret
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(secret)
    assert asked == 1
    clock.forward(1.0)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(secret)
    assert asked == 2
    _, key = keys.add(new_caller().tenant_id)
    callers = await asyncio.gather(*(authenticator.authenticate(key.secret) for _ in range(20)))
    assert asked == 3, "twenty first uses at once are one question"
    assert len(set(callers)) == 1


async def test_expiry_is_checked_at_each_use(authenticator, keys, clock, new_caller) -> None:
    _, key = keys.add(new_caller().tenant_id, expires_at=clock.now() + timedelta(seconds=5))
    await authenticator.authenticate(key.secret)
    clock.forward(4.999)
    await authenticator.authenticate(key.secret)
    clock.forward(0.001)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="expired"):
            await authenticator.authenticate(key.secret)


async def test_a_key_that_had_expired_before_its_first_use_is_refused(authenticator, keys, clock, new_caller) -> None:
    _, key = keys.add(new_caller().tenant_id, expires_at=clock.now() - timedelta(seconds=1))
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="expired"):
            await authenticator.authenticate(key.secret)


async def test_a_revocation_ends_a_cached_key_within_a_second_and_others_stay(
    authenticator, keys, clock, new_caller
) -> None:
    tenant_id = new_caller().tenant_id
    key_id, key = keys.add(tenant_id)
    _, other = keys.add(tenant_id)
    await authenticator.check()
    caller = await authenticator.authenticate(other.secret)
    await authenticator.authenticate(key.secret)
    keys.revoke(tenant_id, key_id)
    clock.forward(0.95)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(key.secret)
    assert await authenticator.authenticate(other.secret) is caller


async def test_a_change_that_commits_after_a_later_one_was_seen_is_not_missed(
    authenticator, keys, clock, database: Database, new_caller
) -> None:
    caller = new_caller()
    key_id, key = keys.add(caller.tenant_id)
    other_id, _ = keys.add(caller.tenant_id)
    await authenticator.check()
    await authenticator.authenticate(key.secret)
    async with database.transaction(caller) as connection:
        await connection.execute("UPDATE api_key SET revoked_at = now() WHERE id = %s", (key_id,))
        keys.revoke(caller.tenant_id, other_id)
        for _ in range(2):
            clock.forward(1)
            await authenticator.authenticate(key.secret)
    clock.forward(1)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(key.secret)


async def test_two_processes_see_a_revocation_within_a_second_by_the_wall_clock(
    postgres, tokens, keys, new_caller
) -> None:
    from slipway.base.clock import SystemClock

    tenant_id = new_caller().tenant_id
    pools = [await Database.open(postgres.app_url, max_connections=2) for _ in range(2)]
    authenticators = [build_authenticator(pool, tokens, clock=SystemClock()) for pool in pools]
    runs = [asyncio.create_task(authenticator.run()) for authenticator in authenticators]
    try:
        for _ in range(3):
            key_id, key = keys.add(tenant_id)
            for authenticator in authenticators:
                await authenticator.authenticate(key.secret)
            await asyncio.to_thread(keys.revoke, tenant_id, key_id)
            await asyncio.sleep(1.0)
            for authenticator in authenticators:
                with pytest.raises(Unauthenticated):
                    await authenticator.authenticate(key.secret)
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        for pool in pools:
            await pool.close()


async def test_a_kept_internal_token_ends_with_its_expiry(authenticator, tokens, clock, new_caller) -> None:
    token = tokens.mint(new_caller(), {Scope.CHAT_USE}, actor="chat")
    await authenticator.authenticate(token)
    _, until = tokens.verify_until(token)
    clock.forward((until - clock.now()).total_seconds() - 1)
    await authenticator.authenticate(token)
    clock.forward(2)
    assert authenticator._acting[credential_hash(token)][1] < clock.now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "_keys", [b"x" * 32])  # what would be verified anew is
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(token)


async def test_an_internal_token_stands_for_its_caller(authenticator, tokens, new_caller) -> None:
    caller = new_caller(Scope.CHAT_USE)
    token = tokens.mint(caller, {Scope.CHAT_USE, Scope.USAGE_READ}, actor="chat")
    verified = await authenticator.authenticate(token)
    assert (verified.tenant_id, verified.subject, verified.actor) == (caller.tenant_id, caller.subject, "chat")
    assert verified.scopes == {Scope.CHAT_USE, Scope.USAGE_READ}
    assert await authenticator.authenticate(token) is verified
    head, body, signature = token.split(".")
    for bad in (f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.", f"{head}.{body}", "a.b.c"):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(bad)


def test_every_role_may_do_what_it_could_before() -> None:
    assert ROLE_SCOPES[Role.MEMBER] < ROLE_SCOPES[Role.SERVICE] < ROLE_SCOPES[Role.TENANT_ADMIN]
    assert ROLE_SCOPES[Role.TENANT_ADMIN] < ROLE_SCOPES[Role.PLATFORM_ADMIN]
