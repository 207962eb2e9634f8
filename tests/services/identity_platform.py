"""The identity part on a real PostgreSQL behind HTTP, with a clock that the test moves."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import httpx
import psycopg
from fastapi import FastAPI

from slipway.base.callers import ROLE_SCOPES, Caller, Role, Scope
from slipway.base.ids import new_id
from slipway.runtime.authentication.authenticator import CredentialAuthenticator, build_authenticator
from slipway.runtime.authentication.internal import InternalTokens, derived_key
from slipway.runtime.authentication.issuers import OwnIssuer
from slipway.runtime.database import Database
from slipway.runtime.http import problems
from slipway.services.identity.adapter_postgres import PostgresDirectory
from slipway.services.identity.adapter_postgres_grants import PostgresGrants, PostgresSigningKeys
from slipway.services.identity.issuer import Issuer
from slipway.services.identity.routes import routes
from slipway.services.identity.routes_issuer import routes_issuer
from slipway.services.identity.service import IdentityService
from slipway.services.identity.signing import SigningKeys
from tests.unit.runtime.authentication.conftest import Keys, StillClock

URL = "http://127.0.0.1:8700"
SECRET = b"t" * 32


@dataclass(frozen=True)
class IdentityPlatform:
    """One process's worth of identity."""

    client: httpx.AsyncClient
    clock: StillClock
    authenticator: CredentialAuthenticator
    signing: SigningKeys
    issuer: Issuer
    keys: Keys
    app_url: str

    def tenant(self) -> str:
        """A new tenant's id."""
        tenant_id = new_id("ten")
        with psycopg.connect(self.app_url) as connection:
            connection.execute("SET LOCAL ROLE slipway_platform")
            connection.execute("INSERT INTO tenant (id, name) VALUES (%s, 'T')", (tenant_id,))
        return tenant_id

    def credential(self, tenant_id: str, role: Role, scopes: Iterable[Scope] | None = None) -> dict[str, str]:
        """The headers of a new API key."""
        _, key = self.keys.add(tenant_id, role, frozenset(scopes or ROLE_SCOPES[role]))
        return {"authorization": f"Bearer {key.secret}"}

    async def forward(self, seconds: float) -> None:
        """Moves the clock; what is read back by polls is read at the next use."""
        self.clock.forward(seconds)

    async def caller(self, credential: str) -> Caller:
        return await self.authenticator.authenticate(credential)


@contextlib.asynccontextmanager
async def identity_platform(app_url: str, database: Database) -> AsyncIterator[IdentityPlatform]:
    clock, own = StillClock(), OwnIssuer(URL)
    authenticator = build_authenticator(database, InternalTokens([SECRET]), own_issuer=own, clock=clock)
    signing = SigningKeys(PostgresSigningKeys(database), [SECRET], clock)
    with psycopg.connect(app_url) as connection:
        connection.execute("SET LOCAL ROLE slipway_platform")
        connection.execute("DELETE FROM signing_key")
    await signing.start()
    issuer = Issuer(
        PostgresGrants(database),
        signing,
        own,
        tenant_claim="merchant_id",
        form_key=derived_key(SECRET, "login forms"),
        clock=clock,
    )
    app = FastAPI()
    problems.install(app)
    app.state.authenticator = authenticator
    app.include_router(routes(IdentityService(PostgresDirectory(database), clock), signing).router)
    app.include_router(routes_issuer(issuer, URL).router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield IdentityPlatform(client, clock, authenticator, signing, issuer, Keys(app_url), app_url)
