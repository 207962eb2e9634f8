"""A gateway served for a test: the real application over real HTTP, on a thread of its own."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn

from slipway.app.assembly import assemble
from slipway.app.heads import BoundedHeads
from slipway.app.probes import Readiness
from slipway.base.callers import ADMIN_SCOPES, Caller, Scope
from slipway.base.clock import SystemClock
from slipway.manifest.schema import Manifest
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.database import Database
from slipway.runtime.objects.stores import open_objects
from slipway.runtime.outbound import Deadlines
from slipway.runtime.part import Foundation, Part
from slipway.runtime.postgres import EmbeddedAddresses
from slipway.runtime.settings import Settings
from slipway.services.gateway.attempts import Policy
from slipway.services.gateway.wiring import wire
from tests.services.provider_simulator import KEY
from tests.services.simulator_bedrock import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY

SECRETS = [b"a secret of this test run, 32 bytes"]
TOKENS = InternalTokens(SECRETS)
DEADLINES = Deadlines(connect_s=1.0, first_byte_s=0.5, total_s=2.0)
POLICY = Policy(attempts=3, backoff_s=0.01)
NEVER_OPENS = 10**9  # failures: tests share their models
MODELS = (
    *("plain", "slow", "unnumbered", "roleless", "uncounted", "recovers", "midway", "cut", "stalls", "silent"),
    *("rate-limited", "no-money", "broken", "overloaded", "strict", "redirect", "not-json", "wrong-key"),
    *("tools", "images", "limited", "stopped", "severed", "together"),
)
# What the simulators of Anthropic and Bedrock do under the same names, behind the provider's here.
ELSEWHERE = (
    *("plain", "slow", "recovers", "midway", "cut", "severed", "silent", "rate-limited", "broken", "overloaded"),
    *(
        "strict",
        "redirect",
        "not-json",
        "wrong-key",
        "tools",
        "images",
        "limited",
        "stopped",
        "thinking",
        "together",
        "stalls",
    ),
)


class TokenAuthenticator:
    """Verifies the platform's internal tokens, which make a caller without a table of keys."""

    async def authenticate(self, credential: str) -> Caller:
        return TOKENS.verify(credential)


def credential(caller: Caller, *scopes: Scope) -> str:
    """A credential of `caller` for a client."""
    return TOKENS.mint(caller, scopes or caller.scopes - ADMIN_SCOPES, actor="test")


def manifest(upstream: str, anthropic: str | None = None, bedrock: str | None = None) -> Manifest:
    """The built-in models, and one for each behaviour of each simulator, at $2.50 and $10 a million tokens."""
    price = {"prompt": "$2.50", "completion": "$10"}
    remote = {
        "provider": "openai",
        "base_url": f"{upstream}/v1",
        "api_key_env": "UPSTREAM_KEY",
        "price_per_million_tokens": price,
    }
    available: dict[str, Any] = {name: {**remote, "id": name} for name in MODELS}
    available["vectors"] = {**remote, "id": "vectors", "kind": "embeddings"}
    available["fallen"] = {**remote, "id": "broken", "fallback": ("redirect-unused", "plain")}
    available["org/model:7b@x"] = {**remote, "id": "plain"}
    available["redirect-unused"] = {**remote, "id": "overloaded"}
    available["hurried"] = {**remote, "id": "silent", "first_byte": "200ms"}
    available["keyless"] = {**remote, "id": "plain", "api_key_env": "NO_SUCH_KEY"}
    available["unreachable"] = {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "id": "plain"}
    available["claude"] = {"provider": "bedrock", "id": "anthropic.claude", "fallback": ("plain",)}
    available["titan"] = {"provider": "bedrock", "id": "amazon.titan"}
    if anthropic is not None:
        theirs = {"provider": "anthropic", "base_url": anthropic, "api_key_env": "UPSTREAM_KEY"}
        for name in ELSEWHERE:
            available[f"anthropic-{name}"] = {**theirs, "id": name, "price_per_million_tokens": price}
    if bedrock is not None:
        aws = {"provider": "bedrock", "base_url": bedrock, "region": REGION, "price_per_million_tokens": price}
        for name in ELSEWHERE:
            available[f"bedrock-{name}"] = {**aws, "id": f"anthropic.{name}-v1:0"}
    # No tenant is on it unless its test says so.
    plans = {"budgeted": {"tokens_per_month": 1_000_000, "max_output_tokens": 100}}
    return Manifest.model_validate({"slipway": 1, "name": "test", "models": {"available": available}, "plans": plans})


