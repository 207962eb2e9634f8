"""Answers to preflights: which pages may call, with which methods and headers. Nobody's token is needed for one."""

from collections.abc import Sequence
from typing import Any, Final

_HEADERS: Final = "authorization,content-type,idempotency-key,last-event-id,x-api-key,x-request-id"
_MAX_AGE_S: Final = 7200  # what Chromium keeps at most
_PREFIX: Final = "method.response.header."
_ORIGIN: Final = "Access-Control-Allow-Origin"


def preflight_integration(origins: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    """A mock that answers 204 and names the page's origin when it is among `origins`."""
    asked = '$input.params().header.get("Origin")'
    known = " || ".join(f'{asked} == "{origin}"' for origin in origins)
    template = f"#if({known})\n#set($context.responseOverride.header.{_ORIGIN} = {asked})\n#end\n"
    return {
        "type": "MOCK",
        "requestTemplates": {"application/json": '{"statusCode": 204}'},
        "integrationResponses": [
            {
                "statusCode": "204",
                "responseParameters": {
                    f"{_PREFIX}Access-Control-Allow-Headers": f"'{_HEADERS}'",
                    f"{_PREFIX}Access-Control-Allow-Methods": f"'{','.join(methods)}'",
                    f"{_PREFIX}Access-Control-Max-Age": f"'{_MAX_AGE_S}'",
                    f"{_PREFIX}Vary": "'Origin'",
                },
                "responseTemplates": {"application/json": template},
            }
        ],
    }


def preflight_response() -> dict[str, Any]:
    """The headers that the answer of a preflight may have."""
    names = ("Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Max-Age", _ORIGIN, "Vary")
    return {"statusCode": "204", "responseParameters": {f"{_PREFIX}{name}": True for name in names}}
