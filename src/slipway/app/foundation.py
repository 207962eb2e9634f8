"""Builds what every part is wired from: manifest, stores, secrets, authenticator, and where the other parts are."""

import asyncio
import base64
import binascii
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway.app.home import Home
from slipway.base.clock import SystemClock
from slipway.base.errors import Misconfigured
from slipway.manifest import default_manifest, load
from slipway.manifest.catalog import CATALOG
from slipway.manifest.loading import parse
from slipway.manifest.problems import ManifestProblems
from slipway.manifest.schema import Manifest
from slipway.manifest.source import Unreadable
from slipway.runtime.authentication.authenticator import CredentialAuthenticator, build_authenticator
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.authentication.issuers import IssuerConfig, own_issuer_of
from slipway.runtime.database import Database
from slipway.runtime.database_login import DatabaseAddress, address_url, admit, app_address, owner_url
from slipway.runtime.migrations import migrate, require_current
from slipway.runtime.objects.stores import open_objects
from slipway.runtime.part import Address, Foundation
from slipway.runtime.postgres import EmbeddedPostgres, supervise
from slipway.runtime.settings import Settings

_log = logging.getLogger(__name__)

MANIFEST_NAME = "slipway.yaml"


@dataclass(frozen=True)
class Stores:
    """The database of this process: its addresses, and what keeps an embedded one alive."""

    app_url: DatabaseAddress
    owner_url: str | None
    keep_alive: Callable[[], Awaitable[None]] | None


def load_manifest(settings: Settings) -> Manifest:
    """The manifest that settings name, or `slipway.yaml` here, or the default one; raises Misconfigured."""
    if settings.manifest_text is not None:
        return _manifest_of_text(settings)
    path = settings.manifest
    if path is None and Path(MANIFEST_NAME).exists():
        path = Path(MANIFEST_NAME)
    if path is None:
        if settings.environment is not None:
            raise Misconfigured(
                f"There is no {MANIFEST_NAME} here, so there is no environment {settings.environment!r}."
            )
        return default_manifest()
    return load(path, settings.environment).manifest


def _manifest_of_text(settings: Settings) -> Manifest:
    """The manifest that stands in the environment, already that of one environment."""
    name = "SLIPWAY_MANIFEST_TEXT"
    if settings.manifest is not None or settings.environment is not None:
        raise Misconfigured(f"{name} is the manifest of one environment: leave out SLIPWAY_MANIFEST and _ENVIRONMENT.")
    try:
        return parse(settings.manifest_text or "", name).loaded(None).manifest
    except Unreadable as refused:
        raise ManifestProblems(name, (refused.problem,), unreadable=True) from refused


@asynccontextmanager
async def open_stores(settings: Settings, home: Home) -> AsyncIterator[Stores]:
    """The PostgreSQL that settings name, or the embedded one of the home, started here and stopped at the end."""
    address = app_address(settings)
    if address is not None:
        yield Stores(address, owner_url(settings), None)
        return
    server = EmbeddedPostgres(home.path)
    addresses = await asyncio.to_thread(server.start)

    async def keep_alive() -> None:
        await supervise(server)

    try:
        yield Stores(addresses.app_url, addresses.owner_url, keep_alive)
    finally:
        await asyncio.to_thread(server.stop)


def secrets_of(settings: Settings, home: Home) -> list[bytes]:
    """The platform's secrets, newest first: from settings, or the home's own.

    Raises Misconfigured when processes must share one and none is set.
    """
    if settings.secret_key is None:
        if (settings.database_url or settings.database_host) is not None and any(
            settings.peer_url(name) for name in CATALOG
        ):
            raise Misconfigured(
                "Parts in several processes need a common SLIPWAY_SECRET_KEY: write one with `openssl rand -base64 48`."
            )
        return [home.secret()]
    secrets = []
    for text in settings.secret_key.get_secret_value().split(","):
        try:
            secrets.append(base64.b64decode(text.strip(), validate=True))
        except (binascii.Error, ValueError):
            secrets.append(text.strip().encode())
    return secrets