@dataclass
class Served:
    """A running gateway."""

    url: str
    part: Part
    loop: asyncio.AbstractEventLoop


def secret(variable: str) -> str | None:
    """The environment of the gateway: one provider's key."""
    return {"UPSTREAM_KEY": KEY}.get(variable)


@contextlib.contextmanager
def served_app(app) -> Iterator[str]:
    """Serves an ASGI application on a free port of loopback; yields its URL."""
    with _serving(lambda _: _ready(app)) as (url, _loop):
        yield url


@contextlib.contextmanager
def aws_credentials() -> Iterator[None]:
    """The simulated Bedrock's credentials, where AWS's SDKs look for them, and no other."""
    variables = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextlib.contextmanager
def served_gateway(
    home: Path,
    postgres: EmbeddedAddresses,
    upstream: str,
    *,
    anthropic: str | None = None,
    bedrock: str | None = None,
    deadlines: Deadlines = DEADLINES,
) -> Iterator[Served]:
    """Serves the gateway as `slipway serve --target gateway` does."""
    parts: list[Part] = []
    models = manifest(upstream, anthropic, bedrock)

    @contextlib.asynccontextmanager
    async def gateway(url: str):
        database = await Database.open(postgres.app_url, max_connections=5)
        part = wire(
            foundation(home, postgres, database, models, url),
            secret=secret,
            deadlines=deadlines,
            policy=POLICY,
            failures=NEVER_OPENS,
        )
        parts.append(part)
        readiness = Readiness([part], {})
        readiness.started = True
        tasks = [asyncio.create_task(_run(work)) for work in part.run.values()]
        try:
            yield assemble([part], TokenAuthenticator(), readiness)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for work in reversed(part.stop):
                await work()
            await database.close()

    with aws_credentials(), _serving(gateway) as (url, loop):
        yield Served(url, parts[0], loop)


def foundation(
    home: Path, postgres: EmbeddedAddresses, database: Database, models: Manifest, url: str = "http://127.0.0.1"
) -> Foundation:
    """What a gateway is wired from."""
    return Foundation(
        settings=Settings(home=home),
        manifest=models,
        database=database,
        database_url=postgres.app_url,
        database_owner_url=postgres.owner_url,
        objects=open_objects(Settings(home=home), home, SECRETS, url),
        authenticator=TokenAuthenticator(),
        tokens=TOKENS,
        secrets=SECRETS,
        addresses={},
        url=url,
        clock=SystemClock(),
    )


async def _run(work) -> None:
    await work()


@contextlib.asynccontextmanager
async def _ready(app):
    yield app


@contextlib.contextmanager
def _serving(make) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    loops: list[asyncio.AbstractEventLoop] = []
    servers: list[uvicorn.Server] = []
    failures: list[BaseException] = []

    async def main() -> None:
        async with make(url) as app:
            config = uvicorn.Config(
                app,
                http=BoundedHeads,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=2,
            )
            server = uvicorn.Server(config)
            loops.append(asyncio.get_running_loop())
            servers.append(server)
            await server.serve(sockets=[listener])

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="served")
    thread.start()
    try:
        deadline_s = time.monotonic() + 20
        while not (servers and servers[0].started):
            assert thread.is_alive(), failures
            assert time.monotonic() < deadline_s, "the server did not start"
            time.sleep(0.01)
        yield url, loops[0]
    finally:
        if servers:
            servers[0].should_exit = True
        thread.join(30)
        listener.close()
    assert not failures, failures


def put_on_plan(postgres: EmbeddedAddresses, caller: Caller, plan: str) -> None:
    """Puts the caller's tenant on a plan: known at once when this is before its first request."""
    with psycopg.connect(postgres.app_url) as connection:
        connection.execute("SET LOCAL ROLE slipway_platform")
        row = (caller.tenant_id, "tenant", plan)
        connection.execute("INSERT INTO plan_assignment (tenant_id, subject, plan) VALUES (%s, %s, %s)", row)


def usage_rows(served: Served, caller: Caller, expected: int, **query: Any) -> list[dict[str, Any]]:
    """The tenant's usage rows once there are `expected`, waiting a little, for they are written behind the answers."""
    headers = {"authorization": f"Bearer {credential(caller, Scope.USAGE_READ)}"}
    deadline_s = time.monotonic() + 5
    while True:
        response = httpx.get(f"{served.url}/v1/usage", params={"limit": 1000, **query}, headers=headers)
        assert response.status_code == 200, response.text
        rows: list[dict[str, Any]] = response.json()["items"]
        if len(rows) >= expected or time.monotonic() > deadline_s:
            return rows
        time.sleep(0.02)
