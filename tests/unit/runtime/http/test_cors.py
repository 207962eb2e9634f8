"""Pages of other origins: those of the manifest may read what is answered, all others may not."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from slipway.app.assembly import assemble
from slipway.app.probes import Readiness
from slipway.runtime.http.cors import Cors
from tests.infra.synthesis import manifest_of

pytestmark = pytest.mark.anyio
SHOP = "https://shop.example.com"


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"asked": scope["method"]}, 401)(scope, receive, send)


@pytest.fixture
def ask() -> Callable[..., Any]:
    async def asked(method: str, origin: str | None, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(Cors(answering, [SHOP]))
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if origin is not None:
            given["origin"] = origin
        async with httpx.AsyncClient(transport=transport, base_url="http://platform") as client:
            return await client.request(method, "/v1/chat", headers=given)

    return asked


@pytest.mark.requirement("API-02", "R")
async def test_a_page_of_the_manifest_may_read_every_answer_also_a_refusal(ask: Callable[..., Any]) -> None:
    answer = await ask("POST", SHOP)
    assert (answer.status_code, answer.json()) == (401, {"asked": "POST"})
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.requirement("API-02", "R")
async def test_its_preflight_is_answered_without_a_token(ask: Callable[..., Any]) -> None:
    answer = await ask("OPTIONS", SHOP, access_control_request_method="POST")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "http://shop.example.com", f"{SHOP}.evil", "null", None]
)
async def test_another_page_may_not(ask: Callable[..., Any], origin: str | None) -> None:
    for answer in (await ask("POST", origin), await ask("OPTIONS", origin, access_control_request_method="POST")):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "origin"


async def test_what_asks_for_options_and_is_no_preflight_reaches_the_application(ask: Callable[..., Any]) -> None:
    assert (await ask("OPTIONS", SHOP)).json() == {"asked": "OPTIONS"}


def test_the_manifests_pages_and_its_console_are_those() -> None:
    assert manifest_of("rag-assistant", "prod").edge.origins == (SHOP,)
    assert manifest_of("agent-gateways", "prod").edge.origins == ("https://console.gateways.example.com",)
    assert manifest_of("microservices", "prod").edge.origins == ()


def test_without_pages_there_is_nothing_in_between() -> None:
    readiness = Readiness([], {})
    assert not isinstance(assemble([], None, readiness), Cors)
    assert isinstance(assemble([], None, readiness, [SHOP]), Cors)
