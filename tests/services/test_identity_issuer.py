"""The built-in issuer with an HTTP client: the code flow with PKCE, refresh, client credentials, rotation, abuse."""

import asyncio
import base64
import hashlib
import html
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import psycopg
import pytest
from fastapi import FastAPI

from slipway.base.callers import ROLE_SCOPES, Role, Scope
from slipway.base.errors import Unauthenticated
from slipway.services.identity.adapter_postgres_grants import PostgresGrants, PostgresSigningKeys
from slipway.services.identity.routes_issuer import routes_issuer
from slipway.services.identity.signing import SigningKeys
from tests.platforms import Platform
from tests.services.identity_platform import SECRET, URL, IdentityPlatform, identity_platform

pytestmark = pytest.mark.anyio
REDIRECT = "http://127.0.0.1:5173/callback?app=1"
PASSWORD = "correct horse battery"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
async def identity(postgres, database) -> AsyncIterator[IdentityPlatform]:
    async with identity_platform(postgres.app_url, database) as platform:
        yield platform


@dataclass
class Application:
    """A registered public client with one user."""

    identity: IdentityPlatform
    tenant_id: str
    admin: dict[str, str]
    client_id: str
    user_id: str

    @property
    def http(self) -> httpx.AsyncClient:
        return self.identity.client

    def query(self, **change: str | None) -> dict[str, str]:
        values = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "scope": "openid chat:use search:use",
            "state": "st&=te",
            "nonce": "n-1",
        } | change
        return {name: value for name, value in values.items() if value is not None}

    async def form(self, **change: str | None) -> str:
        page = await self.http.get("/oauth2/authorize", params=self.query(**change))
        assert page.status_code == 200, page.text
        return html.unescape(re.search(r'name="form" value="([^"]+)"', page.text)[1])

    async def submit(self, form: str, email: str = "Ann@example.com", password: str = PASSWORD) -> httpx.Response:
        return await self.http.post("/oauth2/authorize", data={"form": form, "email": email, "password": password})

    async def code(self, **change: str | None) -> str:
        answer = await self.submit(await self.form(**change))
        assert answer.status_code == 303, answer.text
        return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]

    async def exchange(self, code: str, **change: str | None) -> httpx.Response:
        values = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": self.client_id,
            "code_verifier": VERIFIER,
        } | change
        return await self.http.post("/oauth2/token", data={name: item for name, item in values.items() if item})

    async def refresh(self, token: str, **change: str) -> httpx.Response:
        values = {"grant_type": "refresh_token", "refresh_token": token, "client_id": self.client_id, **change}
        return await self.http.post("/oauth2/token", data=values)


@pytest.fixture
async def application(identity: IdentityPlatform) -> Application:
    tenant_id = identity.tenant()
    admin = identity.credential(tenant_id, Role.TENANT_ADMIN)
    client = await identity.client.post(
        "/v1/admin/clients", headers=admin, json={"name": "<Web>", "confidential": False, "redirect_uris": [REDIRECT]}
    )
    user = await identity.client.post(
        "/v1/admin/users", headers=admin, json={"email": "ann@example.com", "password": PASSWORD}
    )
    assert (client.status_code, client.json()["secret"], user.status_code) == (201, None, 201)
    return Application(identity, tenant_id, admin, client.json()["id"], user.json()["id"])


