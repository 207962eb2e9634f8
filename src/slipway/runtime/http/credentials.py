"""Where a request carries its credential: `Authorization: Bearer` and `x-api-key` mean exactly the same."""

from collections.abc import Iterable

from slipway.base.errors import Unauthenticated

_MISSING = "A credential is needed: send an API key or a token as `Authorization: Bearer …` or `x-api-key: …`."


def credential_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The credential among raw ASGI headers (names in lower case).

    Raises Unauthenticated when there is none, more than one, or one in another scheme than Bearer.
    """
    credential: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            given = token.strip()
            if scheme.lower() != b"bearer" or not given:
                raise Unauthenticated("Only the Bearer scheme is understood: `Authorization: Bearer …`.")
        elif name == b"x-api-key":
            given = value.strip()
        else:
            continue
        if credential is not None and given != credential:
            raise Unauthenticated("The request carries different credentials: send exactly one.")
        credential = given
    if not credential:
        raise Unauthenticated(_MISSING)
    try:
        return credential.decode("ascii")
    except UnicodeDecodeError:
        raise Unauthenticated("This credential is not valid.") from None
