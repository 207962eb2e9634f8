"""The built-in OpenID Connect issuer: for development, and for platforms too small for one of their own.

Authorization code with PKCE, client credentials, refresh tokens that are replaced at each use. It refuses the implicit
and the password grant (RFC 9700), redirect URIs that are not registered to the letter, and codes used twice.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any, Final

import jwt

from slipway.api.identity import TokenResponse
from slipway.base.callers import ROLE_SCOPES, Role
from slipway.base.clock import Clock
from slipway.base.errors import LimitExceeded, SlipwayError, Unauthenticated
from slipway.base.ids import new_id
from slipway.runtime.authentication.api_keys import credential_hash, random_text
from slipway.runtime.authentication.issuers import OWN_TENANT_CLAIM, OwnIssuer
from slipway.services.identity.models import Account, CodeGrant, OAuthClient, RefreshGrant
from slipway.services.identity.oauth_requests import (
    AuthorizationRequest,
    Refused,
    answer_url,
    authorization_request,
    client_credentials_of,
    redirect_uri_of,
    scopes_asked,
    verifier_matches,
)
from slipway.services.identity.passwords import password_matches
from slipway.services.identity.ports import Grants
from slipway.services.identity.signing import SigningKeys

_log = logging.getLogger(__name__)

_CODE_LIFE: Final = timedelta(seconds=60)
_ACCESS_LIFE: Final = timedelta(minutes=10)
_REFRESH_LIFE: Final = timedelta(days=30)  # of the whole family: then the user signs in again
_FORM_LIFE: Final = timedelta(minutes=10)
_HASHES_AT_ONCE: Final = 2  # 32 MiB each
_PURGE_EVERY_S: Final = 3600.0


class Issuer:
    """Signs people and programs in."""

    def __init__(
        self,
        grants: Grants,
        signing: SigningKeys,
        own: OwnIssuer,
        *,
        tenant_claim: str,
        form_key: bytes,
        clock: Clock,
    ) -> None:
        """`tenant_claim`: under which access tokens carry the tenant as well. `form_key` signs login forms."""
        self._grants, self._signing, self._own, self._clock = grants, signing, own, clock
        self._tenant_claim, self._form_key = tenant_claim, form_key
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    async def run(self) -> None:
        """Deletes codes and tokens that ended long ago, until it is cancelled."""
        while True:
            try:
                await self._grants.purge(self._clock.now())
            except SlipwayError as error:
                _log.warning("expired grants could not be deleted: %s", error)
            await asyncio.sleep(_PURGE_EVERY_S)

    def configuration(self) -> dict[str, Any]:
        """The discovery document (OpenID Connect Discovery section 3)."""
        url = self._own.url
        return {
            "issuer": url,
            "authorization_endpoint": f"{url}/oauth2/authorize",
            "token_endpoint": f"{url}/oauth2/token",
            "revocation_endpoint": f"{url}/oauth2/revoke",
            "jwks_uri": f"{url}/.well-known/jwks.json",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "email", *sorted(ROLE_SCOPES[Role.PLATFORM_ADMIN])],
            "authorization_response_iss_parameter_supported": True,
        }

    async def jwks(self) -> dict[str, Any]:
        """The public signing keys."""
        return await self._signing.jwks()

    async def client_of(self, fields: Mapping[str, str]) -> tuple[OAuthClient, str]:
        """The client that asks for a code, and where its answer goes; Refused means that it goes nowhere."""
        client = await self._grants.client(fields.get("client_id", ""))
        uri = redirect_uri_of(client, fields)
        assert client is not None  # or redirect_uri_of has refused
        return client, uri

    def request_of(self, client: OAuthClient, redirect_uri: str, fields: Mapping[str, str]) -> AuthorizationRequest:
        """The request for a code; raises Refused."""
        return authorization_request(client, redirect_uri, fields)

    def refusal_url(self, redirect_uri: str, fields: Mapping[str, str], refused: Refused) -> str:
        """Where a refusal is sent (RFC 6749 section 4.1.2.1)."""
        values = {"error": refused.error, "error_description": refused.public, "state": fields.get("state")}
        return answer_url(redirect_uri, {**values, "iss": self._own.url})

    def form_of(self, request: AuthorizationRequest, browser: str) -> str:
        """What the login form carries: the checked request, signed and bound to the cookie of this browser."""
        expires = int((self._clock.now() + _FORM_LIFE).timestamp())
        return jwt.encode({**asdict(request), "browser": browser, "until": expires}, self._form_key, algorithm="HS256")

    def form_read(self, form: str, browser: str) -> AuthorizationRequest:
        """The request that a login form carried; Refused when it is another browser's, altered or old."""
        try:
            values = jwt.decode(form, self._form_key, algorithms=["HS256"])
        except jwt.InvalidTokenError as error:
            raise Refused(
                "invalid_request", "This login form is not valid: start again from the application."
            ) from error
        until = values.pop("until")
        if not compare_digest(values.pop("browser").encode(), browser.encode()) or not browser:
            raise Refused(
                "invalid_request", "This login form belongs to another browser: allow cookies and start again."
            )
        if until <= self._clock.now().timestamp():
            raise Refused("invalid_request", "This login form is too old: start again from the application.")
        return AuthorizationRequest(**{**values, "scopes": tuple(values["scopes"])})

    async def sign_in(self, request: AuthorizationRequest, email: str, password: str) -> str:
        """The address to send the browser to, with a code.

        Raises Unauthenticated for a wrong address or password, which are not told apart, LimitExceeded after too many
        tries, Refused when the client is gone.
        """
        client = await self._grants.client(request.client_id)
        if client is None or request.redirect_uri not in client.redirect_uris:
            raise Refused("invalid_request", "There is no such client any more.")
        now = self._clock.now()
        not_before = await self._grants.login_begin(client.tenant_id, email, now)
        if not_before is not None:
            wait_s = max(1.0, (not_before - now).total_seconds())
            raise LimitExceeded(f"Too many tries: wait {wait_s:.0f} seconds.", retry_after_s=wait_s)
        account = await self._grants.account_by_email(client.tenant_id, email.strip())
        async with self._hashing:
            hashed = None if account is None else account.password_hash
            matches = await asyncio.to_thread(password_matches, password, hashed)
        if account is None or not matches:
            raise Unauthenticated("The e-mail address or the password is wrong.")
        await self._grants.login_succeeded(client.tenant_id, email)
        code = random_text()
        now = self._clock.now()
        grant = CodeGrant(
            tenant_id=client.tenant_id,
            client_id=client.id,
            user_id=account.id,
            redirect_uri=request.redirect_uri,
            code_challenge=request.code_challenge,
            scopes=request.scopes,
            openid=request.openid,
            nonce=request.nonce,
            family=new_id("fam"),
            created_at=now,
            expires_at=now + _CODE_LIFE,
        )
        await self._grants.code_add(credential_hash(code), grant)
        return answer_url(request.redirect_uri, {"code": code, "state": request.state, "iss": self._own.url})

    async def token(self, fields: Mapping[str, str], authorization: str | None) -> TokenResponse:
        """Tokens for a grant (RFC 6749 section 5); raises Refused."""
        client = await self._client_proven(fields, authorization)
        match fields.get("grant_type"):
            case "authorization_code":
                return await self._by_code(client, fields)
            case "refresh_token":
                return await self._by_refresh(client, fields)
            case "client_credentials":
                return await self._by_client(client, fields)
            case None:
                raise Refused("invalid_request", "Name the grant_type.")
            case _:
                raise Refused("unsupported_grant_type", "This grant type is not supported.")

    async def revoke(self, fields: Mapping[str, str], authorization: str | None) -> None:
        """Ends a refresh token and its family; what is not known is no error (RFC 7009 section 2.2)."""
        client = await self._client_proven(fields, authorization)
        if "token" not in fields:
            raise Refused("invalid_request", "Name the token.")
        await self._grants.refresh_revoke(credential_hash(fields["token"]), client.id, self._clock.now())

    async def _client_proven(self, fields: Mapping[str, str], authorization: str | None) -> OAuthClient:
        client_id, secret = client_credentials_of(fields, authorization)
        client = await self._grants.client(client_id)
        expected = None if client is None else client.secret_hash
        proven = (secret is None) if expected is None else compare_digest(expected, credential_hash(secret or ""))
        if client is None or not proven:
            raise Refused("invalid_client", "The client or its secret is wrong.")
        return client

    async def _by_code(self, client: OAuthClient, fields: Mapping[str, str]) -> TokenResponse:
        now = self._clock.now()
        grant = await self._grants.code_take(credential_hash(fields.get("code", "")), client.id, now)
        if grant is None:
            raise Refused("invalid_grant", "This code is not valid, was used, or is older than a minute.")
        if fields.get("redirect_uri") != grant.redirect_uri:
            raise Refused("invalid_grant", "The redirect URI is not the one that the code was sent to.")
        if not verifier_matches(fields.get("code_verifier"), grant.code_challenge):
            raise Refused("invalid_grant", "The code_verifier does not match its challenge.")
        account = await self._account(client, grant.user_id)
        refresh = _refresh_token()
        family = RefreshGrant(
            tenant_id=grant.tenant_id,
            client_id=client.id,
            user_id=account.id,
            family=grant.family,
            scopes=grant.scopes,
            created_at=now,
            expires_at=now + _REFRESH_LIFE,
        )
        if not await self._grants.refresh_add(credential_hash(refresh), family):
            raise Refused("invalid_grant", "This code was used twice.")
        id_token = await self._id_token(client, account, grant) if grant.openid else None
        return await self._answer(client, account, grant.scopes, refresh, id_token)

    async def _by_refresh(self, client: OAuthClient, fields: Mapping[str, str]) -> TokenResponse:
        def narrowed(grant: RefreshGrant) -> tuple[str, ...]:
            if "scope" not in fields:
                return grant.scopes
            return scopes_asked(fields["scope"].split(), frozenset(grant.scopes))

        successor = _refresh_token()
        grant = await self._grants.refresh_rotate(
            credential_hash(fields.get("refresh_token", "")),
            credential_hash(successor),
            client.id,
            self._clock.now(),
            permit=narrowed,
        )
        if grant is None:
            raise Refused("invalid_grant", "This refresh token is not valid any more: sign in again.")
        account = await self._account(client, grant.user_id)
        return await self._answer(client, account, narrowed(grant), successor, None)

    async def _by_client(self, client: OAuthClient, fields: Mapping[str, str]) -> TokenResponse:
        if client.secret_hash is None:
            raise Refused("unauthorized_client", "Only a client with a secret may sign in for itself.")
        scopes = scopes_asked(fields.get("scope", "").split(), client.scopes)
        return await self._answer(client, None, scopes, None, None)

    async def _account(self, client: OAuthClient, user_id: str) -> Account:
        account = await self._grants.account(client.tenant_id, user_id)
        if account is None:
            raise Refused("invalid_grant", "This user does not exist any more.")
        return account

    async def _answer(
        self,
        client: OAuthClient,
        account: Account | None,
        scopes: tuple[str, ...],
        refresh_token: str | None,
        id_token: str | None,
    ) -> TokenResponse:
        role = client.role if account is None else account.role
        granted = sorted(client.scopes & frozenset(scopes) & {scope.value for scope in ROLE_SCOPES[role]})
        claims = {
            self._tenant_claim: client.tenant_id,
            OWN_TENANT_CLAIM: client.tenant_id,
            **self._dates(self._clock.now()),
            "aud": self._own.audience,
            "sub": client.id if account is None else account.id,
            "client_id": client.id,
            "role": role.value,
            "scope": " ".join(granted),
            "jti": new_id("jwt"),
        }
        return TokenResponse(
            access_token=await self._signing.sign(claims, "at+jwt"),
            expires_in=int(_ACCESS_LIFE.total_seconds()),
            refresh_token=refresh_token,
            id_token=id_token,
            scope=" ".join(["openid", *granted] if id_token else granted),
        )

    async def _id_token(self, client: OAuthClient, account: Account, grant: CodeGrant) -> str:
        claims: dict[str, Any] = {
            **self._dates(self._clock.now()),
            "aud": client.id,
            "sub": account.id,
            "email": account.email,
            "auth_time": int(grant.created_at.timestamp()),
            OWN_TENANT_CLAIM: account.tenant_id,
        }
        if grant.nonce is not None:
            claims["nonce"] = grant.nonce
        return await self._signing.sign(claims, "JWT")

    def _dates(self, now: datetime) -> dict[str, Any]:
        return {"iss": self._own.url, "iat": int(now.timestamp()), "exp": int((now + _ACCESS_LIFE).timestamp())}


def _refresh_token() -> str:
    return f"rt-slip-{random_text()}"
