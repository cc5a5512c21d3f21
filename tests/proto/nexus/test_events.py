"""Server-sent events, in whatever pieces they come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.errors import Malformed
from wayleave.proto.nexus.events import Event, Events

STREAM = (
    b"\xef\xbb\xbfid: 1\nevent: changes\ndata: [1,\ndata: 2]\n\n"
    b": a comment\r\n\r\n"
    b"data:no space\rdata:  two\r\r"
    b"id:2\r\nevent: alive\r\ndata: {}\r\nretry: 10\r\nunknown: x\r\n\r\n"
    b"id: 3\nid: 4\0\nevent: nothing is told without data\n\n"
    b"data\n\n"
    b"data: without an end"
)
SAID = [
    Event(b"1", b"changes", b"[1,\n2]"),
    Event(b"1", b"", b"no space\n two"),
    Event(b"2", b"alive", b"{}"),
    Event(b"3", b"", b""),
]


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM))))
def test_a_stream_says_the_same_in_whatever_pieces_it_comes(cuts: list[int]) -> None:
    events, found = Events(1000), []
    at = [0, *sorted(cuts), len(STREAM)]
    for begin, end in pairwise(at):
        found += events.receive(STREAM[begin:end])
    assert found == SAID


@pytest.mark.parametrize("octets", [b"x" * 101, b"data: x\n" * 20])
def test_an_event_without_an_end_is_not_waited_for(octets: bytes) -> None:
    events = Events(100)
    for octet in octets[:100]:
        events.receive(bytes((octet,)))
    with pytest.raises(Malformed, match="more than 100 octets"):
        events.receive(octets[100:])


def test_small_events_never_add_up_to_a_large_one() -> None:
    events = Events(100)
    assert len(events.receive(b"data: 0123456789\n\n" * 1000)) == 1000
