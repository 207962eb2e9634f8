"""Tenants, users, API keys and OAuth clients: what administrators do. Refuses to hand on more than the maker has."""

import asyncio

from slipway.api.identity import (
    Client,
    ClientRequest,
    Key,
    KeyRequest,
    NewClient,
    NewKey,
    Tenant,
    TenantRequest,
    User,
    UserRequest,
)
from slipway.api.wire import Page
from slipway.base.callers import Caller
from slipway.base.clock import Clock
from slipway.base.errors import Conflict, InvalidRequest, NotFound
from slipway.runtime.authentication.api_keys import api_key_make, credential_hash, random_text
from slipway.runtime.authentication.issuers import is_safe_url
from slipway.services.identity.authority import require_role, require_whole_role, scopes_granted
from slipway.services.identity.passwords import password_hash
from slipway.services.identity.ports import Directory


class IdentityService:
    """Administration of who may use the platform."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory, self._clock = directory, clock

    async def tenant_add(self, caller: Caller, request: TenantRequest) -> Tenant:
        """A new tenant, without users or keys."""
        tenant = await self._directory.tenant_add(caller, request)
        if tenant is None:
            raise Conflict("Another tenant has this external id.")
        return tenant

    async def tenant_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Tenant]:
        """Every tenant, newest first."""
        return await self._directory.tenant_list(caller, cursor, limit)

    async def tenant_get(self, caller: Caller, tenant_id: str) -> Tenant:
        """One tenant."""
        tenant = await self._directory.tenant_get(caller, tenant_id)
        if tenant is None:
            raise NotFound("There is no such tenant.")
        return tenant

    async def key_add(self, caller: Caller, request: KeyRequest, tenant_id: str | None = None) -> NewKey:
        """A new key of the caller's tenant, or of `tenant_id` (for platform administrators); shows its secret once."""
        scopes = scopes_granted(caller, request.role, request.scopes)
        if not scopes:
            raise InvalidRequest("This key could do nothing: your credential has none of the role's scopes.")
        if request.expires_at is not None:
            if request.expires_at.tzinfo is None:
                raise InvalidRequest("Write `expires_at` with its offset from UTC, like 2027-01-31T00:00:00Z.")
            if request.expires_at <= self._clock.now():
                raise InvalidRequest("`expires_at` has passed already.")
        if tenant_id is not None:
            await self.tenant_get(caller, tenant_id)
        made = api_key_make()
        key = await self._directory.key_add(caller, tenant_id or caller.tenant_id, request, made, scopes)
        return NewKey(**dict(key), secret=made.secret)

    async def key_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Key]:
        """The tenant's keys, revoked ones too, newest first."""
        return await self._directory.key_list(caller, cursor, limit)

    async def key_get(self, caller: Caller, key_id: str) -> Key:
        """One key, without its secret."""
        key = await self._directory.key_get(caller, key_id)
        if key is None:
            raise NotFound("There is no such key.")
        return key

    async def key_revoke(self, caller: Caller, key_id: str) -> None:
        """Ends a key in every process within a second; again is no error."""
        require_role(caller, (await self.key_get(caller, key_id)).role)
        await self._directory.key_revoke(caller, key_id)

    async def user_add(self, caller: Caller, request: UserRequest) -> User:
        """A new user of the caller's tenant."""
        require_whole_role(caller, request.role)
        hashed = None
        if request.password is not None:
            hashed = await asyncio.to_thread(password_hash, request.password.get_secret_value())
        user = await self._directory.user_add(caller, request, hashed)
        if user is None:
            raise Conflict("There is a user with this address already.")
        return user

    async def user_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[User]:
        """The tenant's users, newest first."""
        return await self._directory.user_list(caller, cursor, limit)

    async def user_get(self, caller: Caller, user_id: str) -> User:
        """One user."""
        user = await self._directory.user_get(caller, user_id)
        if user is None:
            raise NotFound("There is no such user.")
        return user

    async def user_delete(self, caller: Caller, user_id: str) -> None:
        """Ends a user: its tokens hold no longer than a second more."""
        require_role(caller, (await self.user_get(caller, user_id)).role)
        await self._directory.user_delete(caller, user_id)

    async def client_add(self, caller: Caller, request: ClientRequest) -> NewClient:
        """A new OAuth client of the caller's tenant; shows its secret once."""
        scopes = scopes_granted(caller, request.role, request.scopes)
        for uri in request.redirect_uris:
            _check_redirect_uri(uri)
        if not request.confidential and not request.redirect_uris:
            raise InvalidRequest("A client without a secret signs users in: give it at least one redirect URI.")
        secret = f"cs-slip-{random_text()}" if request.confidential else None
        digest = None if secret is None else credential_hash(secret)
        client = await self._directory.client_add(caller, request, digest, scopes)
        return NewClient(**dict(client), secret=secret)

    async def client_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Client]:
        """The tenant's OAuth clients, newest first."""
        return await self._directory.client_list(caller, cursor, limit)

    async def client_get(self, caller: Caller, client_id: str) -> Client:
        """One OAuth client, without its secret."""
        client = await self._directory.client_get(caller, client_id)
        if client is None:
            raise NotFound("There is no such client.")
        return client

    async def client_delete(self, caller: Caller, client_id: str) -> None:
        """Ends a client, with every token it got for itself."""
        require_role(caller, (await self.client_get(caller, client_id)).role)
        await self._directory.client_delete(caller, client_id)


def _check_redirect_uri(uri: str) -> None:
    """Raises InvalidRequest unless codes may be sent there: https, or http on this machine (RFC 8252 section 7.3)."""
    if (
        not is_safe_url(uri)
        or "#" in uri
        or any(character.isspace() or not character.isprintable() or character in "\"'<>;,\\" for character in uri)
        or not uri.isascii()
        or len(uri) > 2000
    ):
        raise InvalidRequest("A redirect URI is https (or http on this machine), without fragment or user.")
