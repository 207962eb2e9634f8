"""Where a request carries its credential: `Authorization: Bearer` and `x-api-key` mean exactly the same.

But for one thing: behind an API Gateway `x-api-key` may be that gateway's own, which says whose usage plan counts.
"""

import re
from collections.abc import Iterable
from typing import Final

from slipway.base.errors import Unauthenticated

# No credential of ours looks like this: keys have dashes, tokens have dots.
_USAGE_KEY: Final = re.compile(rb"[0-9a-z]{20,128}")
_MISSING = "A credential is needed: send an API key or a token as `Authorization: Bearer …` or `x-api-key: …`."


def credential_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The credential among raw ASGI headers (names in lower case).

    Raises Unauthenticated when there is none, more than one, or one in another scheme than Bearer.
    """
    credential: bytes | None = None
    usage_key: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            given = token.strip()
            if scheme.lower() != b"bearer" or not given:
                raise Unauthenticated("Only the Bearer scheme is understood: `Authorization: Bearer …`.")
        elif name == b"x-api-key":
            given = value.strip()
            if _USAGE_KEY.fullmatch(given):
                usage_key = given
                continue
        else:
            continue
        if credential is not None and given != credential:
            raise Unauthenticated("The request carries different credentials: send exactly one.")
        credential = given
    # Alone it is what was sent as a credential, and refused as one.
    credential = credential or usage_key
    if not credential:
        raise Unauthenticated(_MISSING)
    try:
        return credential.decode("ascii")
    except UnicodeDecodeError:
        raise Unauthenticated("This credential is not valid.") from None