async def test_the_logins_cookie_comes_back_where_the_platforms_address_has_a_path(application: Application) -> None:
    app = FastAPI()
    app.state.authenticator = application.identity.authenticator
    app.include_router(routes_issuer(application.identity.issuer, "https://api.example.com/live").router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://api.example.com") as client:
        page = await client.get("/oauth2/authorize", params=application.query())
    assert "Path=/live/oauth2;" in page.headers["set-cookie"]
    assert "Secure" in page.headers["set-cookie"]
    assert 'action="https://api.example.com/live/oauth2/authorize"' in page.text
    assert (
        "Path=/oauth2;"
        in (await application.http.get("/oauth2/authorize", params=application.query())).headers["set-cookie"]
    )


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.requirement("SEC-01", "R")
@pytest.mark.requirement("SEC-02", "R")
async def test_a_person_signs_in_and_works_in_their_tenant(application: Application) -> None:
    configuration = (await application.http.get("/.well-known/openid-configuration")).json()
    assert configuration["issuer"] == URL
    assert configuration["code_challenge_methods_supported"] == ["S256"]
    page = await application.http.get(configuration["authorization_endpoint"], params=application.query())
    assert "&lt;Web&gt;" in page.text and "<Web>" not in page.text
    assert "script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:5173;" in policy
    cookie = page.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    form = html.unescape(re.search(r'name="form" value="([^"]+)"', page.text)[1])
    answer = await application.submit(form)
    location = urlsplit(answer.headers["location"])
    values = parse_qs(location.query)
    assert answer.headers["location"].startswith(REDIRECT + "&")
    assert (values["state"], values["iss"]) == (["st&=te"], [URL])
    tokens = await application.exchange(values["code"][0])
    assert (tokens.status_code, tokens.headers["cache-control"]) == (200, "no-store")
    body = tokens.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "openid chat:use search:use")
    keys = (await application.http.get(configuration["jwks_uri"])).json()
    assert set(keys["keys"][0]) == {"kty", "crv", "x", "y", "kid", "use", "alg"}, "no private part"
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(body["access_token"])["kid"]]
    access = jwt.decode(body["access_token"], key, algorithms=["ES256"], audience=URL, issuer=URL)
    assert (access["sub"], access["tenant"], access["merchant_id"], access["role"]) == (
        application.user_id,
        application.tenant_id,
        application.tenant_id,
        "member",
    )
    identity_claims = jwt.decode(
        body["id_token"], key, algorithms=["ES256"], audience=application.client_id, issuer=URL
    )
    assert (identity_claims["nonce"], identity_claims["email"]) == ("n-1", "ann@example.com")
    caller = await application.identity.caller(body["access_token"])
    assert (caller.tenant_id, caller.subject, caller.role) == (application.tenant_id, application.user_id, Role.MEMBER)
    assert caller.scopes == {Scope.CHAT_USE, Scope.SEARCH_USE}
    assert caller.key_id is None
    with pytest.raises(Unauthenticated):
        await application.identity.caller(body["id_token"])
    with pytest.raises(Unauthenticated):
        await application.identity.caller(body["refresh_token"])
    await application.identity.forward(631)  # ten minutes, and half a one for clocks that differ
    with pytest.raises(Unauthenticated):
        await application.identity.caller(body["access_token"])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"scope": "admin:tenants"}, "invalid_scope"),
        ({"scope": "made:up"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"request": "x"}, "request_not_supported"),
    ],
)
async def test_a_wrong_request_goes_back_to_the_application(application: Application, change, error) -> None:
    answer = await application.http.get("/oauth2/authorize", params=application.query(**change))
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(REDIRECT + "&")
    values = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (values["error"], values["state"]) == ([error], ["st&=te"])


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "cli_none"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": REDIRECT + "x"},
        {"redirect_uri": "http://127.0.0.1:5173/callback"},
        {"redirect_uri": "http://127.0.0.1:5174/callback?app=1"},
        {"redirect_uri": "https://evil.example/"},
    ],
    ids=str,
)
async def test_nothing_is_sent_to_an_address_that_is_not_registered(application: Application, change) -> None:
    answer = await application.http.get("/oauth2/authorize", params=application.query(**change))
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    twice = str(httpx.QueryParams(application.query())) + "&redirect_uri=https://evil.example/"
    answer = await application.http.get(f"/oauth2/authorize?{twice}")
    assert (answer.status_code, "location" in answer.headers) == (400, False)


async def test_pkce_redirect_and_client_are_held_at_the_exchange(application: Application) -> None:
    confidential = await application.http.post(
        "/v1/admin/clients", headers=application.admin, json={"name": "other", "redirect_uris": [REDIRECT]}
    )
    other = confidential.json()
    for change in (
        {"code_verifier": None},
        {"code_verifier": "w" * 43},
        {"code_verifier": CHALLENGE},
        {"code_verifier": "v" * 42},
        {"redirect_uri": None},
        {"redirect_uri": REDIRECT + "&x=1"},
        {"client_id": other["id"], "client_secret": other["secret"]},
        {"code": "made-up"},
    ):
        answer = await application.exchange(**{"code": await application.code(), **change})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), change
    for change in (
        {"client_id": other["id"]},
        {"client_id": other["id"], "client_secret": "cs-slip-wrong"},
        {"client_id": None},
        {"client_secret": "made-up"},
        {"client_id": "cli_none"},
    ):
        answer = await application.exchange(**{"code": await application.code(), **change})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), change
        assert answer.headers["www-authenticate"].startswith("Basic")


