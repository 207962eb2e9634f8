"""Administration over HTTP: who may make what, what is shown, what another tenant sees, the first key."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from slipway.base.callers import ROLE_SCOPES, Role, Scope
from slipway.base.errors import Unauthenticated
from slipway.runtime.authentication.authenticator import build_authenticator
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedPostgres
from slipway.services.identity.bootstrap import admin_key_new, bootstrap
from tests.services.identity_platform import IdentityPlatform, identity_platform
from tests.unit.runtime.authentication.conftest import StillClock

pytestmark = pytest.mark.anyio
KINDS = {
    "keys": {"name": "k"},
    "users": {"email": "Ann@Example.com"},
    "clients": {"name": "c", "redirect_uris": ["http://127.0.0.1:9/cb"]},
}


@pytest.fixture
async def identity(postgres, database) -> AsyncIterator[IdentityPlatform]:
    async with identity_platform(postgres.app_url, database) as platform:
        yield platform


def key_of(made: dict) -> dict[str, str]:
    return {"authorization": f"Bearer {made['secret']}"}


@pytest.mark.requirement("SEC-03", "R")
async def test_a_tenant_comes_to_life(identity: IdentityPlatform) -> None:
    admin = identity.credential(identity.tenant(), Role.PLATFORM_ADMIN)
    made = await identity.client.post("/v1/admin/tenants", headers=admin, json={"name": "Acme"})
    assert made.status_code == 201
    tenant_id = made.json()["id"]
    path = f"/v1/admin/tenants/{tenant_id}/keys"
    answer = await identity.client.post(path, headers=admin, json={"name": "first", "role": "tenant_admin"})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    caller = await identity.caller(answer.json()["secret"])
    assert (caller.tenant_id, caller.role, caller.scopes) == (
        tenant_id,
        Role.TENANT_ADMIN,
        ROLE_SCOPES[Role.TENANT_ADMIN],
    )
    own = key_of(answer.json())
    member = await identity.client.post("/v1/admin/keys", headers=own, json={"name": "m", "role": "member"})
    assert (await identity.caller(member.json()["secret"])).tenant_id == tenant_id
    assert (await identity.client.get("/v1/admin/tenants", headers=own)).status_code == 403
    assert (await identity.client.get("/v1/admin/keys", headers=key_of(member.json()))).status_code == 403
    listed = (await identity.client.get("/v1/admin/keys", headers=own)).json()
    assert [item["name"] for item in listed["items"]] == ["m", "first"]
    assert (await identity.client.get(f"/v1/admin/tenants/{tenant_id}", headers=admin)).json()["name"] == "Acme"
    absent = await identity.client.post("/v1/admin/tenants/ten_none/keys", headers=admin, json={"name": "x"})
    assert absent.status_code == 404


async def test_external_ids_and_addresses_are_taken_once(identity: IdentityPlatform) -> None:
    first, second = identity.tenant(), identity.tenant()
    admin = identity.credential(first, Role.PLATFORM_ADMIN)
    body = {"name": "A", "external_id": f"ext-{first}"}
    assert (await identity.client.post("/v1/admin/tenants", headers=admin, json=body)).status_code == 201
    assert (await identity.client.post("/v1/admin/tenants", headers=admin, json=body)).status_code == 409
    for tenant_id, address, status in (
        (first, "ann@example.com", 201),
        (first, "ANN@example.com", 409),
        (second, "ann@example.com", 201),
    ):
        headers = identity.credential(tenant_id, Role.TENANT_ADMIN)
        answer = await identity.client.post("/v1/admin/users", headers=headers, json={"email": address})
        assert answer.status_code == status, answer.text
    users = (await identity.client.get("/v1/admin/users", headers=admin)).json()["items"]
    assert [user["email"] for user in users] == ["ann@example.com"]
    assert (await identity.client.delete(f"/v1/admin/users/{users[0]['id']}", headers=admin)).status_code == 204
    again = await identity.client.post("/v1/admin/users", headers=admin, json={"email": "ann@example.com"})
    assert again.status_code == 201


@pytest.mark.requirement("SEC-03", "R")
@pytest.mark.parametrize("kind", KINDS)
async def test_another_tenants_object_is_as_absent_as_none(identity: IdentityPlatform, kind: str) -> None:
    owner = identity.credential(identity.tenant(), Role.TENANT_ADMIN)
    stranger = identity.credential(identity.tenant(), Role.TENANT_ADMIN)
    made = (await identity.client.post(f"/v1/admin/{kind}", headers=owner, json=KINDS[kind])).json()
    absent = made["id"][:-4] + "zzzz"
    for method in ("GET", "DELETE"):
        answers = [
            await identity.client.request(method, f"/v1/admin/{kind}/{item}", headers=stranger)
            for item in (made["id"], absent)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert (await identity.client.get(f"/v1/admin/{kind}", headers=stranger)).text.count(made["id"]) == 0
    assert (await identity.client.get(f"/v1/admin/{kind}/{made['id']}", headers=owner)).status_code == 200
    assert (await identity.client.delete(f"/v1/admin/{kind}/{made['id']}", headers=owner)).status_code == 204


@pytest.mark.requirement("SEC-03", "R")
async def test_nobody_hands_on_more_than_they_have(identity: IdentityPlatform) -> None:
    tenant_id = identity.tenant()
    tenant_admin = identity.credential(tenant_id, Role.TENANT_ADMIN)
    narrow = identity.credential(tenant_id, Role.TENANT_ADMIN, {Scope.KEYS_ADMIN, Scope.CHAT_USE})
    users_only = identity.credential(tenant_id, Role.TENANT_ADMIN, {Scope.USERS_ADMIN})
    service = identity.credential(tenant_id, Role.SERVICE, {Scope.KEYS_ADMIN, Scope.CHAT_USE})
    cases = [
        ("keys", tenant_admin, {"name": "x", "role": "platform_admin"}, 403),
        ("clients", tenant_admin, {"name": "x", "role": "platform_admin"}, 403),
        ("users", tenant_admin, {"email": "p@example.com", "role": "platform_admin"}, 403),
        ("keys", tenant_admin, {"name": "x", "scopes": ["admin:tenants"], "role": "tenant_admin"}, 400),
        ("keys", narrow, {"name": "x", "role": "member", "scopes": ["search:use"]}, 403),
        ("keys", narrow, {"name": "x", "role": "member", "scopes": []}, 400),
        ("clients", narrow, {"name": "x", "role": "member", "scopes": ["search:use"]}, 403),
        ("users", users_only, {"email": "t@example.com", "role": "tenant_admin"}, 403),
        ("users", users_only, {"email": "m@example.com", "role": "member"}, 403),
        ("keys", service, {"name": "x", "role": "member"}, 403),
        ("keys", users_only, {"name": "x"}, 403),
    ]
    for kind, headers, body, status in cases:
        answer = await identity.client.post(f"/v1/admin/{kind}", headers=headers, json=body)
        assert answer.status_code == status, (kind, body, answer.text)
        assert "secret" not in answer.json()
    made = await identity.client.post("/v1/admin/keys", headers=narrow, json={"name": "n", "role": "member"})
    assert made.json()["scopes"] == ["chat:use"], "by default what both the role and the maker have"
    platform_key, _ = identity.keys.add(tenant_id, Role.PLATFORM_ADMIN)
    answer = await identity.client.delete(f"/v1/admin/keys/{platform_key}", headers=tenant_admin)
    assert answer.status_code == 403


async def test_a_key_can_be_revoked_and_expires(identity: IdentityPlatform) -> None:
    headers = identity.credential(identity.tenant(), Role.TENANT_ADMIN)
    made = (await identity.client.post("/v1/admin/keys", headers=headers, json={"name": "k"})).json()
    await identity.caller(made["secret"])
    path = f"/v1/admin/keys/{made['id']}"
    for _ in range(2):
        assert (await identity.client.delete(path, headers=headers)).status_code == 204
    await identity.forward(1)
    with pytest.raises(Unauthenticated):
        await identity.caller(made["secret"])
    assert (await identity.client.get(path, headers=headers)).json()["revoked_at"] is not None
    soon = (identity.clock.now() + timedelta(seconds=60)).isoformat()
    body = {"name": "k", "expires_at": soon}
    made = (await identity.client.post("/v1/admin/keys", headers=headers, json=body)).json()
    await identity.caller(made["secret"])
    await identity.forward(60)
    with pytest.raises(Unauthenticated, match="expired"):
        await identity.caller(made["secret"])
    for wrong in (soon, "2030-01-01T00:00:00"):
        body = {"name": "k", "expires_at": wrong}
        assert (await identity.client.post("/v1/admin/keys", headers=headers, json=body)).status_code == 400


@pytest.mark.parametrize(
    "uri",
    ["http://example.com/cb", "javascript:alert(1)", "https://a@b.example/", "https://b.example/#x", "https://", "cb",
     "https://b.example/';", "https://b.example/ x", "https://bé.example/"],
)  # fmt: skip
async def test_a_redirect_uri_must_be_safe(identity: IdentityPlatform, uri: str) -> None:
    headers = identity.credential(identity.tenant(), Role.TENANT_ADMIN)
    body = {"name": "c", "redirect_uris": [uri]}
    assert (await identity.client.post("/v1/admin/clients", headers=headers, json=body)).status_code == 400


async def test_lists_come_in_pages(identity: IdentityPlatform) -> None:
    headers = identity.credential(identity.tenant(), Role.TENANT_ADMIN)
    for number in range(4):
        await identity.client.post("/v1/admin/users", headers=headers, json={"email": f"u{number}@example.com"})
    seen, cursor = [], None
    for _ in range(4):
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await identity.client.get("/v1/admin/users", headers=headers, params=params)).json()
        seen += [user["email"][:2] for user in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["u3", "u2", "u1", "u0"]


@pytest.mark.requirement("SEC-03", "R")
async def test_both_headers_mean_the_same_on_every_route(identity: IdentityPlatform) -> None:
    admin = identity.credential(identity.tenant(), Role.PLATFORM_ADMIN)["authorization"].split()[1]
    for headers, status in (
        ({"authorization": f"Bearer {admin}"}, 200),
        ({"x-api-key": admin}, 200),
        ({"authorization": f"bearer {admin}", "x-api-key": admin}, 200),
        ({"authorization": f"Basic {admin}"}, 401),
        ({"authorization": f"Bearer {admin}", "x-api-key": admin[:-1] + "_"}, 401),
        ({"x-api-key": admin[:-1]}, 401),
        ({}, 401),
    ):
        for kind in ("tenants", "keys", "users", "clients"):
            answer = await identity.client.get(f"/v1/admin/{kind}", headers=headers)
            assert answer.status_code == status, (kind, headers)


async def test_secrets_are_shown_once_stored_nowhere_and_never_logged(
    identity: IdentityPlatform, caplog: pytest.LogCaptureFixture, database: Database
) -> None:
    caplog.set_level(logging.DEBUG)
    tenant_id = identity.tenant()
    headers = identity.credential(tenant_id, Role.TENANT_ADMIN)
    password = "correct horse battery"
    key = (await identity.client.post("/v1/admin/keys", headers=headers, json={"name": "k"})).json()
    client = (await identity.client.post("/v1/admin/clients", headers=headers, json={"name": "c"})).json()
    await identity.client.post(
        "/v1/admin/users", headers=headers, json={"email": "a@example.com", "password": password}
    )
    short = await identity.client.post(
        "/v1/admin/users", headers=headers, json={"email": "b@example.com", "password": "hunter2"}
    )
    assert short.status_code == 400
    assert "hunter2" not in short.text
    secrets = [key["secret"], client["secret"], password, "hunter2"]
    texts = [caplog.text]
    for path in ("keys", f"keys/{key['id']}", "clients", f"clients/{client['id']}", "users"):
        texts.append((await identity.client.get(f"/v1/admin/{path}", headers=headers)).text)
    async with database.platform_transaction() as connection:
        for table in ("api_key", "oauth_client", "user_account"):
            rows = await (
                await connection.execute(f"SELECT * FROM {table} WHERE tenant_id = %s", (tenant_id,))
            ).fetchall()
            assert rows
            texts.append(str(rows))
    for secret in secrets:
        for text in texts:
            assert secret not in text
            assert secret.rpartition("-")[2] not in text


async def test_ten_processes_make_one_first_key_and_a_lost_one_is_replaced(tmp_path) -> None:
    server = EmbeddedPostgres(tmp_path)
    addresses = await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(migrate, addresses.owner_url)
        databases = [await Database.open(addresses.app_url, max_connections=2) for _ in range(10)]
        try:
            made = [item for item in await asyncio.gather(*map(bootstrap, databases)) if item is not None]
            assert len(made) == 1
            other = await admin_key_new(databases[0])
            assert other.tenant_id == made[0].tenant_id
            assert other.key_secret != made[0].key_secret
            authenticator = build_authenticator(databases[0], InternalTokens([b"s" * 32]), clock=StillClock())
            for item in (made[0], other):
                caller = await authenticator.authenticate(item.key_secret)
                assert (caller.tenant_id, caller.role) == (item.tenant_id, Role.PLATFORM_ADMIN)
                assert caller.scopes == set(Scope)
                assert item.key_secret not in repr(item)
        finally:
            for database in databases:
                await database.close()
    finally:
        await asyncio.to_thread(server.stop)
