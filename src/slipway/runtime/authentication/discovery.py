"""Keys of a foreign issuer, found by OpenID Connect discovery and kept while they are good.

Fetched when first needed and again every ten minutes, and at once (but at most every 30 s) when a token names a key
that is not known. When the issuer does not answer, the keys last fetched stay good for 24 hours. Redirects are refused:
they would let an issuer's web server send us into our own network.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import httpx

from slipway.base.clock import Clock
from slipway.base.errors import SlipwayError, Unavailable, UpstreamFailed
from slipway.runtime.authentication.issuers import is_safe_url
from slipway.runtime.authentication.jwks import VerificationKey, matching, verification_keys

_REFRESH_S: Final = 600.0
_UNKNOWN_KEY_EVERY_S: Final = 30.0
_RETRY_EVERY_S: Final = 5.0
_OUTAGE_S: Final = 24 * 3600.0
_DEADLINE_S: Final = 5.0
_MAX_BYTES: Final = 512 * 1024  # arbitrary; a set of three keys takes 2 KiB

Fetch = Callable[[], httpx.AsyncClient]


def fetch_client() -> httpx.AsyncClient:
    """A client for discovery: short deadlines, no redirects, no proxy from the environment."""
    return httpx.AsyncClient(timeout=_DEADLINE_S, follow_redirects=False, trust_env=False)


class DiscoveredKeys:
    """The keys of one issuer."""

    def __init__(self, issuer: str, clock: Clock, client: Fetch = fetch_client) -> None:
        self._issuer, self._clock, self._client = issuer, clock, client
        self._keys: list[VerificationKey] = []
        self._fetched_at_s = float("-inf")
        self._tried_at_s = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def keys(self, kid: str | None) -> list[VerificationKey]:
        """The keys that may have signed a token with `kid`, fetched when they have to be.

        Raises Unavailable when there are none because the issuer does not answer.
        """
        now_s = self._clock.monotonic_s()
        if self._is_due(kid, now_s):
            async with self._one_at_a_time:
                now_s = self._clock.monotonic_s()
                if self._is_due(kid, now_s):
                    self._tried_at_s = now_s
                    await self._refresh(now_s)
        if now_s - self._fetched_at_s > _OUTAGE_S:
            raise Unavailable(
                "The issuer of this token does not answer: try again shortly.", retry_after_s=_RETRY_EVERY_S
            )
        return matching(self._keys, kid)

    def _is_due(self, kid: str | None, now_s: float) -> bool:
        age_s = now_s - self._fetched_at_s
        if age_s > _REFRESH_S:
            return now_s - self._tried_at_s >= _RETRY_EVERY_S
        return not matching(self._keys, kid) and now_s - self._tried_at_s >= _UNKNOWN_KEY_EVERY_S

    async def _refresh(self, now_s: float) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_S), self._client() as client:
                configuration = await self._get(client, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
                if str(configuration.get("issuer")).rstrip("/") != self._issuer.rstrip("/"):
                    raise UpstreamFailed("The issuer of this token is not set up right.", detail="its `issuer` differs")
                keys = verification_keys(await self._get(client, str(configuration.get("jwks_uri", ""))))
        except (SlipwayError, TimeoutError) as error:
            if now_s - self._fetched_at_s > _OUTAGE_S:
                raise Unavailable(
                    "The issuer of this token does not answer: try again shortly.",
                    detail=f"{self._issuer}: {error}",
                    retry_after_s=_RETRY_EVERY_S,
                ) from error
            return
        self._keys, self._fetched_at_s = keys, now_s

    async def _get(self, client: httpx.AsyncClient, url: str) -> dict[str, Any]:
        if not is_safe_url(url):
            raise UpstreamFailed("The issuer of this token is not set up right.", detail=f"unsafe address {url!r}")
        received = bytearray()
        try:
            async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
                if response.status_code != 200:
                    raise UpstreamFailed("The issuer of this token failed.", detail=f"{url}: {response.status_code}")
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > _MAX_BYTES:
                        raise UpstreamFailed("The issuer of this token failed.", detail=f"{url}: too large")
            document = json.loads(received)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise UpstreamFailed("The issuer of this token failed.", detail=f"{url}: {error!r}") from error
        if not isinstance(document, dict):
            raise UpstreamFailed("The issuer of this token failed.", detail=f"{url}: not an object")
        return document