async def test_a_code_is_good_once_and_for_a_minute(application: Application) -> None:
    late = await application.code()
    await application.identity.forward(60)
    assert (await application.exchange(late)).json()["error"] == "invalid_grant"
    code = await application.code()
    tokens = (await application.exchange(code)).json()
    assert (await application.exchange(code)).json()["error"] == "invalid_grant"
    refused = await application.refresh(tokens["refresh_token"])
    assert refused.json()["error"] == "invalid_grant", "a replayed code ends what came of it"
    code = await application.code()
    answers = await asyncio.gather(*(application.exchange(code) for _ in range(5)))
    assert sum(answer.status_code == 200 for answer in answers) <= 1
    for answer in answers:
        if answer.status_code == 200:
            assert (await application.refresh(answer.json()["refresh_token"])).status_code == 400


async def test_refresh_tokens_are_replaced_and_their_reuse_ends_the_family(application: Application) -> None:
    first = (await application.exchange(await application.code())).json()["refresh_token"]
    answer = await application.refresh(first)
    second = answer.json()["refresh_token"]
    assert (await application.identity.caller(answer.json()["access_token"])).subject == application.user_id
    narrow = await application.refresh(second, scope="chat:use")
    third = narrow.json()["refresh_token"]
    assert narrow.json()["scope"] == "chat:use"
    assert (await application.refresh(third, scope="usage:read")).json()["error"] == "invalid_scope"
    assert (await application.refresh(third)).status_code == 200, "a refusal leaves the token as it was"
    other = (await application.exchange(await application.code())).json()["refresh_token"]
    assert (await application.refresh(first)).json()["error"] == "invalid_grant"
    live = (await application.exchange(await application.code())).json()["refresh_token"]
    fourth = await application.refresh(live)
    assert (await application.refresh(live)).status_code == 400
    assert (await application.refresh(fourth.json()["refresh_token"])).status_code == 400, "the family is over"
    other = (await application.refresh(other)).json()["refresh_token"]
    assert other, "another sign-in is another family"
    answers = await asyncio.gather(*(application.refresh(other) for _ in range(5)))
    assert sum(answer.status_code == 200 for answer in answers) == 1
    winner = next(answer for answer in answers if answer.status_code == 200).json()["refresh_token"]
    assert (await application.refresh(winner)).status_code == 400


async def test_a_refresh_token_ends_by_time_revocation_and_with_its_user(application: Application) -> None:
    token = (await application.exchange(await application.code())).json()["refresh_token"]
    for data in (
        {"token": token, "client_id": application.client_id},
        {"token": "x", "client_id": application.client_id},
    ):
        assert (await application.http.post("/oauth2/revoke", data=data)).status_code == 200
    assert (await application.refresh(token)).status_code == 400
    token = (await application.exchange(await application.code())).json()["refresh_token"]
    await application.identity.forward(30 * 86400)
    assert (await application.refresh(token)).status_code == 400
    answer = (await application.exchange(await application.code())).json()
    await application.identity.caller(answer["access_token"])
    deleted = await application.http.delete(f"/v1/admin/users/{application.user_id}", headers=application.admin)
    assert deleted.status_code == 204
    assert (await application.refresh(answer["refresh_token"])).status_code == 400
    await application.identity.forward(1)
    with pytest.raises(Unauthenticated):
        await application.identity.caller(answer["access_token"])
    assert (await application.submit(await application.form())).status_code == 401


@pytest.mark.requirement("SEC-01", "R")
async def test_a_program_signs_in_for_itself(application: Application) -> None:
    body = {"name": "nightly", "role": "service", "scopes": ["documents:read", "search:use"]}
    made = (await application.http.post("/v1/admin/clients", headers=application.admin, json=body)).json()
    form = {"grant_type": "client_credentials"}
    basic = await application.http.post("/oauth2/token", data=form, auth=(made["id"], made["secret"]))
    posted = await application.http.post(
        "/oauth2/token",
        data={**form, "client_id": made["id"], "client_secret": made["secret"], "scope": "search:use"},
    )
    assert set(basic.json()) == {"access_token", "token_type", "expires_in", "scope"}
    caller = await application.identity.caller(basic.json()["access_token"])
    assert (caller.tenant_id, caller.subject, caller.role) == (application.tenant_id, made["id"], Role.SERVICE)
    assert caller.scopes == {Scope.DOCUMENTS_READ, Scope.SEARCH_USE}
    assert (await application.identity.caller(posted.json()["access_token"])).scopes == {Scope.SEARCH_USE}
    for data, auth, error in (
        (form, (made["id"], "wrong"), "invalid_client"),
        (form, ("cli_none", made["secret"]), "invalid_client"),
        ({**form, "scope": "chat:use"}, (made["id"], made["secret"]), "invalid_scope"),
        ({**form, "client_id": application.client_id}, None, "unauthorized_client"),
        ({**form, "client_secret": made["secret"]}, (made["id"], made["secret"]), "invalid_request"),
        ({"grant_type": "password", "username": "a", "password": "b"}, (made["id"], made["secret"]),
         "unsupported_grant_type"),
        ({}, (made["id"], made["secret"]), "invalid_request"),
    ):  # fmt: skip
        answer = await application.http.post("/oauth2/token", data=data or {"x": "y"}, auth=auth)
        assert answer.json()["error"] == error
    as_json = await application.http.post("/oauth2/token", json=form, auth=(made["id"], made["secret"]))
    assert (as_json.status_code, as_json.json()["error"]) == (400, "invalid_request")
    await application.http.delete(f"/v1/admin/clients/{made['id']}", headers=application.admin)
    await application.identity.forward(1)
    with pytest.raises(Unauthenticated):
        await application.identity.caller(basic.json()["access_token"])
    assert (
        await application.http.post("/oauth2/token", data=form, auth=(made["id"], made["secret"]))
    ).status_code == 401


