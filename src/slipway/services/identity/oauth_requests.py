"""What comes in at the issuer, checked by RFC 6749, RFC 7636 and OpenID Connect Core, and how it is refused."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final
from urllib.parse import unquote_plus, urlencode, urlsplit

from slipway.base.callers import Scope
from slipway.base.errors import InvalidRequest
from slipway.services.identity.models import OAuthClient

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_MAX_TEXT: Final = 2000  # arbitrary; bounds what is carried through the login form
IDENTITY_SCOPES: Final = frozenset({"openid", "email", "offline_access", "profile"})


class Refused(InvalidRequest):
    """A refusal with its error name from RFC 6749."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


@dataclass(frozen=True)
class AuthorizationRequest:
    """A checked request for a code (RFC 6749 section 4.1.1 with RFC 7636)."""

    client_id: str
    redirect_uri: str
    code_challenge: str
    scopes: tuple[str, ...]
    openid: bool
    state: str | None
    nonce: str | None


def single(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; raises Refused when one is there twice (RFC 6749 section 3.1)."""
    found: dict[str, str] = {}
    for name, value in fields:
        if name in found:
            raise Refused("invalid_request", f"The parameter {name[:40]} is there twice.")
        if len(value) > _MAX_TEXT or "\x00" in value:
            raise Refused("invalid_request", f"The parameter {name[:40]} is too long or not text.")
        if value:
            found[name] = value
    return found


def redirect_uri_of(client: OAuthClient | None, fields: Mapping[str, str]) -> str:
    """Where the answer may go. Refused means that nothing may be sent anywhere: show it to the person instead."""
    if client is None:
        raise Refused("invalid_request", "There is no such client.")
    uri = fields.get("redirect_uri", "")
    if uri not in client.redirect_uris:
        raise Refused("invalid_request", "This redirect URI is not one of the client's.")
    return uri


def authorization_request(client: OAuthClient, redirect_uri: str, fields: Mapping[str, str]) -> AuthorizationRequest:
    """The request for a code; raises Refused with what the redirect is to carry."""
    if fields.get("response_type") != "code":
        raise Refused("unsupported_response_type", "Only response_type=code is supported.")
    if fields.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(fields.get("code_challenge", "")):
        raise Refused("invalid_request", "PKCE is required: send code_challenge with code_challenge_method=S256.")
    if "request" in fields or "request_uri" in fields:
        raise Refused("request_not_supported", "Request objects are not supported.")
    if fields.get("prompt") == "none":
        raise Refused("login_required", "The user has to sign in.")
    asked = fields.get("scope", "").split()
    return AuthorizationRequest(
        client_id=client.id,
        redirect_uri=redirect_uri,
        code_challenge=fields["code_challenge"],
        scopes=scopes_asked(asked, client.scopes),
        openid="openid" in asked,
        state=fields.get("state"),
        nonce=fields.get("nonce"),
    )


def scopes_asked(asked: Sequence[str], allowed: frozenset[str]) -> tuple[str, ...]:
    """The platform's scopes among `asked`, or all allowed ones when none is named; raises Refused (invalid_scope)."""
    named = [scope for scope in asked if scope not in IDENTITY_SCOPES]
    known = {scope.value for scope in Scope}
    if wrong := [scope for scope in named if scope not in known or scope not in allowed]:
        raise Refused("invalid_scope", f"This client cannot have the scope {wrong[0][:60]}.")
    return tuple(sorted(set(named) or allowed & known))


def verifier_matches(verifier: str | None, challenge: str) -> bool:
    """Whether the verifier is the one of the S256 challenge (RFC 7636 section 4.6)."""
    if verifier is None or not _VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    return compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), challenge)


def client_credentials_of(fields: Mapping[str, str], authorization: str | None) -> tuple[str, str | None]:
    """Client id and secret from HTTP Basic or from the body, never from both (RFC 6749 section 2.3.1)."""
    if authorization is None:
        if "client_id" not in fields:
            raise Refused("invalid_client", "Name the client.")
        return fields["client_id"], fields.get("client_secret")
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or "client_secret" in fields:
        raise Refused(
            "invalid_request", "Authenticate the client in one way: HTTP Basic, or client_secret in the body."
        )
    try:
        user, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("invalid_client", "The Authorization header is not valid.") from None
    client_id = unquote_plus(user)
    if not colon or "\0" in client_id or fields.get("client_id", client_id) != client_id:
        raise Refused("invalid_client", "The Authorization header is not valid.")
    return client_id, unquote_plus(secret)


def answer_url(redirect_uri: str, values: Mapping[str, str | None]) -> str:
    """The redirect URI with an answer in its query."""
    query = urlencode({name: value for name, value in values.items() if value is not None})
    return f"{redirect_uri}{'&' if urlsplit(redirect_uri).query else '?'}{query}"
