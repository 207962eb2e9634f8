"""What the tests of credentials share: a clock that stands still, keys in the database, an authenticator over both."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from slipway.base.callers import ROLE_SCOPES, Role, Scope
from slipway.base.ids import new_id
from slipway.runtime.authentication.api_keys import MadeKey, api_key_make
from slipway.runtime.authentication.authenticator import CredentialAuthenticator, build_authenticator
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database


class StillClock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)
        self.elapsed_s = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.elapsed_s += seconds


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def tokens() -> InternalTokens:
    return InternalTokens([b"s" * 32])


@pytest.fixture
def authenticator(database: Database, tokens: InternalTokens, clock: StillClock) -> CredentialAuthenticator:
    return build_authenticator(database, tokens, clock=clock)


class Keys:
    """API keys in the database, written as an operator would."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(
        self,
        tenant_id: str,
        role: Role = Role.SERVICE,
        scopes: frozenset[Scope] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[str, MadeKey]:
        key, key_id = api_key_make(), new_id("key")
        with psycopg.connect(self._url) as connection:
            connection.execute("SET LOCAL ROLE slipway_platform")
            connection.execute(
                "INSERT INTO api_key (tenant_id, id, name, prefix, hash, role, scopes, created_by, expires_at)"
                " VALUES (%s, %s, 'k', %s, %s, %s, %s, 'test', %s)",
                (tenant_id, key_id, key.prefix, key.hash, role, sorted(scopes or ROLE_SCOPES[role]), expires_at),
            )
        return key_id, key

    def revoke(self, tenant_id: str, key_id: str) -> None:
        with psycopg.connect(self._url) as connection:
            connection.execute("SELECT set_config('slipway.tenant', %s, true)", (tenant_id,))
            connection.execute("SET LOCAL ROLE slipway_app")
            updated = connection.execute("UPDATE api_key SET revoked_at = now() WHERE id = %s", (key_id,))
            assert updated.rowcount == 1


@pytest.fixture
def keys(postgres) -> Keys:
    return Keys(postgres.app_url)