@pytest.mark.requirement("SEC-02", "R")
async def test_a_role_that_was_taken_away_is_gone_from_tokens_made_before(application: Application) -> None:
    token = (await application.exchange(await application.code(scope=None))).json()["access_token"]
    assert (await application.identity.caller(token)).scopes == ROLE_SCOPES[Role.MEMBER]
    with psycopg.connect(application.identity.app_url) as connection:
        connection.execute("SELECT set_config('slipway.tenant', %s, true)", (application.tenant_id,))
        connection.execute("SET LOCAL ROLE slipway_app")
        connection.execute("UPDATE oauth_client SET scopes = '{chat:use}' WHERE id = %s", (application.client_id,))
        connection.execute("UPDATE user_account SET role = 'tenant_admin' WHERE id = %s", (application.user_id,))
    await application.identity.forward(1)
    caller = await application.identity.caller(token)
    assert (caller.role, caller.scopes) == (Role.TENANT_ADMIN, ROLE_SCOPES[Role.MEMBER]), "the token's scopes stay"
    fresh = (await application.exchange(await application.code(scope="openid"))).json()["access_token"]
    assert (await application.identity.caller(fresh)).scopes == {Scope.CHAT_USE}


async def test_the_login_form_belongs_to_one_browser_and_ten_minutes(application: Application) -> None:
    form = await application.form()
    answer = await application.http.post(
        "/oauth2/authorize",
        data={"form": form[:-4] + "AAAA", "email": "ann@example.com", "password": PASSWORD},
    )
    assert answer.status_code == 400
    cookies = dict(application.http.cookies)
    application.http.cookies.clear()
    assert (await application.submit(form)).status_code == 400
    application.http.cookies.set("slipway_login", "x" * 43)
    assert (await application.submit(form)).status_code == 400
    application.http.cookies.clear()
    for name, value in cookies.items():
        application.http.cookies.set(name, value)
    await application.identity.forward(601)
    assert (await application.submit(form)).status_code == 400
    assert (await application.submit(await application.form())).status_code == 303


