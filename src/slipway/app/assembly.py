"""One ASGI application from the parts of a process.

From the outside in: request id, metrics and log line; cancellation when the client is gone; the hot routes, which are
bare ASGI; FastAPI for everything else.
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
from slipway.runtime.http.observation import Observed
from slipway.runtime.http.routes import HotRoute
from slipway.runtime.part import Part


def assemble(parts: Sequence[Part], authenticator: Authenticator, readiness: Readiness) -> ASGIApp:
    """The application that a server runs."""
    hot_routes = [route for part in parts for route in part.hot_routes]
    app = framework_app(parts, authenticator, readiness, hot_routes)
    return Observed(CancelOnDisconnect(HotDispatch(hot_routes, app)))


def framework_app(
    parts: Sequence[Part], authenticator: Authenticator, readiness: Readiness, hot_routes: Sequence[HotRoute]
) -> FastAPI:
    """Every route that FastAPI serves, and the OpenAPI document of all of them."""
    app = FastAPI(title="Slipway", version=__version__, docs_url=None, redoc_url=None)
    app.state.authenticator = authenticator
    problems.install(app)
    app.include_router(probe_routes(readiness, parts).router)
    for part in parts:
        for routes in part.routes:
            app.include_router(routes.router)
    app.openapi = lambda: document(app, hot_routes)  # type: ignore[method-assign]
    return app


class HotDispatch:
    """Sends a request to its hot route by exact path, or by the path up to its last segment for `…/{id}` routes."""

    def __init__(self, routes: Sequence[HotRoute], otherwise: ASGIApp) -> None:
        self._exact = {(route.method, route.path): route for route in routes if "{" not in route.path}
        self._by_prefix = {
            (route.method, route.path.rpartition("{")[0]): route for route in routes if "{" in route.path
        }
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            route = self._exact.get((method, path))
            if route is None and self._by_prefix:
                prefix, slash, last = path.rpartition("/")
                route = self._by_prefix.get((method, prefix + slash)) if last else None
            if route is not None:
                scope["slipway.route"] = route.path
                await route.app(scope, receive, send)
                return
        await self._otherwise(scope, receive, send)
