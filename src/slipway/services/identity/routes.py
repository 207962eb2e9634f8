"""HTTP of administration: `/v1/admin/…`. Another tenant's object answers exactly as an absent one does."""

from typing import Annotated

from fastapi import Path, Query, Response

from slipway.api.identity import (
    Client,
    ClientRequest,
    Key,
    KeyRequest,
    NewClient,
    NewKey,
    SigningKey,
    Tenant,
    TenantRequest,
    User,
    UserRequest,
)
from slipway.api.wire import Identifier, Page
from slipway.base.callers import Scope
from slipway.base.errors import Conflict, Forbidden, NotFound
from slipway.runtime.http.routes import CallerOf, Routes
from slipway.services.identity.service import IdentityService
from slipway.services.identity.signing import SigningKeys

Cursor = Annotated[Identifier | None, Query(description="The `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200)]
Id = Annotated[Identifier, Path()]
_NO_STORE = {"cache-control": "no-store"}


def routes(service: IdentityService, signing: SigningKeys) -> Routes:
    """Administration of tenants, keys, users, clients and signing keys."""
    routes = Routes("identity")
    _tenants(routes, service, signing)
    _keys(routes, service)
    _users(routes, service)
    _clients(routes, service)
    return routes


def _tenants(routes: Routes, service: IdentityService, signing: SigningKeys) -> None:
    access = Scope.TENANTS_ADMIN

    @routes.add("POST", "/v1/admin/tenants", access=access, status=201, response=Tenant, errors=(Conflict,))
    async def tenant_add(caller: CallerOf, request: TenantRequest) -> Tenant:
        """Adds a tenant."""
        return await service.tenant_add(caller, request)

    @routes.add("GET", "/v1/admin/tenants", access=access, response=Page[Tenant])
    async def tenant_list(caller: CallerOf, cursor: Cursor = None, limit: Limit = 50) -> Page[Tenant]:
        """Lists the tenants, newest first."""
        return await service.tenant_list(caller, cursor, limit)

    @routes.add("GET", "/v1/admin/tenants/{tenant_id}", access=access, response=Tenant, errors=(NotFound,))
    async def tenant_get(caller: CallerOf, tenant_id: Id) -> Tenant:
        """Shows a tenant."""
        return await service.tenant_get(caller, tenant_id)

    @routes.add(
        "POST",
        "/v1/admin/tenants/{tenant_id}/keys",
        access=access,
        status=201,
        response=NewKey,
        errors=(NotFound, Forbidden),
    )
    async def tenant_key_add(caller: CallerOf, tenant_id: Id, request: KeyRequest, response: Response) -> NewKey:
        """Makes a key of another tenant: how its first administrator gets in. The secret is shown once."""
        response.headers.update(_NO_STORE)
        return await service.key_add(caller, request, tenant_id)

    @routes.add("POST", "/v1/admin/signing-keys", access=access, status=201, response=SigningKey, errors=(Conflict,))
    async def signing_key_add(caller: CallerOf) -> SigningKey:  # noqa: ARG001 asked for by the scope
        """Publishes the built-in issuer's next signing key; it signs ten minutes later."""
        return await signing.rotate()


def _keys(routes: Routes, service: IdentityService) -> None:
    access = Scope.KEYS_ADMIN

    @routes.add("POST", "/v1/admin/keys", access=access, status=201, response=NewKey, errors=(Forbidden,))
    async def key_add(caller: CallerOf, request: KeyRequest, response: Response) -> NewKey:
        """Makes an API key. The secret is shown this once."""
        response.headers.update(_NO_STORE)
        return await service.key_add(caller, request)

    @routes.add("GET", "/v1/admin/keys", access=access, response=Page[Key])
    async def key_list(caller: CallerOf, cursor: Cursor = None, limit: Limit = 50) -> Page[Key]:
        """Lists the tenant's API keys, revoked ones too, newest first."""
        return await service.key_list(caller, cursor, limit)

    @routes.add("GET", "/v1/admin/keys/{key_id}", access=access, response=Key, errors=(NotFound,))
    async def key_get(caller: CallerOf, key_id: Id) -> Key:
        """Shows an API key, without its secret."""
        return await service.key_get(caller, key_id)

    @routes.add("DELETE", "/v1/admin/keys/{key_id}", access=access, status=204, errors=(NotFound, Forbidden))
    async def key_revoke(caller: CallerOf, key_id: Id) -> None:
        """Revokes an API key in every process within a second."""
        await service.key_revoke(caller, key_id)


def _users(routes: Routes, service: IdentityService) -> None:
    access = Scope.USERS_ADMIN

    @routes.add("POST", "/v1/admin/users", access=access, status=201, response=User, errors=(Conflict, Forbidden))
    async def user_add(caller: CallerOf, request: UserRequest) -> User:
        """Adds a user of the caller's tenant."""
        return await service.user_add(caller, request)

    @routes.add("GET", "/v1/admin/users", access=access, response=Page[User])
    async def user_list(caller: CallerOf, cursor: Cursor = None, limit: Limit = 50) -> Page[User]:
        """Lists the tenant's users, newest first."""
        return await service.user_list(caller, cursor, limit)

    @routes.add("GET", "/v1/admin/users/{user_id}", access=access, response=User, errors=(NotFound,))
    async def user_get(caller: CallerOf, user_id: Id) -> User:
        """Shows a user."""
        return await service.user_get(caller, user_id)

    @routes.add("DELETE", "/v1/admin/users/{user_id}", access=access, status=204, errors=(NotFound, Forbidden))
    async def user_delete(caller: CallerOf, user_id: Id) -> None:
        """Deletes a user: its tokens end within a second."""
        await service.user_delete(caller, user_id)


def _clients(routes: Routes, service: IdentityService) -> None:
    access = Scope.KEYS_ADMIN

    @routes.add("POST", "/v1/admin/clients", access=access, status=201, response=NewClient, errors=(Forbidden,))
    async def client_add(caller: CallerOf, request: ClientRequest, response: Response) -> NewClient:
        """Adds an OAuth client of the built-in issuer. Its secret is shown this once."""
        response.headers.update(_NO_STORE)
        return await service.client_add(caller, request)

    @routes.add("GET", "/v1/admin/clients", access=access, response=Page[Client])
    async def client_list(caller: CallerOf, cursor: Cursor = None, limit: Limit = 50) -> Page[Client]:
        """Lists the tenant's OAuth clients, newest first."""
        return await service.client_list(caller, cursor, limit)

    @routes.add("GET", "/v1/admin/clients/{client_id}", access=access, response=Client, errors=(NotFound,))
    async def client_get(caller: CallerOf, client_id: Id) -> Client:
        """Shows an OAuth client, without its secret."""
        return await service.client_get(caller, client_id)

    @routes.add("DELETE", "/v1/admin/clients/{client_id}", access=access, status=204, errors=(NotFound, Forbidden))
    async def client_delete(caller: CallerOf, client_id: Id) -> None:
        """Deletes an OAuth client: its tokens end within a second."""
        await service.client_delete(caller, client_id)
