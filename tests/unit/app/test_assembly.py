"""Which application a request reaches: a hot route by its exact path or its pattern, FastAPI for all else."""

import pytest
from starlette.types import Receive, Scope, Send

from slipway.app.assembly import HotDispatch
from slipway.base.callers import Scope as Right
from slipway.runtime.http.routes import HotRoute

pytestmark = pytest.mark.anyio


class Reached:
    """An application that notes its name."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(self.name)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/models", "list"),
        ("GET", "/v1/models/a", "view"),
        ("GET", "/v1/models/", "framework"),
        ("POST", "/v1/models", "framework"),
        ("POST", "/v1/models/a", "framework"),
        ("GET", "/v1/other/a", "framework"),
        ("GET", "/", "framework"),
    ],
)
async def test_a_request_reaches_its_route(method: str, path: str, name: str):
    seen: list[str] = []
    routes = [
        HotRoute("GET", "/v1/models", Reached("list", seen), Right.MODELS_USE, ""),
        HotRoute("GET", "/v1/models/{model}", Reached("view", seen), Right.MODELS_USE, ""),
    ]
    scope: Scope = {"type": "http", "method": method, "path": path}

    async def receive() -> dict:
        raise AssertionError("nothing is read")

    async def send(message: dict) -> None:
        raise AssertionError("nothing is sent")

    await HotDispatch(routes, Reached("framework", seen))(scope, receive, send)
    assert seen == [name]
    assert scope.get("slipway.route") == {"list": "/v1/models", "view": "/v1/models/{model}"}.get(name)
