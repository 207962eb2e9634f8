"""Server-sent events in pieces of any size come out the same."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.base.errors import UpstreamFailed
from slipway.services.gateway.sse import Events

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def parsed(pieces: list[bytes], **limits: int) -> list[bytes]:
    events = Events(**limits)
    return [data for piece in pieces for data in events.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b": hello\n\nevent: x\nid: 1\ndata: a\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"\xef\xbb\xbfdata: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
        (b"database: x\n\n", []),
        (b"data: unfinished\n", []),
    ],
)
def test_events_are_read_as_the_standard_says(stream, data):
    assert parsed([stream]) == data
    assert parsed([stream[index : index + 1] for index in range(len(stream))]) == data


_TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)


@UNHURRIED
@given(
    st.lists(st.lists(_TEXT, min_size=1, max_size=3), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(1, 9), max_size=60),
)
def test_where_the_pieces_are_cut_makes_no_difference(messages, end, sizes):
    stream = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in messages).encode()
    pieces, at = [], 0
    for size in sizes:
        pieces.append(stream[at : at + size])
        at += size
    assert parsed([*pieces, stream[at:]]) == ["\n".join(lines).encode() for lines in messages]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 2000, b"data: xxxxxxxxxx\n" * 200, b"x" * 2000])
def test_an_event_beyond_the_limit_is_refused(piece):
    with pytest.raises(UpstreamFailed):
        parsed([piece], max_event_bytes=1000)
