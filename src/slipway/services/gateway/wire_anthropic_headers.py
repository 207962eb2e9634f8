"""What a caller of Anthropic's wire asks for in headers: a version of the API, and features in beta.

Both decide what a provider of that wire takes and answers, so they are passed on as they came. A version that is not
known here is refused: nobody has looked whether its answers can be read, and their tokens counted. Sources: Anthropic's
"Versions", "Beta headers", and "Gateway protocol reference" of Claude Code.
"""

import re
from collections.abc import Iterable
from typing import Final

from slipway.services.gateway.bounds import ModelFacts
from slipway.services.gateway.models import Headers, InvalidParameter

VERSION: Final = b"anthropic-version"
BETA: Final = b"anthropic-beta"
# Both answer and stream alike; the newer one takes fewer requests, which is its provider's to say.
VERSIONS: Final = (b"2023-06-01", b"2026-10-21")
DEFAULT: Final[Headers] = ((VERSION, VERSIONS[0]),)
_BETAS: Final = re.compile(rb"[A-Za-z0-9._-]+(?:[ \t]*,[ \t]*[A-Za-z0-9._-]+)*")
_MAX_BETAS_BYTES: Final = 2048
_LONG_CONTEXT: Final = (b"context-1m-", 1_000_000)


def asked_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The version and the betas among a request's headers (names in lower case), as the provider is to get them.

    Raises InvalidParameter for a version that is not known, for two versions, and for what is no list of names.
    """
    version, betas = b"", b""
    for name, value in headers:
        if name == VERSION:
            if version and version != value:
                raise InvalidParameter("anthropic-version", "The request names two versions of the API: send one.")
            version = value
        elif name == BETA:
            betas = betas + b"," + value if betas else value  # RFC 9110: lines of one list
    if version and version not in VERSIONS:
        known = " or ".join(each.decode() for each in VERSIONS)
        raise InvalidParameter(
            "anthropic-version", f"The version {version[:40].decode('latin-1')!r} is not known here: send {known}."
        )
    if not betas:
        return DEFAULT if not version or version == VERSIONS[0] else ((VERSION, version),)
    if len(betas) > _MAX_BETAS_BYTES or not _BETAS.fullmatch(betas):
        raise InvalidParameter("anthropic-beta", "anthropic-beta must be a list of names with commas between them.")
    return ((VERSION, version or VERSIONS[0]), (BETA, betas))


def refuse_betas(headers: Headers, facts: ModelFacts) -> None:
    """Refuses what lets a prompt grow, or cost, beyond what budgets hold for it; raises InvalidParameter."""
    name, tokens = _LONG_CONTEXT
    if (facts.context_tokens or 0) < tokens and any(key == BETA and name in value for key, value in headers):
        raise InvalidParameter(
            "anthropic-beta",
            f"This caller has a budget, and {name.decode()}… lets a prompt be longer than this model's "
            "context_tokens: leave it out, or have the model's context_tokens and price written into the manifest.",
        )
