"""Forged tokens against a running gateway: of the built-in issuer, and of the parts among themselves.

Foreign issuers' tokens are in tests/unit/runtime/authentication/test_tokens.py.
"""

import base64
import contextlib
import hmac
import http.client
import json
import string
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from slipway.base.callers import Scope
from slipway.runtime.authentication.internal import derived_key
from tests.services.gateway_serving import SECRETS, Served, credential, served_gateway

OUTSIDE_OF_BASE64URL = (
    *(" ", "\t", "%20", "=", "==", "====", "A===", "+", "/", "!", "~", "*", ","),
    *("\x0b", "\x0c", "\x7f", "\x80", "\xff"),
)
CONTROLS = frozenset("\x0b\x0c\x7f")  # no header may hold them: the server refuses the request before it has a wire


@pytest.fixture(scope="module")
def served(postgres, tmp_path_factory) -> Iterator[Served]:
    with served_gateway(tmp_path_factory.mktemp("gateway"), postgres, "http://127.0.0.1:9") as served:
        yield served


@pytest.fixture
def key(new_caller) -> str:
    return credential(new_caller(Scope.MODELS_USE))


def public_key_secrets(jwk: dict[str, Any]) -> list[bytes]:
    """What somebody might take a published key's bytes for, as a shared secret."""
    key = jwt.PyJWK(jwk).key
    encodings = [(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]
    secrets = [key.public_bytes(*each) for each in encodings]
    return [*secrets, secrets[0].strip(), json.dumps(jwk).encode(), jwk.get("x", jwk.get("n", "")).encode(), b""]


def test_forged_tokens_of_the_built_in_issuer_are_refused(platform):
    """After Wycheproof's and RFC 8725's cases. Times and claims of signed tokens are in the tests of authentication."""
    with httpx.Client(base_url=platform.url, timeout=30) as client:
        body = {"name": "forger", "scopes": ["models:use"]}
        made = client.post("/v1/admin/clients", headers=platform.headers(), json=body).json()
        configuration = client.get("/.well-known/openid-configuration").json()
        [jwk, *_] = client.get(configuration["jwks_uri"]).json()["keys"]
        grant = {"grant_type": "client_credentials"}
        answer = client.post(configuration["token_endpoint"], data=grant, auth=(made["id"], made["secret"]))
        token = answer.json()["access_token"]
        assert client.get("/v1/models", headers={"x-api-key": token}).status_code == 200
        forged = [*forgeries(token, jwk)]
        assert len(forged) > 200
        all_refused(platform.url, token, forged)
        for bearer in (f"Bearer  {token} x", f"bearer:{token}", f"Bearer {token},", "Bearer"):
            assert client.get("/v1/models", headers={"authorization": bearer}).status_code in (400, 401), bearer
        assert client.get("/v1/models", headers={"x-api-key": token}).status_code == 200


def all_refused(url: str, token: str, forged: Iterable[str]) -> None:
    """Sends each as it is, whatever bytes it has: clients that check headers would not."""
    address = httpx.URL(url)
    with contextlib.closing(http.client.HTTPConnection(address.host, address.port, timeout=30)) as connection:
        for each in forged:
            if each.strip(" \t") == token:
                continue  # HTTP takes that off
            connection.request("GET", "/v1/models", headers={"x-api-key": each})
            answer = connection.getresponse()
            text = answer.read().decode()
            assert each not in text
            if CONTROLS.isdisjoint(each):
                assert (answer.status, json.loads(text)["error"]["code"]) == (401, "invalid_api_key"), each
            else:
                assert answer.status == 400, each


def part(value: Any) -> str:
    """One part of a token."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def hmac_signed(header: dict[str, Any], claims: Any, secret: bytes, algorithm: str) -> str:
    """A token signed with a shared secret, however short it is."""
    signed = f"{part({**header, 'alg': algorithm})}.{claims if isinstance(claims, str) else part(claims)}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), algorithm.replace('HS', 'sha')))}"


def forgeries(token: str, jwk: dict[str, Any]) -> Iterator[str]:
    """Tokens that are like `token` and must not be taken for it."""
    head, payload, signature = token.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(each + "==")) for each in (head, payload))
    more = part({**claims, "scope": "admin:keys models:use", "exp": claims["exp"] + 10**6})
    yield from other_algorithms(header, payload, more, signature, jwk)
    yield from other_keys(header, claims, payload, signature, jwk)
    yield from other_spellings(head, payload, signature, claims)


def other_algorithms(
    header: dict[str, Any], payload: str, more: str, signature: str, jwk: dict[str, Any]
) -> Iterator[str]:
    """None, or another than the key's; a public key taken for a shared secret."""
    for body in (payload, more):
        for name in ("none", "None", "NONE", "nOnE", "", None, 0, ["none"], header["alg"].lower()):
            yield from (f"{part({**header, 'alg': name})}.{body}.{end}" for end in ("", part(b"x"), signature))
        for secret in public_key_secrets(jwk):
            yield from (hmac_signed(header, body, secret, name) for name in ("HS256", "HS384", "HS512"))
    for swapped in ("ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA", "ES256K", "RS1", "A128GCM", "dir"):
        if swapped != header["alg"]:
            yield f"{part({**header, 'alg': swapped})}.{payload}.{signature}"
    for twice in ('{"alg":"none","alg":"%s"}', '{"alg":"%s","alg":"none"}'):
        yield f"{part((twice % header['alg']).encode())}.{payload}.{signature}"


def other_keys(
    header: dict[str, Any], claims: dict[str, Any], payload: str, signature: str, jwk: dict[str, Any]
) -> Iterator[str]:
    """Signatures that are none, or another's; a header that brings its own key or asks for what is not understood."""
    size = len(base64.urlsafe_b64decode(signature + "=="))
    for zeroes in (b"\x00" * size, b"\x00" * 64, b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\xff" * size, b"\x00" * 256):
        yield f"{part(header)}.{payload}.{part(zeroes)}"
    stranger = ec.generate_private_key(ec.SECP256R1())
    own = {**ECAlgorithm.to_jwk(stranger.public_key(), as_dict=True), "kid": jwk["kid"]}
    for extra in (
        {},
        {"jwk": own},
        {"jku": "http://127.0.0.1:9/jwks"},
        {"x5u": "http://127.0.0.1:9/"},
        {"x5c": ["AA"]},
    ):
        yield jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": jwk["kid"], **extra})
    for kid in ("other", "", "../../../../dev/null", "' OR 1=1 --", 7, ["x"], {"a": 1}, jwk["kid"] + "\x00"):
        yield f"{part({**header, 'kid': kid})}.{payload}.{signature}"
    for extra in ({"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}, {"cty": "JWT"}):
        yield f"{part({**header, **extra})}.{payload}.{signature}"


def same_bytes(part: str) -> list[str]:
    """The other last characters under which a part is the same bytes: some of its bits stand for nothing."""
    letters = string.ascii_letters + string.digits + "-_"
    wanted = base64.urlsafe_b64decode(part + "==")
    return [
        last for last in letters if base64.urlsafe_b64decode(part[:-1] + last + "==") == wanted and last != part[-1]
    ]


def other_spellings(head: str, payload: str, signature: str, claims: dict[str, Any]) -> Iterator[str]:
    """Claims changed or doubled under the old signature; what stands before, within or behind; other serializations."""
    for name, value in (("scope", "admin:keys"), ("exp", claims["exp"] + 1), ("sub", "usr_other"), ("iss", "other")):
        doubled = json.dumps(claims)[:-1] + f', "{name}": {json.dumps(value)}}}'
        yield f"{head}.{part(doubled.encode())}.{signature}"
        yield f"{head}.{part({**claims, name: value})}.{signature}"
    for end in ("A", "AAAA", ".", ".x", "%00", f".{signature}"):
        yield f"{head}.{payload}.{signature}{end}"
    parts = [head, payload, signature]
    for inside in OUTSIDE_OF_BASE64URL:
        for number, each in enumerate(parts):
            for changed in (inside + each, each + inside, each[:4] + inside + each[4:]):
                yield ".".join([*parts[:number], changed, *parts[number + 1 :]])
    for number, each in enumerate(parts):
        for changed in same_bytes(each):
            yield ".".join([*parts[:number], changed, *parts[number + 1 :]])
    yield from (f"{head}.{payload}.", f"{head}.{payload}", f"{head}..{signature}", f".{payload}.{signature}", "..")
    yield part({"payload": payload, "signatures": [{"protected": head, "signature": signature}]})


@pytest.mark.parametrize(
    ("change", "algorithm"),
    [
        ({"exp": -1}, "HS256"),
        ({"exp": None}, "HS256"),
        ({"exp": "never"}, "HS256"),
        ({"nbf": 3600}, "HS256"),
        ({"iat": 3600}, "HS256"),
        ({"iat": None}, "HS256"),
        ({"aud": "another"}, "HS256"),
        ({"aud": None}, "HS256"),
        ({"iss": "another"}, "HS256"),
        ({"sub": None}, "HS256"),
        ({"tenant": None}, "HS256"),
        ({"scope": None}, "HS256"),
        ({"act": None}, "HS256"),
        ({}, "HS384"),
        ({}, "HS512"),
    ],
    ids=str,
)
def test_signed_tokens_between_the_parts_are_held_to_their_claims(served, key, change, algorithm):
    """Signed with the platform's own secret: what is left to check is what they say."""
    claims = jwt.decode(key, options={"verify_signature": False})
    now_s = int(time.time())
    for name, value in change.items():
        claims[name] = now_s + value if isinstance(value, int) else value
        if value is None:
            del claims[name]
    secret = derived_key(SECRETS[0], "internal tokens")
    token = hmac_signed({"typ": "JWT"}, claims, secret, algorithm)
    answer = httpx.get(f"{served.url}/v1/models", headers={"x-api-key": token})
    assert answer.status_code == 401, answer.text


def test_a_token_between_the_parts_has_one_spelling(served, key):
    claims = jwt.decode(key, options={"verify_signature": False})
    assert httpx.get(f"{served.url}/v1/models", headers={"x-api-key": key}).status_code == 200
    all_refused(served.url, key, other_spellings(*key.split("."), claims))