def addresses_of(settings: Settings, names: Sequence[str], socket: Path) -> Mapping[str, Address]:
    """Where each part is: behind the socket of this process, or at the URL that settings give."""
    addresses = {name: Address("http://parts", socket) for name in names}
    for name in CATALOG:
        url = settings.peer_url(name)
        if url is not None and name not in addresses:
            addresses[name] = Address(url.rstrip("/"))
    return addresses


@dataclass(frozen=True)
class Grounds:
    """A foundation with what must run beside it."""

    foundation: Foundation
    authenticator: CredentialAuthenticator
    keep_alive: Callable[[], Awaitable[None]] | None


@asynccontextmanager
async def open_foundation(
    settings: Settings, manifest: Manifest, home: Home, names: Sequence[str], socket: Path, url: str
) -> AsyncIterator[Grounds]:
    """Opens every store in order, migrates, and closes them in reverse."""
    async with contextlib.AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings, home))
        await _bring_up_to_date(settings, stores)
        database = await Database.open(stores.app_url, max_connections=settings.database_pool_size)
        stack.push_async_callback(database.close)
        # A pool of its own: a busy one must not hold back a revocation.
        credentials = await Database.open(stores.app_url, max_connections=3, name="slipway credentials")
        stack.push_async_callback(credentials.close)
        secrets, clock = secrets_of(settings, home), SystemClock()
        tokens = InternalTokens(secrets)
        authenticator = build_authenticator(
            credentials,
            tokens,
            issuers=issuers_of(manifest, settings),
            own_issuer=own_issuer_of(settings, url),
            clock=clock,
        )
        foundation = Foundation(
            settings=settings,
            manifest=manifest,
            database=database,
            database_url=stores.app_url,
            database_owner_url=stores.owner_url,
            objects=open_objects(settings, home.path, secrets, url),
            authenticator=authenticator,
            tokens=tokens,
            secrets=secrets,
            addresses=addresses_of(settings, names, socket),
            url=url,
            clock=clock,
        )
        yield Grounds(foundation, authenticator, stores.keep_alive)


async def _bring_up_to_date(settings: Settings, stores: Stores) -> None:
    """Migrates, or, without the owner's login, makes sure that somebody has."""
    if stores.owner_url is None:
        await asyncio.to_thread(require_current, await address_url(stores.app_url))
        return
    applied = await asyncio.to_thread(migrate, stores.owner_url)
    if applied:
        _log.info("migrated the database: %s", ", ".join(applied))
    if settings.database_host is not None and settings.database_user is not None:
        await asyncio.to_thread(admit, stores.owner_url, settings.database_user)


def issuers_of(manifest: Manifest, settings: Settings) -> list[IssuerConfig]:
    """The foreign issuers that the manifest accepts, and the platform's own user pool.

    Raises Misconfigured for a pool without clients.
    """
    return [*_pool_of(manifest, settings), *_declared_issuers(manifest)]


def _pool_of(manifest: Manifest, settings: Settings) -> list[IssuerConfig]:
    if settings.user_pool_issuer is None:
        return []
    audiences = [name.strip() for name in settings.user_pool_audiences.split(",") if name.strip()]
    if not audiences:
        raise Misconfigured("SLIPWAY_USER_POOL_ISSUER is set, but SLIPWAY_USER_POOL_AUDIENCES names no client of it.")
    return [
        IssuerConfig(
            issuer=settings.user_pool_issuer,
            audience=audiences[0],
            more_audiences=tuple(audiences[1:]),
            tenant_claim=manifest.tenant_claim,
            roles_claim="roles",  # written by the pre-token function, from the pool's groups
            ours=True,
        )
    ]


def _declared_issuers(manifest: Manifest) -> list[IssuerConfig]:
    return [
        IssuerConfig(
            issuer=issuer.issuer,
            audience=issuer.audience,
            tenant_claim=issuer.tenant_claim or manifest.tenant_claim,
            roles_claim=issuer.roles_claim,
        )
        for issuer in manifest.identity.issuers
    ]
