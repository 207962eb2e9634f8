"""Where a credential may stand, and what beside it is none."""

import pytest

from slipway.base.errors import Unauthenticated
from slipway.runtime.http.credentials import credential_of

KEY = b"sk-slip-0123456789ab-" + b"x" * 43
USAGE_KEY = b"1example23456789abcdefghij"


def test_either_header_carries_it() -> None:
    assert credential_of([(b"authorization", b"Bearer " + KEY)]) == KEY.decode()
    assert credential_of([(b"x-api-key", KEY)]) == KEY.decode()
    assert credential_of([(b"x-api-key", KEY), (b"authorization", b"bearer  " + KEY)]) == KEY.decode()


@pytest.mark.parametrize("first", [True, False])
def test_the_key_of_an_api_gateway_is_no_second_credential(first: bool) -> None:
    both = [(b"x-api-key", USAGE_KEY), (b"authorization", b"Bearer " + KEY)]
    assert credential_of(both if first else reversed(both)) == KEY.decode()


def test_alone_it_is_taken_for_one_and_will_be_refused() -> None:
    assert credential_of([(b"x-api-key", USAGE_KEY)]) == USAGE_KEY.decode()


@pytest.mark.parametrize("other", [KEY + b"y", b"another", b"a.b.c", USAGE_KEY.upper(), USAGE_KEY + b"-1"])
def test_two_that_could_be_credentials_are_refused(other: bytes) -> None:
    with pytest.raises(Unauthenticated, match="different credentials"):
        credential_of([(b"authorization", b"Bearer " + KEY), (b"x-api-key", other)])


@pytest.mark.parametrize(
    "headers", [[], [(b"x-api-key", b" ")], [(b"authorization", b"Basic x")], [(b"authorization", b"Bearer ")]]
)
def test_none_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        credential_of(headers)
