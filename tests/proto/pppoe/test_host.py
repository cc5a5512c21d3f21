"""A client and concentrators on a carrier that loses, in virtual time."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.pppoe.discovery import Concentrator, Confirmed, confirm, cookie, ended, established, offer, refused
from wayleave.proto.pppoe.host import NEVER, TRIES, Host, Stage
from wayleave.proto.pppoe.line import LineInfo, encode, of
from wayleave.proto.pppoe.packet import AC_SYSTEM_ERROR, HOST_UNIQ, Code, decode

MAC = Mac.parse("02:00:00:00:00:01")
FIRST, SECOND_ONE = Mac.parse("02:00:00:00:01:01"), Mac.parse("02:00:00:00:01:02")
KEY = bytes(range(32))
START = BootNs(1000 * SECOND)


class Street:
    """One client, and concentrators by their MAC, each giving the session-ids that it has left."""

    def __init__(self, host, seed=0, lose=0.0, full=(), **concentrators):
        self.host, self.full = host, full
        self.concentrators = concentrators or {str(FIRST): Concentrator(name="bng-1")}
        self.random, self.lose = Random(seed), lose
        self.now = START
        self.sent = []
        self.given = {}

    def run(self):
        self._send(self.host.begin(self.now))
        while self.host.deadline != NEVER:
            self.now = self.host.deadline
            self._send(self.host.expire(self.now))
        return self.host.stage

    def _send(self, packets):
        for packet in packets:
            self.sent.append((self.now, packet.destination, decode(packet.data)))
            for name, concentrator in self.concentrators.items():
                mac = Mac.parse(name)
                if packet.destination in (mac, BROADCAST) and self.random.random() >= self.lose:
                    said = self._hear(mac, concentrator, decode(packet.data))
                    if isinstance(said, bytes) and self.random.random() >= self.lose:
                        self._send(self.host.receive(mac, decode(said), self.now))

    def _hear(self, mac, concentrator, packet):
        if packet.code == Code.PADI:
            return offer(packet, concentrator, cookie(KEY, MAC, mac, self.now))
        said = confirm(packet, concentrator, [KEY], MAC, mac, self.now)
        if not isinstance(said, Confirmed):
            return said
        if mac in self.full:
            return refused(said, AC_SYSTEM_ERROR, "full")
        return established(said, self.given.setdefault((mac, said.cookie), len(self.given) + 1))


def test_a_session():
    street = Street(Host(b"u1"))
    assert street.run() is Stage.IN_SESSION
    assert (street.host.concentrator, street.host.session_id, street.host.max_payload) == (FIRST, 1, 1492)
    assert [(to, packet.code) for _, to, packet in street.sent] == [(BROADCAST, Code.PADI), (FIRST, Code.PADR)]


def test_large_payloads():
    street = Street(Host(b"u1", most_payload=1500), **{str(FIRST): Concentrator(name="b", most_payload=1508)})
    street.run()
    assert street.host.max_payload == 1500


def test_an_access_node_s_tags_are_in_all_that_it_asks():
    tag = encode(LineInfo(circuit_id=b"olt1/1/1"))
    street = Street(Host(b"u1", more=(tag,)))
    assert street.run() is Stage.IN_SESSION
    assert [of(packet).circuit_id for _, _, packet in street.sent] == [b"olt1/1/1"] * 2


def test_nobody_answers():
    street = Street(Host(b"u1"), lose=1)
    assert street.run() is Stage.ENDED
    waits = [(at - START) // SECOND for at, _, _ in street.sent]
    assert waits == [0, 1, 3, 7], "waits double (RFC 2516 8)"
    assert len(waits) == TRIES


def test_the_service_decides():
    offers = {
        str(FIRST): Concentrator(name="bng-1", services=("silver",)),
        str(SECOND_ONE): Concentrator(name="bng-2", services=("gold",)),
    }
    street = Street(Host(b"u1", service="gold"), **offers)
    assert street.run() is Stage.IN_SESSION
    assert street.host.concentrator == SECOND_ONE


def test_the_name_decides():
    offers = {str(FIRST): Concentrator(name="bng-1"), str(SECOND_ONE): Concentrator(name="bng-2")}
    street = Street(Host(b"u1", concentrator_name="bng-2"), **offers)
    assert street.run() is Stage.IN_SESSION
    assert street.host.concentrator == SECOND_ONE


def test_who_is_refused_asks_again_and_gives_up():
    street = Street(Host(b"u1"), full=(FIRST,))
    assert street.run() is Stage.ENDED
    assert street.host.error == "full"
    assert [packet.code for _, _, packet in street.sent] == [Code.PADI, Code.PADR] * 3


def test_what_is_not_for_this_client_changes_nothing():
    street = Street(Host(b"u1"))
    other = Street(Host(b"u2"))
    other.run()
    street.host.begin(START)
    pado = decode(offer(other.sent[0][2], Concentrator(name="bng-1"), b"c"))
    assert street.host.receive(FIRST, pado, START) == []
    assert street.host.stage is Stage.SEEKING


def test_only_the_concentrator_that_was_asked_gives_a_session():
    street = Street(Host(b"u1"))
    street.run()
    street.host.stage, street.host.session_id = Stage.ASKING, 0
    pads = decode(established(Confirmed(b"", 1492, b"", ((HOST_UNIQ.number, b"u1"),)), 9))
    street.host.receive(SECOND_ONE, pads, START)
    assert street.host.stage is Stage.ASKING
    street.host.receive(FIRST, pads, START)
    assert (street.host.stage, street.host.session_id) == (Stage.IN_SESSION, 9)


@pytest.mark.parametrize(
    ("source", "session_id", "stage"),
    [(FIRST, 1, Stage.ENDED), (FIRST, 2, Stage.IN_SESSION), (SECOND_ONE, 1, Stage.IN_SESSION)],
)
def test_the_end(source, session_id, stage):
    street = Street(Host(b"u1"))
    street.run()
    street.host.receive(source, decode(ended(session_id, "bye")), street.now)
    assert street.host.stage is stage


@given(st.integers(0, 1 << 30), st.floats(0, 0.9))
def test_whatever_is_lost_it_comes_to_an_end(seed, lose):
    street = Street(Host(b"u1"), seed=seed, lose=lose)
    stage = street.run()
    assert stage in (Stage.IN_SESSION, Stage.ENDED)
    assert len(street.sent) <= 2 * TRIES * 3
    if stage is Stage.IN_SESSION:
        assert street.host.session_id in street.given.values()
