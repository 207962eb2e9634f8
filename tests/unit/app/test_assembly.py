"""Which application a request reaches: a hot route by its exact path or its pattern, FastAPI for all else."""

from urllib.parse import unquote

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
        # names of models, as OpenAI's clients write them
        ("GET", "/v1/models/org/a", "view"),
        ("GET", "/v1/models/org%2Fa", "view"),
        ("GET", "/v1/models/org%2fa%3A7b%40x", "view"),
        ("GET", "/v1/models/a%252e", "view"),
        # what needs its encoding leads nowhere else
        ("GET", "/v1/caf%C3%A9%20%25", "framework"),
        ("GET", "/v1/models%3F", "framework"),
        # a route of ours in a spelling that hides it
        ("GET", "/v1/%6dodels", "refused"),
        ("GET", "/v1/%6Dodels/a", "refused"),
        ("GET", "/v1/%6dodels%2fplain", "refused"),
        ("GET", "/v1/models%2fa", "refused"),
        ("GET", "/v1%2Fmodels", "refused"),
        ("GET", "/%2e/v1/models", "refused"),
        ("GET", "/v1/x/%2E%2e/models", "refused"),
        ("GET", "/v1/models/%2e%2e/usage", "refused"),
        ("GET", "/v1/models/..%2fusage", "refused"),
        ("GET", "/v1/models/a%2f.%2fb", "refused"),
        ("GET", "/v1/models/a%2F..", "refused"),
        ("GET", "/v1/models/a%5cb", "refused"),
        ("GET", "/v1/models/a%00", "refused"),
        ("GET", "/v1/models/a%0d%0ab", "refused"),
        ("GET", "/v1/models/%61", "refused"),
        ("POST", "/v1/chat%2Fcompletions", "refused"),
        ("GET", "/v1/other%2fa", "refused"),
        ("GET", "/v1/oth%65r", "refused"),
        ("GET", "/v1/other%5Ca", "refused"),
        ("GET", "/v1/other%00", "refused"),
    ],
)
async def test_a_request_reaches_its_route(method: str, path: str, name: str):
    seen: list[str] = []
    routes = [
        HotRoute("GET", "/v1/models", Reached("list", seen), Right.MODELS_USE, ""),
        HotRoute("GET", "/v1/models/{model}", Reached("view", seen), Right.MODELS_USE, ""),
    ]
    scope: Scope = {"type": "http", "method": method, "path": unquote(path), "raw_path": path.encode(), "headers": []}

    async def receive() -> dict:
        raise AssertionError("nothing is read")

    async def send(message: dict) -> None:
        raise AssertionError("nothing is sent")

    await HotDispatch(routes, Reached("framework", seen), Reached("refused", seen))(scope, receive, send)
    assert seen == [name]
    assert scope.get("slipway.route") == {"list": "/v1/models", "view": "/v1/models/{model}"}.get(name)
