"""Tokens of a foreign issuer: what holds, and every known way to make one that must not."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from slipway.base.callers import ROLE_SCOPES, Caller, Role, Scope
from slipway.base.errors import Misconfigured, Unauthenticated, Unavailable
from slipway.runtime.authentication.authenticator import CredentialAuthenticator, build_authenticator
from slipway.runtime.authentication.issuers import IssuerConfig
from tests.unit.runtime.authentication.issuers import (
    ED,
    KEYS,
    P256,
    P384,
    RSA,
    SMALL_RSA,
    LocalIssuer,
    encoded,
    jwk,
    signed,
)

pytestmark = pytest.mark.anyio
AUDIENCE = "slipway-test"


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.stop()


@pytest.fixture
def tenant(postgres, new_caller) -> Caller:
    caller = new_caller()
    with psycopg.connect(postgres.app_url) as connection:
        connection.execute("SET LOCAL ROLE slipway_platform")
        connection.execute("UPDATE tenant SET external_id = id || '-ext' WHERE id = %s", (caller.tenant_id,))
    return caller


@pytest.fixture
def oidc(database, tokens, clock, issuer) -> CredentialAuthenticator:
    config = IssuerConfig(issuer.url, AUDIENCE, tenant_claim="merchant_id", roles_claim="groups")
    return build_authenticator(database, tokens, issuers=[config], clock=clock)


@pytest.fixture
def claims(issuer, clock, tenant) -> dict[str, Any]:
    now = int(clock.now().timestamp())
    return {
        "iss": issuer.url,
        "aud": AUDIENCE,
        "sub": "alice",
        "merchant_id": f"{tenant.tenant_id}-ext",
        "groups": ["member"],
        "iat": now,
        "exp": now + 600,
    }


async def refused(authenticator: CredentialAuthenticator, token: str) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(token)


@pytest.mark.requirement("SEC-02", "R")
@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (P256, "ES256", "ec"), (ED, "EdDSA", "ed")]
)
async def test_each_algorithm_holds_and_the_tenant_is_the_tokens(oidc, claims, tenant, key, algorithm, kid) -> None:
    caller = await oidc.authenticate(signed(claims, key, algorithm, kid=kid))
    assert caller.tenant_id == tenant.tenant_id
    assert caller.subject.endswith(":alice") and caller.subject.startswith("oidc_")
    assert (caller.role, caller.scopes) == (Role.MEMBER, ROLE_SCOPES[Role.MEMBER])


@pytest.mark.parametrize(
    ("groups", "role", "scopes"),
    [
        (["admin"], Role.TENANT_ADMIN, ROLE_SCOPES[Role.TENANT_ADMIN]),
        (["member", "admin", "others"], Role.TENANT_ADMIN, ROLE_SCOPES[Role.TENANT_ADMIN]),
        ("service", Role.SERVICE, ROLE_SCOPES[Role.SERVICE]),
        (["platform_admin"], Role.MEMBER, frozenset()),
        ([], Role.MEMBER, frozenset()),
        ([{"name": "admin"}, 7], Role.MEMBER, frozenset()),
        (None, Role.MEMBER, frozenset()),
    ],
)
async def test_groups_are_roles_but_never_the_platforms(oidc, claims, groups, role, scopes) -> None:
    caller = await oidc.authenticate(signed({**claims, "groups": groups}, kid="rsa"))
    assert (caller.role, caller.scopes) == (role, scopes)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("openid profile email", ROLE_SCOPES[Role.MEMBER]),
        ("openid chat:use", {Scope.CHAT_USE}),
        ("chat:use admin:keys", {Scope.CHAT_USE}),
        ("billing:read", frozenset()),
        (["search:use"], {Scope.SEARCH_USE}),
        ("", ROLE_SCOPES[Role.MEMBER]),
    ],
)
async def test_the_scope_claim_narrows(oidc, claims, scope, expected) -> None:
    assert (await oidc.authenticate(signed({**claims, "scope": scope}, kid="rsa"))).scopes == expected


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "another"},
        {"aud": ["a", "b"]},
        {"aud": None},
        {"aud": [AUDIENCE.upper()]},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("1e400")},
        {"exp": 1},
        {"merchant_id": None},
        {"merchant_id": "nobody"},
        {"merchant_id": ["a"]},
        {"merchant_id": "x\x00y"},
        {"merchant_id": "x" * 300},
        {"sub": None},
        {"sub": 5},
        {"sub": ""},
        {"scope": 5},
    ],
    ids=str,
)
async def test_wrong_claims_are_refused(oidc, claims, change) -> None:
    await refused(
        oidc, signed({name: value for name, value in (claims | change).items() if value is not None}, kid="rsa")
    )


async def test_times_have_half_a_minute_of_leeway_and_no_more(oidc, claims, clock) -> None:
    now = int(clock.now().timestamp())
    for change in ({"exp": now - 31}, {"nbf": now + 32}, {"iat": now + 32}, {"nbf": "x"}, {"iat": []}):
        await refused(oidc, signed({**claims, **change}, kid="rsa"))
    for change in ({"exp": now - 28}, {"nbf": now + 28}, {"iat": now + 28}):
        await oidc.authenticate(signed({**claims, **change}, kid="rsa"))


async def test_a_cached_token_ends_with_its_expiry(oidc, claims, clock) -> None:
    token = signed({**claims, "exp": int(clock.now().timestamp()) + 20}, kid="rsa")
    await oidc.authenticate(token)
    for _ in range(5):
        clock.forward(10)
        if clock.now().timestamp() < claims["iat"] + 49:
            await oidc.authenticate(token)
    await refused(oidc, token)


async def test_the_algorithm_is_the_keys_and_not_the_headers(oidc, claims, issuer) -> None:
    pem = json.dumps(KEYS[0]).encode()
    for secret in (pem, RSA.public_key().public_numbers().n.to_bytes(256, "big"), b"", b"rsa"):
        for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            body = f"{encoded({'alg': algorithm, 'kid': 'rsa', 'typ': 'JWT'})}.{encoded(claims)}"
            await refused(oidc, f"{body}.{encoded(hmac.new(secret, body.encode(), digest).digest())}")
    for name in ("none", "None", "NONE", "nOnE", ""):
        for signature in ("", encoded(b"x")):
            await refused(oidc, f"{encoded({'alg': name, 'kid': 'rsa'})}.{encoded(claims)}.{signature}")
    await refused(oidc, signed(claims, RSA, "RS512", kid="rsa"))
    await refused(oidc, signed(claims, RSA, "PS256", kid="rsa"))
    await refused(oidc, signed(claims, P256, "ES256", kid="rsa"))
    await refused(oidc, signed(claims, RSA, "RS256", kid="ec"))
    await refused(oidc, signed(claims, ED, "EdDSA", kid="ec"))


async def test_an_ecdsa_signature_holds_in_the_form_of_jws_alone(oidc, claims) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    token = signed(claims, P256, "ES256", kid="ec")
    content, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    der = encode_dss_signature(r, s)
    assert decode_dss_signature(der) == (r, s) and len(raw) == 64
    for other in (der, raw + b"\0", b"\0" + raw, raw[:32], bytes(64), raw[32:] + raw[:32]):
        await refused(oidc, f"{content}.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}")
    await oidc.authenticate(token)


async def test_another_key_or_a_key_in_the_header_proves_nothing(oidc, claims, clock) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    own = jwk(stranger, "rsa", "RS256")
    await refused(oidc, signed(claims, stranger, kid="rsa"))
    await refused(oidc, signed(claims, stranger, kid="rsa", jwk=own))
    await refused(oidc, signed(claims, stranger, kid="rsa", jku="http://127.0.0.1:1/jwks", x5u="http://127.0.0.1:1/"))
    await refused(oidc, signed(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", kid="ec"))
    await refused(oidc, signed(claims, P384, "ES384", kid="ec"))
    for kid in ("../../dev/null", "rsa' OR 1=1 --", "", "RSA", "rsa\x00"):
        clock.forward(60)
        claims = {**claims, "exp": int(clock.now().timestamp()) + 60}
        await refused(oidc, signed(claims, kid=kid))
    await refused(oidc, signed(claims))  # no kid, and the issuer has three keys
    await refused(oidc, signed(claims, kid="rsa", crit=["exp"]))


async def test_what_is_altered_cut_or_huge_is_refused(oidc, claims) -> None:
    token = signed(claims, kid="rsa")
    await oidc.authenticate(token)
    head, body, signature = token.split(".")
    raised = encoded({**claims, "groups": ["admin"]})
    for bad in (
        f"{head}.{raised}.{signature}",
        f"{head}.{body}.{signature[:-6]}AAAAAA",
        f"{head}.{body}.{signature[:-2]}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}..{signature}",
        f".{body}.{signature}",
        f"{head}.{body}.{signature}.{signature}",
        f"{head}.{body}.{signature}=",
        f"{head}=.{body}.{signature}",
        f"{head}.{body}==.{signature}",
        f"{head}.{body}.{signature}~",
        f"{head}.{body}.{signature[:5]}\x7f{signature[5:]}",
        f"{head}.{body}.{signature[:-1]}{chr(ord(signature[-1]) + 1)}",  # 256 bytes: bits that stand for nothing
        f" {token}",
        token[:-1] + ("A" if token[-1] != "A" else "B") * 2,
        f"{encoded([1])}.{body}.{signature}",
        f"{head}.{encoded([1])}.{signature}",
        f"{head}.{encoded(b'[' * 8000)}.{signature}",
        f"{head}.{encoded({**claims, 'pad': 'x' * 16384})}.{signature}",
        "..",
    ):
        with pytest.raises(Unauthenticated):
            await oidc.authenticate(bad)
    assert (await oidc.authenticate(token)).role is Role.MEMBER
    await refused(oidc, signed({**claims, "pad": "x" * 16384}, kid="rsa"))


async def test_tokens_that_begin_alike_are_not_taken_for_one_another(oidc, claims) -> None:
    token = signed(claims, kid="rsa")
    await oidc.authenticate(token)
    other = signed({**claims, "sub": "alicf"}, kid="rsa")
    assert other[:100] == token[:100]
    assert (await oidc.authenticate(other)).subject.endswith(":alicf")
    assert (await oidc.authenticate(token)).subject.endswith(":alice")


async def test_unfit_keys_are_left_out_and_duplicate_kids_tried(oidc, claims, issuer) -> None:
    issuer.keys = [
        jwk(SMALL_RSA, "small", "RS256"),
        jwk(P384, "ec", "ES384"),
        jwk(P256, "enc", "ES256", use="enc"),
        jwk(RSA, "wrong", "RS256", alg="HS256"),
        {"kty": "oct", "kid": "oct", "k": encoded(b"secret")},
        {"kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA", "y": "AA"},
        "nonsense",
        {"kty": ["RSA"]},
        jwk(ED, "twice", "EdDSA"),
        jwk(RSA, "twice", "RS256"),
    ]
    await oidc.authenticate(signed(claims, RSA, kid="twice"))
    await oidc.authenticate(signed(claims, ED, "EdDSA", kid="twice"))
    body = f"{encoded({'alg': 'HS256', 'kid': 'oct'})}.{encoded(claims)}"
    await refused(oidc, f"{body}.{encoded(hmac.new(b'secret', body.encode(), hashlib.sha256).digest())}")
    await refused(oidc, signed(claims, P384, "ES384", kid="ec"))
    await refused(oidc, signed(claims, P256, "ES256", kid="enc"))
    await refused(oidc, signed(claims, RSA, kid="wrong"))
    await refused(oidc, signed(claims, P256, "ES256", kid="broken"))


async def test_a_new_key_is_found_but_strangers_cannot_make_us_ask(oidc, claims, issuer, clock) -> None:
    issuer.keys = [KEYS[0]]
    await oidc.authenticate(signed(claims, kid="rsa"))
    asked = len(issuer.asked)
    clock.forward(31)
    for number in range(10):
        await refused(oidc, signed(claims, P256, "ES256", kid=f"unknown-{number}"))
    assert len(issuer.asked) == asked + 2, "one look at discovery and keys"
    issuer.keys = [KEYS[0], KEYS[1]]
    token = signed(claims, P256, "ES256", kid="ec")
    await refused(oidc, token)
    clock.forward(31)
    assert (await oidc.authenticate(token)).subject.endswith(":alice")


async def test_a_key_that_was_withdrawn_ends_its_tokens(oidc, claims, issuer, clock) -> None:
    claims["exp"] += 7200
    token = signed(claims, kid="rsa")
    await oidc.authenticate(token)
    issuer.keys = [KEYS[1]]
    clock.forward(601)
    await refused(oidc, token)


async def test_an_issuer_that_is_away_is_done_without_for_a_day(oidc, claims, issuer, clock) -> None:
    claims["exp"] += 3 * 86400
    await oidc.authenticate(signed(claims, kid="rsa"))
    issuer.answers = {"/.well-known/openid-configuration": (503, {}, b"")}
    clock.forward(86000)
    await oidc.authenticate(signed({**claims, "sub": "bob"}, kid="rsa"))
    clock.forward(401)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await oidc.authenticate(signed({**claims, "sub": "carol"}, kid="rsa"))
    issuer.answers = {}
    clock.forward(6)
    await oidc.authenticate(signed({**claims, "sub": "carol"}, kid="rsa"))


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/.well-known/openid-configuration", (302, {"location": "/elsewhere"}, b"")),
        ("/.well-known/openid-configuration", (200, {}, b"{}")),
        ("/.well-known/openid-configuration", (200, {}, b'{"issuer": "https://other.example", "jwks_uri": "/jwks"}')),
        ("/.well-known/openid-configuration", (200, {}, b"[" * 100_000)),
        ("/jwks", (200, {}, b" " * 600_000)),
        ("/jwks", (200, {}, b"<html>")),
        ("/jwks", (302, {"location": "/jwks2"}, b"")),
    ],
    ids=str,
)
async def test_an_issuer_that_answers_nonsense_is_away(oidc, claims, issuer, path, answer) -> None:
    issuer.answers = {path: answer}
    with pytest.raises(Unavailable):
        await oidc.authenticate(signed(claims, kid="rsa"))
    assert "/jwks2" not in issuer.asked and "/elsewhere" not in issuer.asked


async def test_keys_are_not_fetched_from_an_unsafe_address(oidc, claims, issuer) -> None:
    for uri in ("http://169.254.169.254/keys", "file:///etc/passwd", "", "https://user@example.com/keys", "/jwks"):
        document = json.dumps({"issuer": issuer.url, "jwks_uri": uri}).encode()
        issuer.answers = {"/.well-known/openid-configuration": (200, {}, document)}
        with pytest.raises(Unavailable):
            await oidc.authenticate(signed(claims, kid="rsa"))


@pytest.mark.parametrize(
    "url", ["http://issuer.example", "ftp://127.0.0.1", "issuer", "https://a@b.example", "http://[::1"]
)
def test_an_issuer_needs_a_safe_address(url: str) -> None:
    with pytest.raises(Misconfigured):
        IssuerConfig(url, AUDIENCE, "tenant")


async def test_a_slash_at_the_end_of_an_issuer_makes_no_difference(database, tokens, clock, issuer, claims) -> None:
    slashed = {**claims, "iss": f"{issuer.url}/"}
    document = json.dumps({"issuer": f"{issuer.url}/", "jwks_uri": f"{issuer.url}/jwks"}).encode()
    issuer.answers = {"/.well-known/openid-configuration": (200, {}, document)}
    for url in (issuer.url, f"{issuer.url}/"):
        config = IssuerConfig(url, AUDIENCE, tenant_claim="merchant_id")
        authenticator = build_authenticator(database, tokens, issuers=[config], clock=clock)
        assert (await authenticator.authenticate(signed(slashed, kid="rsa"))).role is Role.MEMBER
        await refused(authenticator, signed({**claims, "iss": f"{issuer.url}/other"}, kid="rsa"))


async def test_a_foreign_issuer_cannot_speak_for_the_built_in_one_or_the_parts(oidc, claims) -> None:
    await refused(oidc, signed({**claims, "iss": "slipway:internal", "aud": "slipway:parts"}, kid="rsa"))
    caller = await oidc.authenticate(signed({**claims, "sub": "usr_01arz3ndektsv4rrffq69g5fav"}, kid="rsa"))
    assert not caller.subject.startswith("usr_")


@pytest.fixture
def pool(database, tokens, clock, issuer) -> CredentialAuthenticator:
    """The platform's own user pool, with two clients."""
    config = IssuerConfig(
        issuer.url, "console", "merchant_id", roles_claim="roles", more_audiences=("checkout",), ours=True
    )
    return build_authenticator(database, tokens, issuers=[config], clock=clock)