async def test_wrong_passwords_are_slowed_down_and_tell_nothing(application: Application) -> None:
    form = await application.form()
    pages = []
    for email in ("ann@example.com", "nobody@example.com"):
        statuses = [(await application.submit(form, email, "wrong password")).status_code for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        refused = await application.submit(form, email, PASSWORD)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        pages.append(re.sub(r"value=\"[^\"]*\"", "", refused.text))
    assert pages[0] == pages[1], "whether there is such a user is not told"
    await application.identity.forward(3)
    assert (await application.submit(form, "ann@example.com", "wrong password")).status_code == 401
    await application.identity.forward(1)
    assert (await application.submit(form)).status_code == 429, "the wait has doubled"
    await application.identity.forward(301)
    assert (await application.submit(form)).status_code == 303
    form = await application.form()
    assert (await application.submit(form, password="wrong password")).status_code == 401
    assert (await application.submit(form)).status_code == 303, "success has cleared the count"
    answers = await asyncio.gather(*(application.submit(form, password=f"guess {n}") for n in range(12)))
    assert sum(answer.status_code == 401 for answer in answers) <= 5, "tries at one moment are all counted"


async def test_what_ended_a_day_ago_is_deleted(application: Application, database) -> None:
    form = await application.form()
    await application.submit(form, "nobody@example.com")
    tokens = (await application.exchange(await application.code())).json()

    async def rows() -> list[int]:
        async with database.platform_transaction() as connection:
            counts = [
                await connection.execute(
                    f"SELECT count(*) AS rows FROM {table} WHERE tenant_id = %s", (application.tenant_id,)
                )
                for table in ("authorization_code", "refresh_token", "login_attempt")
            ]
            return [(await count.fetchone())["rows"] for count in counts]

    grants = PostgresGrants(database)
    await grants.purge(application.identity.clock.now())
    assert await rows() == [1, 1, 1]
    await application.identity.forward(86400 + 61)
    await grants.purge(application.identity.clock.now())
    assert await rows() == [0, 1, 0]
    assert (await application.refresh(tokens["refresh_token"])).status_code == 200
    await application.identity.forward(30 * 86400)
    await grants.purge(application.identity.clock.now())
    assert await rows() == [0, 0, 0]


async def test_users_of_another_tenant_cannot_sign_in_to_this_tenants_application(application: Application) -> None:
    other = application.identity.credential(application.identity.tenant(), Role.TENANT_ADMIN)
    body = {"email": "eve@example.com", "password": PASSWORD}
    assert (await application.http.post("/v1/admin/users", headers=other, json=body)).status_code == 201
    assert (await application.submit(await application.form(), "eve@example.com")).status_code == 401


async def test_signing_keys_are_published_before_use_and_kept_while_tokens_live(
    application: Application, database
) -> None:
    identity = application.identity
    operator = identity.credential(identity.tenant(), Role.PLATFORM_ADMIN)

    async def kids() -> list[str]:
        return [key["kid"] for key in (await application.http.get("/.well-known/jwks.json")).json()["keys"]]

    async def token() -> tuple[str, str]:
        made = (await application.exchange(await application.code())).json()["access_token"]
        return made, jwt.get_unverified_header(made)["kid"]

    _, first = await token()
    made = await application.http.post("/v1/admin/signing-keys", headers=operator)
    assert made.status_code == 201
    second = made.json()["id"]
    assert (await application.http.post("/v1/admin/signing-keys", headers=operator)).status_code == 409
    assert await kids() == [second, first]
    assert (await token())[1] == first
    await identity.forward(595)
    before, used = await token()
    assert used == first
    await identity.forward(40)  # a process looks for its key every 30 s
    after, used = await token()
    assert used == second
    for item in (before, after):
        await identity.caller(item)
    assert await identity.signing.rotate_when_due() is None
    await identity.forward(29.5 * 86400)
    third = await identity.signing.rotate_when_due()
    assert third is not None and third.active_from > identity.clock.now()
    assert await kids() == [third.id, second], "the first key is of no use any more"
    with psycopg.connect(identity.app_url) as connection:
        connection.execute("SET LOCAL ROLE slipway_platform")
        (sealed,) = connection.execute("SELECT private_sealed FROM signing_key WHERE id = %s", (second,)).fetchone()
    assert b"\x06\x08*\x86H\xce=\x03\x01\x07" not in bytes(sealed), "the curve's name shows in an unsealed key"

    renewed = SigningKeys(PostgresSigningKeys(database), [b"n" * 32, SECRET], identity.clock)
    await renewed.start()
    assert len(await kids()) == 2, "the older secret still opens them"
    lost = SigningKeys(PostgresSigningKeys(database), [b"x" * 32], identity.clock)
    await asyncio.gather(*(lost.start() for _ in range(3)))
    assert len(await kids()) == 3, "three processes at once make one"
    assert (await lost.sign({"a": 1}, "JWT")).count(".") == 2


@pytest.mark.requirement("SEC-01", "R")
@pytest.mark.requirement("SEC-02", "R")
async def test_a_running_platform_takes_the_tokens_of_its_own_issuer(platform: Platform) -> None:
    async with httpx.AsyncClient(base_url=platform.url, timeout=30) as http:
        body = {"name": "nightly", "scopes": ["search:use", "models:use"]}
        made = (await http.post("/v1/admin/clients", headers=platform.headers(), json=body)).json()
        configuration = (await http.get("/.well-known/openid-configuration")).json()
        answer = await http.post(
            configuration["token_endpoint"],
            data={"grant_type": "client_credentials"},
            auth=(made["id"], made["secret"]),
        )
        token = answer.json()["access_token"]
        assert claims_of(token)["iss"] == configuration["issuer"] == platform.url
        for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
            assert (await http.get("/v1/models", headers=headers)).status_code == 200
            assert (await http.get("/v1/documents", headers=headers)).status_code == 403
        await http.delete(f"/v1/admin/clients/{made['id']}", headers=platform.headers())
        await asyncio.sleep(1)
        for path in ("/v1/models", "/v1/documents"):
            assert (await http.get(path, headers={"x-api-key": token})).status_code == 401
