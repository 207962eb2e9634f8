"""What identity needs from its store. `adapter_postgres*.py` are the implementations."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from slipway.api.identity import Client, ClientRequest, Key, KeyRequest, Tenant, TenantRequest, User, UserRequest
from slipway.api.wire import Page
from slipway.base.callers import Caller, Scope
from slipway.runtime.authentication.api_keys import MadeKey
from slipway.services.identity.models import Account, CodeGrant, OAuthClient, RefreshGrant, StoredSigningKey


class Directory(Protocol):
    """Tenants, users, keys and clients. What belongs to another tenant is None, as if it were absent."""

    async def tenant_add(self, caller: Caller, request: TenantRequest) -> Tenant | None:
        """None when the external id is taken."""
        ...

    async def tenant_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Tenant]: ...

    async def tenant_get(self, caller: Caller, tenant_id: str) -> Tenant | None: ...

    async def key_add(
        self, caller: Caller, tenant_id: str, request: KeyRequest, made: MadeKey, scopes: Sequence[Scope]
    ) -> Key: ...

    async def key_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Key]: ...

    async def key_get(self, caller: Caller, key_id: str) -> Key | None: ...

    async def key_revoke(self, caller: Caller, key_id: str) -> None: ...

    async def user_add(self, caller: Caller, request: UserRequest, password_hash: str | None) -> User | None:
        """None when the tenant has a user with this address."""
        ...

    async def user_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[User]: ...

    async def user_get(self, caller: Caller, user_id: str) -> User | None: ...

    async def user_delete(self, caller: Caller, user_id: str) -> None:
        """Ends the user, with every refresh token."""
        ...

    async def client_add(
        self, caller: Caller, request: ClientRequest, secret_hash: bytes | None, scopes: Sequence[Scope]
    ) -> Client: ...

    async def client_list(self, caller: Caller, cursor: str | None, limit: int) -> Page[Client]: ...

    async def client_get(self, caller: Caller, client_id: str) -> Client | None: ...

    async def client_delete(self, caller: Caller, client_id: str) -> None: ...


class Grants(Protocol):
    """What the issuer reads and writes before anybody is signed in; a random secret's hash is what finds it."""

    async def client(self, client_id: str) -> OAuthClient | None: ...

    async def account_by_email(self, tenant_id: str, email: str) -> Account | None: ...

    async def account(self, tenant_id: str, user_id: str) -> Account | None: ...

    async def login_begin(self, tenant_id: str, email: str, now: datetime) -> datetime | None:
        """Counts a try at signing in; when it comes too early, counts nothing and returns when the next may come."""
        ...

    async def login_succeeded(self, tenant_id: str, email: str) -> None: ...

    async def code_add(self, digest: bytes, grant: CodeGrant) -> None: ...

    async def code_take(self, digest: bytes, client_id: str, now: datetime) -> CodeGrant | None:
        """The grant, once. A second try revokes every token that came of the first."""
        ...

    async def refresh_add(self, digest: bytes, grant: RefreshGrant) -> bool:
        """Begins a family; False when its code was tried again in the meantime."""
        ...

    async def refresh_rotate(
        self, digest: bytes, successor: bytes, client_id: str, now: datetime, permit: Callable[[RefreshGrant], object]
    ) -> RefreshGrant | None:
        """Replaces a refresh token by its successor, once, and returns the grant. A second try revokes the family.

        `permit` may raise on what is asked of the grant; then the token stays as it was.
        """
        ...

    async def refresh_revoke(self, digest: bytes, client_id: str, now: datetime) -> None: ...

    async def purge(self, now: datetime) -> None:
        """Deletes codes, refresh tokens and counts of tries that ended over a day ago."""
        ...


class SigningKeyStore(Protocol):
    """The issuer's signing keys."""

    async def key_list(self) -> list[StoredSigningKey]:
        """Newest first by `active_from`."""
        ...

    async def key_add(self, key: StoredSigningKey, after: str | None, delete_before: datetime) -> bool:
        """Adds `key` if `after` still is the one made last, under a lock; deletes those of no use any more.

        Returns whether it was added.
        """
        ...
