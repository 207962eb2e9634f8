"""`/health`, `/ready` and `/metrics`: what an orchestrator, a person and Prometheus ask of a process.

`/health` answers as long as the process can answer; `/ready` names every part's checks and what is missing.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.responses import JSONResponse, Response

from slipway.base.errors import SlipwayError
from slipway.runtime.http.routes import Open, Routes
from slipway.runtime.part import Part, Work

_log = logging.getLogger(__name__)
_CHECK_TIMEOUT_S: Final = 3.0  # below the probe timeouts that orchestrators use (5 s)


class Readiness:
    """Runs the checks of every part at once."""

    def __init__(self, parts: Sequence[Part], checks: Mapping[str, Work]) -> None:
        self._checks = {**checks, **{f"{part.name}.{name}": run for part in parts for name, run in part.checks.items()}}
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self.started = False

    async def missing(self) -> dict[str, str]:
        """Each check that fails, with a sentence why; empty when the process can serve."""
        if not self.started:
            return {"start": "The process is still starting or already stopping."}
        names = list(self._checks)
        answers = await asyncio.gather(*(self._answer(name) for name in names))
        return {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}

    async def _answer(self, name: str) -> str | None:
        # A driver may wait for its server even after it was cancelled: such a check goes on by itself, one at a time.
        check = self._under_way.get(name)
        if check is None or check.done():
            check = self._under_way[name] = asyncio.ensure_future(self._checks[name]())
        done, _ = await asyncio.wait([check], timeout=_CHECK_TIMEOUT_S)
        if not done:
            check.cancel()
            return f"It did not answer within {_CHECK_TIMEOUT_S:g} s."
        error = asyncio.CancelledError() if check.cancelled() else check.exception()
        if error is None:
            return None
        if isinstance(error, SlipwayError):
            return error.public
        _log.error("the check %s failed: %s", name, error, exc_info=error)
        return "The check itself failed: the log says why."


def probe_routes(readiness: Readiness, parts: Sequence[Part]) -> Routes:
    """The routes that every process has."""
    routes = Routes("platform")
    open_to_probes = Open("probes carry no credential, and the answer holds nothing of a tenant")

    @routes.add("GET", "/health", access=open_to_probes)
    async def health() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "ok"}

    @routes.add("GET", "/ready", access=open_to_probes)
    async def ready() -> Response:
        """Whether the process can serve; names what is missing (503)."""
        missing = await readiness.missing()
        body = {"ready": not missing, "parts": [part.name for part in parts], "missing": missing}
        return JSONResponse(body, 503 if missing else 200)

    @routes.add("GET", "/metrics", access=Open("scraped inside the network; labels hold no tenant"))
    async def metrics() -> Response:
        """Prometheus's text format."""
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return routes
