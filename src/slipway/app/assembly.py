"""One ASGI application from the parts of a process.

From the outside in: the hot routes, which are bare ASGI; then request id, metrics and log line, cancellation when the
client is gone, and FastAPI for everything else. Hot routes have all of that but the log line, in cheaper forms.
"""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway import __version__
from slipway.app.openapi import document
from slipway.app.probes import Readiness, probe_routes
from slipway.runtime.authentication import Authenticator
from slipway.runtime.http import problems
from slipway.runtime.http.cancellation import CancelOnDisconnect
from slipway.runtime.http.cors import Cors
from slipway.runtime.http.observation import Observed, observed_hot
from slipway.runtime.http.paths import is_hidden, refuse
from slipway.runtime.http.routes import HotRoute
from slipway.runtime.part import Part


def assemble(
    parts: Sequence[Part], authenticator: Authenticator, readiness: Readiness, origins: Sequence[str] = ()
) -> ASGIApp:
    """The application that a server runs; pages of `origins` may call it from a browser."""
    hot_routes = [route for part in parts for route in part.hot_routes]
    app = framework_app(parts, authenticator, readiness, hot_routes)
    dispatch = HotDispatch(hot_routes, Observed(CancelOnDisconnect(app)), Observed(refuse))
    return Cors(dispatch, origins) if origins else dispatch


def framework_app(
    parts: Sequence[Part], authenticator: Authenticator, readiness: Readiness, hot_routes: Sequence[HotRoute]
) -> FastAPI:
    """Every route that FastAPI serves, and the OpenAPI document of all of them."""
    # A slash too many is a 404: the framework would redirect to whatever host the request claims, and an `http:` one
    # behind a front door that ends TLS.
    app = FastAPI(title="Slipway", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.authenticator = authenticator
    problems.install(app)
    app.include_router(probe_routes(readiness, parts).router)
    for part in parts:
        for routes in part.routes:
            app.include_router(routes.router)
    app.openapi = lambda: document(app, hot_routes)  # type: ignore[method-assign]
    return app


class HotDispatch:
    """Sends a request to its hot route by exact path, or by what stands before the `{id}` that a path ends in.

    The id may hold slashes: names of models do. A path whose encoding hides where it leads goes to `refused`, whoever's
    route it would have reached.
    """

    def __init__(self, routes: Sequence[HotRoute], otherwise: ASGIApp, refused: ASGIApp) -> None:
        self._exact = {(route.method, route.path): route for route in routes if "{" not in route.path}
        self._prefixes = [(route.method, route.path.partition("{")[0], route) for route in routes if "{" in route.path]
        self._allowed: dict[str, tuple[str, ...]] = {}
        for method, path in self._exact:
            self._allowed[path] = (*self._allowed.get(path, ()), method)
        self._names_below = tuple(prefix.encode() for _, prefix, _ in self._prefixes)
        self._otherwise = otherwise
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if b"%" in scope["raw_path"] and is_hidden(scope["raw_path"], self._names_below):
                await self._refused(scope, receive, send)
                return
            method, path = scope["method"], scope["path"]
            route = self._exact.get((method, path)) or self._below_prefix(method, path)
            if route is not None:
                scope["slipway.route"] = route.path
                await observed_hot(route.app, scope, receive, send)
                return
            if path in self._allowed:  # `problems` says so when no other route is there either
                scope["slipway.allowed"] = self._allowed[path]
        await self._otherwise(scope, receive, send)

    def _below_prefix(self, method: str, path: str) -> HotRoute | None:
        for known, prefix, route in self._prefixes:
            if known == method and len(path) > len(prefix) and path.startswith(prefix):
                return route
        return None
