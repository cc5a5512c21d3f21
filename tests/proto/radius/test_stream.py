"""One connection's octets and silences."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.radius.packet import MOST, Code, decode, encode, response
from wayleave.proto.radius.stream import IDLE, PROBE, Stream

SECRET = Secret(b"radsec")
START = BootNs(1000 * SECOND)
SILENCE = Ns(5 * SECOND)
PACKETS = [encode(Code.ACCESS_ACCEPT, number, bytes(16), [(25, bytes(number))]) for number in range(1, 4)]
PACKETS.append(encode(Code.ACCESS_REJECT, 9, bytes(16), [(26, bytes(253))] * 15 + [(25, bytes(249))]))


def stream(probes: bool = False) -> Stream:
    return Stream(SECRET, Random(1).randbytes, START, SILENCE, probes)


def answer(probe: bytes, secret: bytes = SECRET) -> bytes:
    return response(decode(probe), Code.ACCESS_ACCEPT, [], secret)


def standing(now: BootNs = START) -> Stream:
    """A stream whose first probe was answered."""
    made = stream(probes=True)
    (probe,) = made.take()
    assert made.receive(answer(probe), now) == []
    assert made.vouched == 1
    return made


@given(st.lists(st.integers(0, len(PACKETS) - 1), max_size=12), st.data())
def test_packets_come_whole_however_the_stream_is_cut(numbers, data):
    octets = b"".join(PACKETS[number] for number in numbers)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=20)))
    made, found = stream(), []
    for begin, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        found += made.receive(octets[begin:end], START)
    assert found == [PACKETS[number] for number in numbers]
    assert not made.broken


def test_octet_by_octet():
    assert len(PACKETS[-1]) > MOST - 20
    made, found = stream(), []
    for octet in b"".join(PACKETS):
        found += made.receive(bytes((octet,)), START)
    assert found == PACKETS


@pytest.mark.parametrize("length", [0, 4, 19, MOST + 1, 0xFFFF])
def test_a_length_that_makes_no_sense_ends_it(length):
    made = stream()
    head = bytes((2, 1)) + length.to_bytes(2, "big")
    assert made.receive(PACKETS[0] + head + PACKETS[1], START) == PACKETS[:1]
    assert made.broken == f"what comes is no RADIUS: a packet of {length} octets"
    assert made.receive(PACKETS[1], START) == [], "nobody knows where packets begin by now"


@given(st.lists(st.binary(max_size=5000), max_size=5))
def test_garbage_breaks_nothing_but_the_connection(chunks):
    made = stream()
    held = 0
    for chunk in chunks:
        held += len(chunk) - sum(map(len, made.receive(chunk, START)))
    assert made.broken or held < MOST


def test_it_stands_once_its_first_probe_is_answered():
    made = stream(probes=True)
    (probe,) = made.take()
    asked = decode(probe)
    assert (asked.code, asked.identifier) == (Code.STATUS_SERVER, PROBE)
    assert made.vouched == 0
    assert made.receive(PACKETS[0] + answer(probe), START) == PACKETS[:1]
    assert made.vouched == 1


def test_an_answer_of_another_secret_ends_it():
    made = stream(probes=True)
    (probe,) = made.take()
    assert made.receive(answer(probe, b"another"), START) == []
    assert "same secret" in made.broken
    assert made.vouched == 0


def test_what_never_answers_is_told_apart():
    made = stream(probes=True)
    made.take()
    made.expire(BootNs(made.deadline - 1))
    assert not made.broken
    made.expire(made.deadline)
    assert made.broken == "not a word for 5 seconds: does it know Status-Server? If not, set status_server = false"


def test_silence_after_a_question_is_probed_and_then_ends_it():
    made = standing()
    asked = BootNs(START + 7 * SECOND)
    made.sent(asked)
    made.sent(BootNs(asked + SECOND))
    assert made.deadline == asked + SILENCE
    made.expire(made.deadline)
    (probe,) = made.take()
    assert made.deadline == asked + 2 * SILENCE
    alive, dead = made, standing()
    alive.receive(answer(probe), made.deadline)
    assert alive.vouched == 2
    dead.sent(asked)
    for _ in range(2):
        assert not dead.broken
        dead.expire(dead.deadline)
    assert dead.broken == "not a word for 5 seconds"
    assert not dead.deadline


def test_an_idle_connection_is_probed_now_and_then():
    made = standing()
    assert abs(made.deadline - START - IDLE) <= 2 * SECOND
    for count in range(2, 5):
        now = made.deadline
        made.expire(now)
        (probe,) = made.take()
        made.receive(answer(probe), now)
        assert made.vouched == count
    assert not made.broken


def test_a_server_without_status_server_is_not_probed():
    made = stream()
    assert made.vouched == 1
    assert not made.deadline
    made.sent(START)
    made.receive(PACKETS[0], START)
    assert not made.deadline
    made.sent(START)
    made.expire(made.deadline)
    assert made.take() == []
    assert made.broken == "not a word for 5 seconds"