@pytest.mark.requirement("SEC-02", "R")
@pytest.mark.parametrize("client", ["console", "checkout"])
async def test_each_client_of_the_platforms_pool_is_meant_for_it(pool, claims, tenant, client: str) -> None:
    caller = await pool.authenticate(signed({**claims, "aud": client, "roles": "member"}, kid="rsa"))
    assert (caller.tenant_id, caller.role) == (tenant.tenant_id, Role.MEMBER)


@pytest.mark.parametrize("audience", ["other", None, 3, ["other"], [["console"]], {"console": 1}])
async def test_another_audience_is_not(pool, claims, audience: Any) -> None:
    await refused(pool, signed({**claims, "aud": audience, "roles": "member"}, kid="rsa"))


async def test_only_the_platforms_own_pool_names_its_administrators(pool, oidc, claims) -> None:
    own = await pool.authenticate(signed({**claims, "aud": "console", "roles": "platform_admin member"}, kid="rsa"))
    assert own.role is Role.PLATFORM_ADMIN
    foreign = await oidc.authenticate(signed({**claims, "groups": ["platform_admin", "member"]}, kid="rsa"))
    assert foreign.role is Role.MEMBER


async def test_scopes_as_cognito_writes_them_narrow(pool, claims) -> None:
    asked = {**claims, "aud": "console", "roles": "member", "scope": "openid slipway/chat:use slipway/admin:tenants"}
    caller = await pool.authenticate(signed(asked, kid="rsa"))
    assert caller.scopes == {Scope.CHAT_USE}
